"""The users that a prior is learned from offline, out of a ledger of either engine."""

from collections.abc import Iterator
from typing import Any, Protocol

from bandstand.bandit.profile import Profile
from bandstand.store.learners.erasure import compute_tombstone
from bandstand.store.learners.prior_file import PriorFiles
from bandstand.store.maintenance.offline import OpenedDirectory
from bandstand.store.sqlite.errors import storage_errors
from bandstand.store.sqlite.schema import find_last_seq
from bandstand.store.tables.decisions import find_uid

_ERASED = "SELECT EXISTS (SELECT 1 FROM tombstones WHERE user_hash = ? AND seq > ?)"


class TaughtUsers(Protocol):
    """The users of a ledger, their states, and where a prior learned from them goes."""

    @property
    def secret(self) -> bytes:
        """The ledger's."""

    @property
    def name(self) -> str:
        """Where it is, in words."""

    def find_last_seq(self) -> int:
        """The number of the newest event."""

    def list_keys(self) -> list[int]:
        """The keys of all users, in order."""

    def iter_profiles(self, after: int, until: int) -> Iterator[Profile | None]:
        """The states of users with keys above ``after``, up to ``until``; ``None`` for one who has just gone."""

    def is_there(self, user_id: str, seq: int) -> bool:
        """Whether a user was not erased after the event ``seq``."""

    def read_prior(self, policy: str) -> dict[str, Any] | None:
        """What stands in the place of that policy's prior."""

    def write_prior(self, policy: str, body: dict[str, Any]) -> None:
        """Put a prior there, for services to believe."""


class DirectoryUsers:
    """Those of a state directory.

    Args:
        state: observed; to write a prior, owned.
    """

    def __init__(self, state: OpenedDirectory) -> None:
        self._state = state
        self._files = PriorFiles(state.directory)

    @property
    def secret(self) -> bytes:
        """The ledger's."""
        return self._state.read_secret()

    @property
    def name(self) -> str:
        """Where it is, in words."""
        return repr(str(self._state.directory))

    def find_last_seq(self) -> int:
        """The number of the newest event."""
        return find_last_seq(self._state.connection)

    def list_keys(self) -> list[int]:
        """The keys of all users, in order."""
        return [uid for uid, _ in self._state.iter_users()]

    def iter_profiles(self, after: int, until: int) -> Iterator[Profile | None]:
        """The states of users with keys in a range."""
        state = self._state
        for uid, user_id in state.iter_users():
            if uid > until:
                return
            if uid <= after:
                continue
            with state.snapshot():
                is_there = find_uid(state.connection, user_id) == uid  # or erased since the page was read
                profile = state.rebuild_profile(uid, user_id) if is_there else None
            yield profile

    def is_there(self, user_id: str, seq: int) -> bool:
        """Whether a user was not erased after the event ``seq``."""
        given = (compute_tombstone(self.secret, user_id), seq)
        erased = bool(self._state.connection.execute(_ERASED, given).fetchone()[0])
        return not erased and find_uid(self._state.connection, user_id) is not None

    def read_prior(self, policy: str) -> dict[str, Any] | None:
        """What stands in the place of that policy's prior."""
        return self._files.read(policy)

    def write_prior(self, policy: str, body: dict[str, Any]) -> None:
        """Put a prior there."""
        with storage_errors(self._state.directory):
            self._files.write(policy, body)
