"""A loop's whole model as one file: what everybody has taught, taken out and put back exactly.

The file is an export, compressed. Putting it back replaces all that the loop has learned: users in the file become what
they were when it was made, and everybody else begins again.
"""

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.loop_definition import EVERYBODY
from bandstand.errors import InvalidRequestError
from bandstand.store.learners.prior_file import PriorFiles
from bandstand.store.maintenance.export import ImportSource, export, read_lines
from bandstand.store.maintenance.import_ import StateImporter, format_faults
from bandstand.store.maintenance.offline import open_owned, open_read_only
from bandstand.store.tables.decisions import find_uid

MAX_UNPACKED: Final = 256 * 1024 * 1024
"""Bytes of lines in a file; of more, `bandstand state import` is the way."""
_GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Makes and takes such files.

    Args:
        directory: the loop's state.
        catalogue: its policies and schemas.
        has_one_model: everybody teaches one model.
    """

    directory: Path
    catalogue: Catalogue
    has_one_model: bool

    def export(self) -> bytes:
        """The file of now; a service may run on the directory meanwhile."""
        with open_read_only(self.directory, self.catalogue) as state:
            return pack_model(export(state))

    def replace(self, sources: list[ImportSource], *, now: float, client: str) -> None:
        """Put a file back, in one commit; nothing else may own the directory meanwhile.

        Args:
            sources: what :func:`read_model` read.
            now: seconds since the epoch, for the events.
            client: who causes them.

        Raises:
            InvalidRequestError: it is not of this loop, and nothing has changed.
            ConfigurationError: another process owns the directory.
            StorageFullError, StorageUnavailableError: the disk or the ledger refused.
        """
        with open_owned(self.directory, self.catalogue) as state:
            priors = PriorFiles(self.directory)
            importer = StateImporter(state, now, client=client)
            with state.transaction():
                knows_everybody = find_uid(state.connection, EVERYBODY) is not None
                owner = ModelOwner(self.has_one_model, knows_everybody, frozenset(state.connection.execute(_POLICIES)))
                for source in sources:
                    owner.require_own(source)
                    importer.receive(source)
                if importer.imported.skipped:
                    raise InvalidRequestError(format_faults(importer.imported.skipped))
                importer.reset_others()
                for policy in priors.list_policies():  # they are learned again from who is there then
                    priors.delete(policy)
            importer.write_documents()


_POLICIES: Final = "SELECT name, schema FROM policies"


class ModelOwner(NamedTuple):
    """A loop, by which models are told from those of others.

    Attributes:
        has_one_model: everybody teaches one model.
        knows_everybody: somebody is called as everybody's model is.
        policies: names and schemas of those that it ever had.
    """

    has_one_model: bool
    knows_everybody: bool
    policies: AbstractSet[tuple[str, str]]

    def require_own(self, source: ImportSource) -> None:
        """Refuse what another loop has learned.

        Raises:
            InvalidRequestError: it is of another loop.
        """
        profile = source.profile
        if profile is None or not profile.policies:
            return
        is_everybody = profile.user_id == EVERYBODY  # where each has their own, somebody may be called so
        if is_everybody and not self.has_one_model:
            is_everybody = not self.knows_everybody
        if is_everybody is not self.has_one_model:
            whose = "one model for everybody" if self.has_one_model else "a model for each user"
            raise InvalidRequestError(f"it is of another loop: this one has {whose}")
        for policy, schema in profile.policies:
            if (policy, schema) not in self.policies:
                raise InvalidRequestError(
                    f"it is of another loop: this one never had policy {policy!a} over {schema!a}"
                )


def pack_model(lines: Iterable[str]) -> bytes:
    """Make a file of exported lines."""
    return gzip.compress("".join(f"{line}\n" for line in lines).encode())


def read_model(packed: bytes) -> list[ImportSource]:
    """Read a file.

    Raises:
        InvalidRequestError: it is no such file, a line of it is wrong, or it is too large.
    """
    foreign = InvalidRequestError("it is no file that this service has made")
    if not packed.startswith(_GZIP):
        raise foreign
    try:
        sources = list(read_lines(_unpack(packed)))
    except (OSError, EOFError, zlib.error):
        raise foreign from None
    if faults := [f"{source.location}: {source.fault}" for source in sources if source.fault]:
        raise InvalidRequestError(format_faults(faults))
    return sources


def _unpack(packed: bytes) -> Iterator[bytes]:
    left = MAX_UNPACKED
    with gzip.open(io.BytesIO(packed)) as file:
        while line := file.readline(left + 1):
            left -= len(line)
            if left < 0:
                raise InvalidRequestError(f"it holds more than {MAX_UNPACKED} bytes: use `bandstand state import`")
            yield line
