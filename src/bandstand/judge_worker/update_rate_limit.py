"""How much one user's turns may teach in an hour: who farms praise moves the sums so far and no further."""

from collections import deque
from collections.abc import Callable

from bandstand.store.turn_store import TurnStore

_WINDOW = 3600.0
_MANY = 10_000


class Influence:
    """Counts what turns taught in the last hour; beyond the cap their verdicts are kept and teach nothing.

    Args:
        store: knows what they taught before this process.
        most: updates of one user in an hour.
        clock: seconds since the epoch.
    """

    def __init__(self, store: TurnStore, most: int, clock: Callable[[], float]) -> None:
        self._store = store
        self._most = most
        self._clock = clock
        self._taught: dict[str, deque[float]] = {}

    async def look_up(self, user_id: str) -> None:
        """Make sure that :meth:`may_teach` knows the user."""
        if user_id not in self._taught:
            earlier = await self._store.taught_since(user_id, self._clock() - _WINDOW)
            self._taught.setdefault(user_id, deque(earlier))
            if len(self._taught) > _MANY:
                self._forget_the_quiet(user_id)

    def may_teach(self, user_id: str) -> bool:
        """Whether one more turn of the user may teach; if it may, it is counted."""
        taught, now = self._taught.setdefault(user_id, deque()), self._clock()
        while taught and taught[0] <= now - _WINDOW:
            taught.popleft()
        if len(taught) >= self._most:
            return False
        taught.append(now)
        return True

    def _forget_the_quiet(self, but: str) -> None:
        since = self._clock() - _WINDOW
        quiet = [user_id for user_id, taught in self._taught.items() if not taught or taught[-1] <= since]
        for user_id in quiet:
            if user_id != but:
                del self._taught[user_id]
