"""What decisions earned beside what else could have been, added up anew at each question."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from bandstand.store.gain_log import GainLog
from bandstand.store.records import Decision
from bandstand.store.tables.arms import REWARD, ArmHistory, ArmSums
from bandstand.store.tables.gains import GainDay, GainSums, compute_terms
from bandstand.store.tables.launches import LaunchEvent, number_event
from bandstand.store.tables.loop_health import to_day
from bandstand.store.tables.promotions import ExperimentStart
from bandstand.store.tables.splits import HOLDOUT, HoldoutStart, SplitLog
from bandstand.testing.memory_events import MemoryEvents, MemoryUser


class MemoryGains(GainLog):
    """The part of the memory store that says whether it pays.

    Args:
        events: what happened.
        clock: seconds since the epoch.

    Attributes:
        secret: of the deployment.
    """

    secret: bytes

    def __init__(self, events: MemoryEvents, clock: Callable[[], float]) -> None:
        self._events = events
        self._clock = clock
        self._splits: list[tuple[int, str, str | None]] = []
        self._holdout: HoldoutStart | None = None
        self._launches: list[LaunchEvent] = []

    def record_split(self, kind: str, begun: ExperimentStart | HoldoutStart | None, definition: str | None) -> None:
        """Take note of a split that begins, or goes on, or ends."""
        seq = self._events.sequence.last if begun is None else begun.seq
        if (seq, kind, definition) not in self._splits:
            self._splits.append((seq, kind, definition))

    async def set_holdout(self, definition: str | None) -> HoldoutStart | None:
        """Say who is held out from now on, if anybody."""
        newest = next((document for _, kind, document in reversed(self._splits) if kind == HOLDOUT), None)
        if newest != definition:
            ts = self._clock()
            self._holdout = HoldoutStart(self._events.sequence.next(ts), ts)
            self.record_split(HOLDOUT, self._holdout, definition)
        return None if definition is None else self._holdout

    async def log_launch(self, event: LaunchEvent, *, after: int) -> LaunchEvent:
        """Log an event of a launch."""
        del after  # it is the newest: there is no other process
        kept = number_event(event, self._events.sequence.next(event.ts))
        self._launches.append(kept)
        if kept.since == kept.seq or not kept.is_serving:
            definition = kept.build_experiment().to_canonical_json() if kept.is_serving else None
            self._splits.append((kept.seq, "launch", definition))
        return kept

    async def list_launches(self) -> Sequence[LaunchEvent]:
        """Every event of every launch, the oldest first."""
        return list(self._launches)

    async def follow_gains(self) -> None:
        """Nothing to catch up with."""

    async def load_gain_sums(self) -> GainSums:
        """The sums by day and policy, over every decision whose reward stands."""
        days = defaultdict[tuple[int, str], list[float]](list)
        for user in self._events.users.values():
            for decision in user.decisions:
                reward, numbers = _find_standing(user, decision), decision.numbers
                if reward is None or numbers is None:
                    continue
                pick, value = np.array([decision.pick]), np.array([reward])
                terms = compute_terms(numbers[:1], numbers[3:], pick, value)[0].tolist()
                key = (to_day(decision.ts), decision.policy.name)
                days[key] = [so_far + term for so_far, term in zip(days[key] or [0.0] * len(terms), terms, strict=True)]
        rows = [GainDay(*key, int(rewarded), *sums) for key, (rewarded, *sums) in sorted(days.items())]
        return GainSums(rows, self._events.sequence.last)

    async def load_arms(self, split: int) -> ArmHistory:
        """What came of the users of each arm of a split."""
        log, arms = SplitLog(self._splits, self.secret), dict[str, ArmSums]()
        for user_id, user in self._events.users.items():
            for arm, (decisions, n, total) in self._sum_user(log, split, user_id, user).items():
                sums = arms.get(arm) or ArmSums(split, arm, REWARD)
                arms[arm] = sums._replace(
                    users=sums.users + 1,
                    rewarded=sums.rewarded + (n > 0),
                    decisions=sums.decisions + decisions,
                    n=sums.n + n,
                    total=sums.total + total,
                    nn=sums.nn + n * n,
                    nt=sums.nt + n * total,
                    tt=sums.tt + total * total,
                )
        day = to_day(self._clock())
        return ArmHistory({REWARD: arms} if arms else {}, [(day, arms)] if arms else [])

    @staticmethod
    def _sum_user(log: SplitLog, split: int, user_id: str, user: MemoryUser) -> dict[str, tuple[int, int, float]]:
        found: dict[str, tuple[int, int, float]] = {}
        for decision in user.decisions:
            reward = _find_standing(user, decision)
            for seq, arm in log.find_arms(user_id, decision.policy.name, decision.seq):
                if seq == split:
                    decisions, n, total = found.get(arm, (0, 0, 0.0))
                    found[arm] = (decisions + 1, n + (reward is not None), total + (reward or 0.0))
        return found


def _find_standing(user: MemoryUser, decision: Decision) -> float | None:
    reward = decision.reward
    return None if reward is None or reward.seq in user.revoked else reward.value
