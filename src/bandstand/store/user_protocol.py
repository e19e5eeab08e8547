"""What a store promises of users: what is known of each, what operators do to them, and who else must hear of it."""

from collections.abc import Collection
from typing import Protocol

from bandstand.bandit.profile import Profile
from bandstand.store.records import Erasure, UserPage


class DepartureListener(Protocol):
    """An object outside the store that keeps something of users: the learned priors."""

    def list_members(self) -> Collection[str]:
        """The users of whom something is kept."""

    def apply_reset(self, user_id: str) -> None:
        """Release a user who was reset."""

    async def apply_erasure(self, user_id: str) -> int:
        """Release a user who was erased; returns how much was made again without them."""

    async def apply_revocation(self, user_ids: Collection[str], seq: int) -> list[str]:
        """Make what these users had a part in again, from their sums as of the event ``seq``."""


class UserRegister(Protocol):
    """Users: what is known of each, and what operators do to them."""

    def get_cached_profile(self, user_id: str) -> Profile | None:
        """The user's profile if it is in memory now."""

    async def load_profile(self, user_id: str) -> Profile:
        """The user's profile; an empty one for a user never met."""

    def is_behind(self, user_id: str) -> bool:
        """Whether a user in memory is most likely behind: a decision about them had better look first."""
        del user_id  # nobody else moves what a store of one process has in memory
        return False

    def is_away(self) -> bool:
        """Whether the ledger cannot be reached now: whoever is in memory can be decided for, and nothing is logged."""
        return False  # a store of one process has it on its own disk

    async def refresh_profile(self, user_id: str) -> int | None:
        """Bring a user in memory up to now.

        Returns:
            Number of their newest event, for decisions that were asked for before the call; ``None`` if they have left
            memory.
        """
        del user_id  # the same
        return None

    async def list_users(self, prefix: str, after: int, limit: int) -> UserPage:
        """Known users whose id starts with ``prefix``, in order of first sight, from the cursor ``after``."""

    async def count_users(self) -> int:
        """How many users had an event."""

    async def reset(self, user_id: str, client: str) -> None:
        """Forget what every policy learned about the user. Idempotent."""

    async def erase(self, user_id: str, client: str) -> Erasure:
        """Delete everything about the user and leave a tombstone. Idempotent."""

    def subscribe_departures(self, listener: DepartureListener) -> None:
        """Register a listener for users whom another process has reset or erased."""
        del listener  # of a store of one process: there is no other
