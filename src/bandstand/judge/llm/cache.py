"""A bounded cache of the LLM's verdicts: one call at a time for the same turn, and no failures."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace

from bandstand.judge.turn import CutTurn
from bandstand.judge.verdict import Judged, Usage, Verdict

CacheKey = bytes
"""Of everything that a verdict depends on: see :func:`cache_key`."""


def cache_key(model: str, prompt_hash: str, taxonomy_hash: str, turn: CutTurn) -> CacheKey:
    """Return the key of a verdict: the model, the prompt, the labels and the cut turn; never a threshold."""
    parts = (model, prompt_hash, taxonomy_hash, turn.query_t, turn.answer_t, turn.query_t1, turn.about)
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.digest()


class VerdictCache:
    """Verdicts by key, the longest unused of them leaving first. It holds no turn's words but those a verdict quotes.

    Args:
        size: how many are kept; 0 keeps none.
    """

    def __init__(self, size: int = 4096) -> None:
        self.size = size
        self._verdicts: OrderedDict[CacheKey, Verdict] = OrderedDict()

    def get(self, key: CacheKey) -> Verdict | None:
        """Return the verdict with no cost; None if there is none."""
        verdict = self._verdicts.get(key)
        if verdict is not None:
            self._verdicts.move_to_end(key)
        return verdict

    def put(self, key: CacheKey, verdict: Verdict) -> None:
        """Keep a verdict."""
        self._verdicts[key] = replace(verdict, usage=Usage())
        self._verdicts.move_to_end(key)
        while len(self._verdicts) > self.size:
            self._verdicts.popitem(last=False)

    def __len__(self) -> int:
        return len(self._verdicts)


class SingleFlight:
    """Lets those who ask the same at the same time wait for one answer. Of one event loop.

    Only the first receives the cost. The work continues as long as one of them waits.
    """

    def __init__(self) -> None:
        self._flights: dict[CacheKey, _Flight] = {}

    async def run(self, key: CacheKey, work: Callable[[], Awaitable[Judged]]) -> Judged:
        """Return what ``work`` returns, or what the same work that is already under way will."""
        flight = self._flights.get(key)
        is_first = flight is None
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.ensure_future(work()))
            flight.task.add_done_callback(lambda _: self._remove_flight(key, flight))
        flight.waiting += 1
        try:
            judged = await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._remove_flight(key, flight)
                flight.task.cancel()
        return judged if is_first else replace(judged, usage=Usage())

    def _remove_flight(self, key: CacheKey, flight: "_Flight") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


class _Flight:
    __slots__ = ("task", "waiting")

    def __init__(self, task: "asyncio.Future[Judged]") -> None:
        self.task = task
        self.waiting = 0
