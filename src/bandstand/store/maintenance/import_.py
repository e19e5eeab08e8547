"""Import: states from elsewhere brought into the ledger as events, all in one commit or none."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.profile import Profile
from bandstand.errors import InvalidRequestError
from bandstand.store.learners import erasure
from bandstand.store.maintenance.export import ImportSource
from bandstand.store.maintenance.offline import OpenedDirectory, Tick, no_tick
from bandstand.store.records import Array
from bandstand.store.tables import decisions
from bandstand.store.tables.event_rows import INSERT_ONE_MARK, MarkInsert

CLIENT = "command line"
"""Who caused an event that no API key did."""

_MAX_LISTED_FAULTS = 3
_EIGENVALUE_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class ImportedUser:
    """A user that an import brings.

    Attributes:
        user_id: whose states they are.
        location: where they were read.
        policies: rewards counted so far, by policy.
    """

    user_id: str
    location: str
    policies: dict[str, int]


@dataclass(slots=True)
class ImportResult:
    """What an import did.

    Attributes:
        users: users imported.
        skipped: sources left out because something is wrong with them, each with its place.
        erased: users left out because they were erased after the state was taken.
        unknown: states kept though their policy or schema is not configured here, by "policy over schema".
        found: in a dry run, each user that would be imported.
    """

    users: int = 0
    skipped: list[str] = field(default_factory=list)
    erased: int = 0
    unknown: dict[str, int] = field(default_factory=dict)
    found: list[ImportedUser] = field(default_factory=list)


def import_states(
    state: OpenedDirectory,
    sources: Iterable[ImportSource],
    *,
    now: float,
    skip_bad: bool = False,
    merge: bool = False,
    dry_run: bool = False,
    tick: Tick = no_tick,
) -> ImportResult:
    """Bring states into the ledger, all of them in one commit, then write their documents.

    Args:
        state: an owned state directory.
        sources: what to import; consumed once.
        now: seconds since the epoch, for the events.
        skip_bad: leave out sources that are wrong instead of refusing them all.
        merge: keep what other policies have learned about a user; otherwise the import replaces the user's state.
        dry_run: change nothing; the result says what would happen.
        tick: called for each source.

    Raises:
        InvalidRequestError: something is wrong with a source; nothing was imported.
    """
    importer = StateImporter(state, now, merge=merge, listing=dry_run)
    with state.transaction(commit=not dry_run):
        for source in sources:
            importer.receive(source)
            tick()
        if importer.imported.skipped and not skip_bad:
            raise InvalidRequestError(format_faults(importer.imported.skipped))
    if dry_run:
        return importer.imported
    importer.write_documents()
    return importer.imported


def format_faults(faults: list[str]) -> str:
    """What is wrong with sources, the first few of them, and that nothing was imported."""
    more = len(faults) - _MAX_LISTED_FAULTS
    listed = "; ".join(faults[:_MAX_LISTED_FAULTS])
    return f"nothing was imported: {listed}" + (f"; and {more} more" if more > 0 else "")


class StateImporter:
    """Sources arriving in the ledger, inside one transaction.

    Args:
        state: an owned state directory.
        now: seconds since the epoch, for the events.
        merge: as :func:`import_states` has it.
        listing: note each user.
        client: who causes the events.

    Attributes:
        imported: the result so far.
        imported_users: key and id of each user imported.
    """

    def __init__(
        self,
        state: OpenedDirectory,
        now: float,
        *,
        merge: bool = False,
        listing: bool = False,
        client: str = CLIENT,
    ) -> None:
        self.imported = ImportResult()
        self.imported_users: list[tuple[int, str]] = []
        self._state = state
        self._now = now
        self._merge = merge
        self._listing = listing
        self._client = client
        self._secret = state.read_secret()
        self._sequence = state.build_sequence()
        self._hashes: dict[str, str] = dict(state.connection.execute("SELECT name, hash FROM schemas"))
        self._faults = FaultFinder(state.catalogue, self._hashes)

    def receive(self, source: ImportSource) -> None:
        """Bring one in, or note why not."""
        fault, profile = self._faults.find(source), source.profile
        if fault or profile is None:
            self.imported.skipped.append(f"{source.location}: {fault}")
            return
        if profile.seq <= erasure.find_tombstone_seq(self._state.connection, self._secret, profile.user_id):
            self.imported.erased += 1
            return
        self._record_unknown(source)
        if self._listing:
            rewards = {policy: learned.reward_count for (policy, _), learned in profile.policies.items()}
            self.imported.found.append(ImportedUser(profile.user_id, source.location, rewards))
        self._insert_import(profile)

    def write_documents(self) -> None:
        """Write the documents of who was imported, once that is committed."""
        for uid, user_id in self.imported_users:
            with suppress(OSError):  # the ledger has it, and a document can be made at any time
                self._state.documents.write(self._state.rebuild_profile(uid, user_id))

    def reset_others(self) -> None:
        """Reset everybody who was not imported."""
        imported = {uid for uid, _ in self.imported_users}
        others = [uid for uid, _ in self._state.iter_users() if uid not in imported]
        for uid in others:
            row = MarkInsert(self._sequence.next(self._now), uid, "reset", self._now, self._client, None)
            self._state.connection.execute(INSERT_ONE_MARK, row)

    def _record_unknown(self, source: ImportSource) -> None:
        assert source.profile is not None  # noqa: S101 (see _fault)
        catalogue = self._state.catalogue
        for policy, schema in source.profile.policies:
            if policy not in catalogue.policies or schema not in catalogue.schemas:
                what = f"{policy} over {schema}"
                self.imported.unknown[what] = self.imported.unknown.get(what, 0) + 1
        for name, digest in source.schemas.items():
            if name not in self._hashes:  # so that a schema configured later under that name is compared with it
                self._hashes[name] = digest
                self._state.connection.execute("INSERT INTO schemas (name, hash) VALUES (?, ?)", (name, digest))

    def _insert_import(self, profile: Profile) -> None:
        connection = self._state.connection
        uid = decisions.find_uid(connection, profile.user_id)
        if uid is None:
            uid = connection.execute(
                "INSERT INTO users (user_id) VALUES (?) RETURNING uid", (profile.user_id,)
            ).fetchone()[0]
        elif self._merge:
            profile.policies = self._state.rebuild_profile(uid, profile.user_id).policies | profile.policies
        profile.seq, profile.reset_seq = self._sequence.next(self._now), 0
        document = json.dumps(profile.to_json(), separators=(",", ":"), allow_nan=False)
        connection.execute(INSERT_ONE_MARK, MarkInsert(profile.seq, uid, "import", self._now, self._client, document))
        self.imported.users += 1
        self.imported_users.append((uid, profile.user_id))


class FaultFinder:
    """Finds what is wrong with sources, which are given one after the other.

    Args:
        catalogue: the configured policies and schemas.
        hashes: of the schemas that the ledger knows, by name; whoever adds to it is heard.
    """

    def __init__(self, catalogue: Catalogue, hashes: Mapping[str, str]) -> None:
        self._catalogue = catalogue
        self._hashes = hashes
        self._locations: dict[str, str] = {}

    def find(self, source: ImportSource) -> str:
        """What is wrong with a source; empty for nothing."""
        if source.fault or source.profile is None:
            return source.fault
        if (earlier := self._locations.setdefault(source.profile.user_id, source.location)) != source.location:
            return f"is the same user as {earlier}"
        for name, digest in source.schemas.items():
            if self._hashes.get(name, digest) != digest:
                return f"its schema {name!a} is another encoding than the one here"
        for (policy, name), learned in source.profile.policies.items():
            if learned.ridge is None:
                continue
            shape, schema = learned.ridge.b.shape, self._catalogue.schemas.get(name)
            if schema is not None and shape != schema.shape:
                return (
                    f"{policy}: {_format_shape(shape)} features, where schema {name} has {_format_shape(schema.shape)}"
                )
            if not is_positive_semidefinite(learned.ridge.gram):
                return f"{policy}: gram is not positive semi-definite"
        return ""


def is_positive_semidefinite(gram: Array) -> bool:
    """Whether a symmetric matrix, or each of several, is positive semi-definite, to rounding."""
    eigenvalues = np.linalg.eigvalsh(gram)
    return bool(eigenvalues.min() >= -_EIGENVALUE_TOLERANCE * max(1.0, float(eigenvalues.max())))


def _format_shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
