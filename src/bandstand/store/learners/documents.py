"""User documents: checkpoints of committed state as JSON files, one a user.

A document is written to a temporary file in its own folder and renamed over the old one; no sync is needed, because its
checksum reveals a torn one and the ledger can always make it again. What cannot be trusted is set aside in
``quarantine/``, never silently replaced.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bandstand.atomic_file import replace_file
from bandstand.bandit.profile import Profile

_UNSAFE = re.compile(r"[^a-z0-9]+")
_SLUG_LENGTH = 40
_CHECKSUM = ',"checksum":'


class DocumentError(Exception):
    """A document that cannot be trusted, and why."""


class Documents:
    """The folder of user documents under a state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._users = state_dir / "users"
        self._quarantine = state_dir / "quarantine"
        self.quarantined = 0

    def path(self, user_id: str) -> Path:
        """Where the user's document is: a readable slug, and a hash that keeps ids apart on any file system."""
        digest = hashlib.sha256(user_id.encode("utf-8")).hexdigest()
        slug = _UNSAFE.sub("-", user_id.lower())[:_SLUG_LENGTH].strip("-")
        return self._users / digest[:2] / f"{slug}{'-' if slug else ''}{digest[:32]}.json"

    def read(self, user_id: str) -> Profile | None:
        """The checkpoint of the user, or ``None`` if there is none.

        Raises:
            DocumentError: torn, foreign or of an unknown version.
        """
        try:
            text = self.path(user_id).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            message = f"unreadable: {error.strerror}"
            raise DocumentError(message) from error
        profile = parse(text)
        if profile.user_id != user_id:
            message = "holds another user's id"
            raise DocumentError(message)
        return profile

    def write(self, profile: Profile) -> None:
        """Replace the user's checkpoint.

        Raises:
            OSError: it could not be written; the old one stands.
        """
        path = self.path(profile.user_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path, temporary=path.with_suffix(".tmp")) as temporary:
            temporary.write_bytes(render(profile))

    def set_aside(self, user_id: str) -> None:
        """Move the user's document into quarantine, for a person to look at; a read-only disk leaves it in place."""
        self.quarantine_file(self.path(user_id))

    def quarantine_file(self, path: Path) -> None:
        """Move a file from the documents into quarantine, without replacing what is there."""
        self.quarantined += 1
        with contextlib.suppress(OSError):
            self._quarantine.mkdir(exist_ok=True)
            target = self._quarantine / path.name
            for number in range(1, 1000):
                if not target.exists():
                    break
                target = self._quarantine / f"{path.stem}.{number}.json"
            path.replace(target)

    def delete(self, user_id: str) -> int:
        """Delete the user's document, its temporary file and what was set aside of them; returns how many went."""
        path, name = self.path(user_id), json.dumps(user_id).encode("ascii")
        aside = self.list_quarantined()
        named = [each for each in aside if each.stem.startswith(path.stem) or _contains(each, name)]
        targets = [path, path.with_suffix(".tmp"), *named]
        gone = 0
        for target in targets:
            with contextlib.suppress(FileNotFoundError):
                target.unlink()
                gone += 1
        return gone

    def iter_paths(self) -> Iterator[Path]:
        """Every document's path."""
        yield from sorted(self._users.glob("??/*.json"))

    def list_quarantined(self) -> list[Path]:
        """Every file set aside so far."""
        return sorted(self._quarantine.glob("*"))


def _contains(path: Path, name: bytes) -> bool:
    """Whether a file holds a user's id: a learned prior that was set aside names those it was learned from."""
    with contextlib.suppress(OSError):
        return name in path.read_bytes()
    return False


def render(profile: Profile) -> bytes:
    """The document's bytes: the profile's JSON, and a checksum over exactly that."""
    body = _to_canonical_json(profile.to_json())
    return f'{body[:-1]}{_CHECKSUM}"{_hash(body.encode("ascii"))}"}}\n'.encode("ascii")


def parse(text: bytes) -> Profile:
    """Read :func:`render` back.

    Raises:
        DocumentError: not JSON, not one of ours, or altered.
    """
    try:
        document: dict[str, Any] = json.loads(text)
        if not _has_checksum(document.pop("checksum"), text, document):
            message = "its checksum does not match"
            raise DocumentError(message)
        return Profile.from_json(document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        message = f"not a state document: {type(error).__name__}"
        raise DocumentError(message) from error


def _has_checksum(checksum: str, text: bytes, document: dict[str, Any]) -> bool:
    """Whether it is that of a document: of its bytes as they were written, or of what they say in other spaces."""
    body, _, end = text.rpartition(_CHECKSUM.encode("ascii"))
    if end == f'"{checksum}"}}\n'.encode("ascii") and checksum == _hash(body + b"}"):
        return True
    return checksum == _hash(_to_canonical_json(document).encode("ascii"))


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _to_canonical_json(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
