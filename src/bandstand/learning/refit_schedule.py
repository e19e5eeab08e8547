"""When a population prior is learned again: by growth of what it learns from, within a share of a core.

A prior learned from n rewards says nothing new after one more. Refits that wait for a share of n come at a logarithmic
number of times over a deployment's life, instead of at every few hundred rewards for ever.
"""

import math
import time
from collections.abc import Callable
from typing import TypeVar

from bandstand.bandit.population import count_new_rewards

T = TypeVar("T")

GROWTH = 0.05
"""Rewards, as a share of those that a prior was learned from, after which another may say something new."""
CORE_SHARE = 0.02
"""Of one core, at most, on average: a refit of t seconds costs t/share of rest, itself included."""
MAX_EXPECTED_SECONDS = 0.5
"""Of processor time, rested before a refit: what a round of them takes; an erasure's may take longer."""


class RefitSchedule:
    """The schedule of one deployment's refits.

    Args:
        min_rewards: new rewards that a refit waits for, however little the prior was learned from; without it, of those
            that come first it waits for few, see :func:`bandstand.bandit.population.count_new_rewards`.
    """

    def __init__(self, min_rewards: int | None = None) -> None:
        self._min_rewards = min_rewards
        self._rests_until = -math.inf
        self._expected_seconds = 0.0

    def count_needed(self, learned_rewards: int, min_rewards: int | None = None) -> int:
        """New rewards after which a prior that was learned from ``learned_rewards`` is due again.

        Args:
            learned_rewards: that the prior knows.
            min_rewards: what the policy waits for, where the deployment says nothing.
        """
        least = min_rewards if self._min_rewards is None else self._min_rewards
        return count_new_rewards(learned_rewards) if least is None else max(least, math.ceil(GROWTH * learned_rewards))

    def measure_refit(self, refit: Callable[[], T]) -> T:
        """Run a refit on the calling thread, and count the processor time that it took, whether or not it fails."""
        started, cpu_before = time.monotonic(), time.thread_time()
        try:
            return refit()
        finally:
            self.record_refit(started, time.thread_time() - cpu_before)

    def measure_write(self, write: Callable[[], T]) -> T:
        """Write a learned prior on the calling thread; its processor time is rested from, after it."""
        cpu_before = time.thread_time()
        try:
            return write()
        finally:
            self._rests_until += (time.thread_time() - cpu_before) / CORE_SHARE

    def record_refit(self, started: float, cpu_seconds: float) -> None:
        """Note a refit that began at ``started`` seconds of a steady clock and took ``cpu_seconds`` of a core.

        The rest before it counts, as far as it was expected to take so long: what a refit takes is rested beforehand,
        so that the share holds at the end of it too, and not only after minutes.
        """
        paid = started - self._expected_seconds / CORE_SHARE
        self._rests_until = max(self._rests_until, paid) + cpu_seconds / CORE_SHARE
        self._expected_seconds = min(cpu_seconds, MAX_EXPECTED_SECONDS)

    def compute_rest(self, now: float) -> float:
        """Seconds of rest left before the next refit may begin, if it takes as long as the last; 0 for none."""
        return max(0.0, self._rests_until + self._expected_seconds / CORE_SHARE - now)
