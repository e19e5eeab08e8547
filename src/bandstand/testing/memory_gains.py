"""What decisions earned compared with the alternatives, added up again at each query."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from bandstand.store.gain_log import GainLog
from bandstand.store.records import Decision
from bandstand.store.tables import windows
from bandstand.store.tables.arms import LEFT_OUT, REWARD, ArmHistory, ArmSums, build_history, find_place
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
        """Take note of a split that begins, or continues, or ends."""
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
        """The result of the users of each arm of a split."""
        log = SplitLog(self._splits, self.secret)
        users: dict[tuple[str, str, str], tuple[int, int, float]] = {}
        names = set[tuple[int, str]]()
        metrics = list[tuple[str, str, str, float]]()
        for user in self._events.users.values():
            for decision in user.decisions:
                reward, brought = _find_standing(user, decision), _sum_metrics(user, decision)
                for arm in (arm for seq, arm in _find_arms(log, decision) if seq == split):
                    _add(users, (REWARD, arm, decision.person), reward)
                    names |= {(seq, metric) for metric, (seq, _) in brought.items() if metric != REWARD}
                    if reward is not None:
                        metrics += [(metric, arm, decision.person, total) for metric, (_, total) in brought.items()]
        known: set[str] = set()
        for _, metric in sorted(names):
            find_place(metric, known)
        for metric, arm, person, total in metrics:
            has_place = metric in known
            _add(users, (metric if has_place else LEFT_OUT, arm, person), total if has_place else 0.0)
        sums: dict[str, dict[str, ArmSums]] = {}
        for (metric, arm, _), (decisions, n, total) in users.items():
            so_far = sums.setdefault(metric, {}).get(arm) or ArmSums(split, arm, metric)
            sums[metric][arm] = so_far._replace(
                users=so_far.users + 1,
                rewarded=so_far.rewarded + (n > 0),
                decisions=so_far.decisions + decisions,
                n=so_far.n + n,
                total=so_far.total + total,
                nn=so_far.nn + n * n,
                nt=so_far.nt + n * total,
                tt=so_far.tt + total * total,
            )
        day = to_day(self._clock())
        return build_history(sums, [(day, sums[REWARD])] if sums else [])


def _find_arms(log: SplitLog, decision: Decision) -> Iterator[tuple[int, str]]:
    return log.find_arms(decision.person, decision.policy.name, decision.seq)


def _add(
    users: dict[tuple[str, str, str], tuple[int, int, float]], key: tuple[str, str, str], value: float | None
) -> None:
    decisions, rewarded, total = users.get(key, (0, 0, 0.0))
    users[key] = decisions + 1, rewarded + (value is not None), total + (value or 0.0)


def _has_taught(decision: Decision) -> bool:
    reward = decision.reward
    return reward is not None and reward.reason != windows.HELD and not windows.is_only_kept(reward)


def _find_standing(user: MemoryUser, decision: Decision) -> float | None:
    reward = decision.reward
    return reward.value if reward is not None and _has_taught(decision) and reward.seq not in user.revoked else None


def _sum_metrics(user: MemoryUser, decision: Decision) -> dict[str, tuple[int, float]]:
    """What the parts of a decision that has taught brought: by name, the first of them and the sum."""
    counted = {None, windows.NOT_FIRST, windows.HELD}  # it was held when it came
    brought: dict[str, tuple[int, float]] = {}
    for each in user.parts if _has_taught(decision) else ():
        if each.decision_id == decision.decision_id and each.reason in counted and each.part is not None:
            for metric, value in json.loads(each.part.metrics or "{}").items():
                first, total = brought.get(metric, (each.seq, 0.0))
                brought[metric] = first, total + value
    return brought
