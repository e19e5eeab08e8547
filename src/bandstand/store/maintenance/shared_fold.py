"""Users of a shared ledger and of an embedded one, both folded from their events, to compare them."""

from random import Random
from typing import Any

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.profile import Profile
from bandstand.store.learners.event_times import EventTimes
from bandstand.store.maintenance.offline import OpenedDirectory
from bandstand.store.maintenance.rebuild_verify import find_difference
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.connections import ConnectionPool
from bandstand.store.postgres.profiles import ProfileCache
from bandstand.store.postgres.registry import LedgerPolicies
from bandstand.store.tables.policies import PolicyRegistry
from bandstand.times import CLOCK_SLACK_S

SAMPLE = 1000
"""Users that are folded on both sides, where not all are."""


BENT = "users of those compared have events from a clock that was set back, and a memory that fades"


def choose_users(state: OpenedDirectory, *, everybody: bool) -> list[tuple[int, str]]:
    """Keys and ids of the users that are folded on both sides: some by chance, or all."""
    users = list(state.iter_users())
    return users if everybody or len(users) <= SAMPLE else sorted(Random(len(users)).sample(users, SAMPLE))


def is_bent(state: OpenedDirectory, uid: int, truth: Profile) -> bool:
    """Whether an event counts as of another time than its own in a directory, and that matters."""
    fades = any(held.half_life for held in truth.policies.values())
    return fades and EventTimes(state.connection, uid, 0).is_bent


def compare_states(shared: Profile, embedded: Profile) -> str | None:
    """The first difference between what both ledgers say of a user, in words; their resets are not looked at."""
    shared.reset_seq = embedded.reset_seq
    for key, held in embedded.policies.items():
        twin = shared.policies.get(key)
        if twin is not None and abs((twin.last_updated or 0.0) - (held.last_updated or 0.0)) <= CLOCK_SLACK_S:
            twin.last_updated = held.last_updated  # the last event's in a directory, the latest in the shared ledger
    return find_difference(shared, embedded)


class SharedFold:
    """Users as a service on the shared ledger would read them; nobody writes to it meanwhile.

    Args:
        address: where it is.
        catalogue: the configured policies and schemas.
        has_one_model: whether all decisions are one user's.
    """

    def __init__(self, address: LedgerAddress, catalogue: Catalogue, *, has_one_model: bool = False) -> None:
        self._pool = ConnectionPool(address, 1, durable=False, statement_s=0)
        self._policies = LedgerPolicies(catalogue)
        self._users = ProfileCache(
            self._pool,
            self._pool,
            self._policies.registry,
            prepare=self._prepare,
            observe_seq=lambda _: None,
            max_users=1,
            has_one_model=has_one_model,
        )

    @property
    def registry(self) -> PolicyRegistry:
        """The policies by the ids that rows use."""
        return self._policies.registry

    async def open(self) -> None:
        """Read which policies there are."""
        await self._policies.load(self._pool)

    async def load(self, user_id: str) -> Profile:
        """A user's state, with what their decisions count."""
        profile = (await self._users.load(user_id)).profile
        self._users.drop_all()
        return profile

    async def close(self) -> None:
        """Let the connection go."""
        await self._pool.close()

    async def _prepare(self, _: list[Any]) -> None:
        """All policies are known: nobody else writes."""
