"""How much one user's turns may teach in an hour: who farms praise moves the sums so far and no further."""

from collections import deque
from collections.abc import Callable, Sequence

from bandstand.store.protocol import Store
from bandstand.store.turn_protocol import TEACHING_WINDOW_S
from bandstand.times import is_ahead

_MAX_USERS = 10_000


class UpdateRateLimit:
    """Counts what turns taught in the last hour; beyond the cap their verdicts are kept and teach nothing.

    Args:
        store: knows what they taught before this process.
        max_updates: updates of one user in an hour.
        clock: seconds since the epoch.
    """

    def __init__(self, store: Store, max_updates: int, clock: Callable[[], float]) -> None:
        self._store = store
        self._max_updates = max_updates
        self._clock = clock
        self._update_times: dict[str, deque[float]] = {}

    async def load_user(self, user_id: str) -> None:
        """Make sure that :meth:`allow_update` knows the user."""
        now = self._clock()
        if any(is_ahead(ts, now) for ts in self._update_times.get(user_id, ())):
            del self._update_times[user_id]  # the clock was ahead, and what came before has been let go
        if user_id not in self._update_times:
            earlier = await self._store.list_update_times(user_id, now - TEACHING_WINDOW_S)
            self._update_times.setdefault(user_id, deque(ts for ts in earlier if _is_within(ts, now)))
            if len(self._update_times) > _MAX_USERS:
                self._remove_idle_users(user_id)

    def allow_update(self, user_id: str, taught_lately: Sequence[float] | None = None) -> bool:
        """Whether one more turn of the user may teach; if it may, it is counted.

        Args:
            user_id: theirs.
            taught_lately: when their turns taught, in order, where a store of several processes knows better.
        """
        now = self._clock()
        if taught_lately is not None:
            self._update_times[user_id] = deque(ts for ts in taught_lately if _is_within(ts, now))
        taught = self._update_times.setdefault(user_id, deque())
        while taught and not _is_within(taught[0], now):
            taught.popleft()
        if len(taught) >= self._max_updates:
            return False
        taught.append(now)
        return True

    def _remove_idle_users(self, except_user: str) -> None:
        since = self._clock() - TEACHING_WINDOW_S
        quiet = [user_id for user_id, taught in self._update_times.items() if not taught or taught[-1] <= since]
        for user_id in quiet:
            if user_id != except_user:
                del self._update_times[user_id]


def _is_within(ts: float, now: float) -> bool:
    """Whether a time is in the last hour; one that a clock was ahead for is in none."""
    return now - TEACHING_WINDOW_S < ts and not is_ahead(ts, now)
