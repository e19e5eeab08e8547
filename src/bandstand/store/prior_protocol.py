"""Learned priors of a ledger that several processes share: one learns them, all read them."""

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, NamedTuple, Protocol


class PriorMark(NamedTuple):
    """How a policy's prior stands.

    Attributes:
        generation: how often it was learned.
        wanted: how often another one was asked for, without somebody or something that it was learned from.
        settled: up to which of these it was learned.
        is_there: whether it can be read; one that names somebody who was erased cannot.
    """

    generation: int
    wanted: int
    settled: int
    is_there: bool

    @property
    def is_stale(self) -> bool:
        """Whether it was learned from what counts no more."""
        return self.wanted > self.settled


class SampledUser(NamedTuple):
    """A user who has taught something.

    Attributes:
        version: of their state.
    """

    user_id: str
    version: int


class PriorLedger(Protocol):
    """Where the processes of a deployment keep the priors that one of them learns."""

    @property
    def is_leading(self) -> bool:
        """Whether this process is the one."""

    async def list_marks(self) -> Mapping[str, PriorMark]:
        """How each policy's prior stands: what all may ask every second."""

    async def load(self, policy: str) -> dict[str, Any] | None:
        """What was written of a policy, with its ``checksum``; ``None`` where nothing is to be read."""

    async def write(
        self, policy: str, body: Mapping[str, Any], members: Collection[str], *, settled: int
    ) -> str | None:
        """Replace a policy's prior, if this process still leads and all whom it was learned from are still there.

        Args:
            policy: its name.
            body: what is to be read, JSON values.
            members: whom it was learned from.
            settled: which :attr:`PriorMark.wanted` was read before their states were.

        Returns:
            Its checksum; ``None`` where nothing was written.
        """

    async def mark(self, *, users: Collection[str] = (), policies: Collection[str] = ()) -> list[str]:
        """Ask for other priors in the place of those that users had a part in, and of policies; returns which."""

    async def count_rewards(self) -> int:
        """How many rewards there are."""

    def iter_rewarded_users(self) -> AsyncIterator[list[SampledUser]]:
        """Everybody who has taught something, some at a time."""
