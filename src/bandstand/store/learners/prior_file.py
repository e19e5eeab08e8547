"""Files of learned priors: ``population/<policy>.json``, each with a checksum over exactly what it holds.

Like users' documents they need no sync: a torn one is set aside, and a lost one is learned again from the users.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bandstand.atomic_file import replace_file
from bandstand.store.learners.documents import Documents

VERSION = 1
_PIECE = 256


class PriorFiles:
    """The folder of learned priors under a state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "population"
        self._documents = Documents(state_dir)

    def path(self, policy: str) -> Path:
        """Where the prior of that policy is."""
        return self._folder / f"{policy}.json"

    def list_policies(self) -> set[str]:
        """The policies that have a file."""
        return {path.stem for path in self._folder.glob("*.json")}

    def load(self, policy: str) -> dict[str, Any] | None:
        """Read the file at the start of a process.

        First delete what a killed process was writing, since it names users.
        """
        self.path(policy).with_suffix(".tmp").unlink(missing_ok=True)
        return self.read(policy)

    def read(self, policy: str) -> dict[str, Any] | None:
        """The document of the policy, with its ``checksum``; ``None`` if there is none that can be trusted."""
        path = self.path(policy)
        try:
            document = json.loads(path.read_bytes())
            checksum = document.pop("checksum")
            if (
                document["version"] != VERSION
                or document["policy"] != policy
                or checksum != _compute_checksum(document)
            ):
                raise ValueError("not as it was written")  # noqa: TRY301 (one way for all that cannot be trusted)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.set_aside(policy)
            return None
        return {**document, "checksum": checksum}

    def write(self, policy: str, body: dict[str, Any]) -> str:
        """Replace what is there; returns its checksum.

        Raises:
            OSError: it could not be written; the old one stands.
        """
        document = {"version": VERSION, "policy": policy, **body}
        checksum = _compute_checksum(document)
        path = self.path(policy)
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            replace_file(path, temporary=path.with_suffix(".tmp")) as temporary,
            temporary.open("w", encoding="ascii") as file,
        ):
            file.writelines(iter_canonical({**document, "checksum": checksum}))
        return checksum

    def set_aside(self, policy: str) -> None:
        """Move the file into quarantine, for a person to look at."""
        self._documents.quarantine_file(self.path(policy))

    def delete(self, policy: str) -> bool:
        """Delete the file, so that the prior is learned again from the users; returns whether there was one."""
        path = self.path(policy)
        existed = path.exists()
        path.unlink(missing_ok=True)
        return existed


def _compute_checksum(document: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for piece in iter_canonical(document):
        digest.update(piece.encode("ascii"))
    return digest.hexdigest()


def iter_canonical(value: Any) -> Iterator[str]:
    """JSON with sorted keys and no spaces, in pieces of some hundred values.

    The prior of a wide model is tens of thousands of numbers, and encoding them in one call would block every other
    thread until it is done.
    """
    if isinstance(value, dict) and any(isinstance(each, dict | list) for each in value.values()):
        yield "{"
        for number, key in enumerate(sorted(value)):
            yield f"{',' if number else ''}{_encode(key)}:"
            yield from iter_canonical(value[key])
        yield "}"
    elif isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
        for number, each in enumerate(value):
            yield "," if number else "["
            yield from iter_canonical(each)
        yield "]"
    elif isinstance(value, list) and len(value) > _PIECE:
        for start in range(0, len(value), _PIECE):
            yield f"{',' if start else '['}{_encode(value[start : start + _PIECE])[1:-1]}"
        yield "]"
    else:
        yield _encode(value)


def _encode(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)
