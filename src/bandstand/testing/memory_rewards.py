"""Rewards in memory: once for their decision and their key, or over time in parts, until windows end."""

import json
from collections.abc import Callable
from dataclasses import replace

from bandstand.bandit.reward_settings import CONTRACT, RewardSettings
from bandstand.errors import IdempotencyMismatchError, UnknownDecisionError
from bandstand.store.protocol import require_made_by
from bandstand.store.records import AcceptedReward, Decision, Reward
from bandstand.store.tables import windows
from bandstand.store.tables.judgements import RewardPendingError
from bandstand.store.tables.windows import Activation, ClosedWindows, MetricSums
from bandstand.testing.memory_events import MemoryEvents


class MemoryRewards:
    """The memory store's part of :class:`bandstand.store.protocol.RewardLog`.

    Args:
        events: what happened.
        clock: seconds since the epoch.
    """

    def __init__(self, events: MemoryEvents, clock: Callable[[], float]) -> None:
        self._events = events
        self._clock = clock

    def log(self, reward: Reward) -> AcceptedReward:
        """Log a reward and teach it, once."""
        events, key = self._events, reward.idempotency
        if key is not None and (known := events.rewards_by_key.get(key)) is not None:
            return AcceptedReward(known, "key")
        decision = None
        if reward.decision_id is not None:
            decision = events.decisions.get(reward.decision_id)
            if decision is None or decision.user_id != reward.user_id:
                self._require_unused(key)
                message = "no such decision"
                raise UnknownDecisionError(message)
            require_made_by(decision, reward.policy)
            takes_time = windows.takes_time(reward, decision)
            if decision.reward is not None and not takes_time:
                return AcceptedReward(decision.reward, "decision")
            if decision.pending_turn_seq:
                raise RewardPendingError("a turn that is still being judged holds this decision")
            if takes_time:
                self._require_unused(key)
                return self._add(reward, decision)
        self._require_unused(key)
        if decision is not None:
            reward.decision_seq = decision.seq
            reward.x = decision.x
            if decision.seq <= events.get_user(reward.user_id).profile.reset_seq:
                reward.applied, reward.reason = False, "reset"
        events.log_reward(reward, decision)
        return AcceptedReward(reward, "new")

    def find_by_key(self, key: tuple[str, str]) -> Reward | None:
        """The reward that came with that Idempotency-Key."""
        self._require_unused(key)
        return self._events.rewards_by_key.get(key)

    def _require_unused(self, key: tuple[str, str] | None) -> None:
        if key in self._events.turns_by_key:
            raise IdempotencyMismatchError("this Idempotency-Key came with another body before")

    def _add(self, reward: Reward, decision: Decision) -> AcceptedReward:
        """Add a part of a decision's reward, and teach the aggregate of all parts."""
        events, standing = self._events, decision.reward
        if standing is not None and windows.is_final(standing, reward.settings):
            return AcceptedReward(standing, "decision")
        user = events.get_user(reward.user_id)
        found = [] if standing is None else events.find_revocable([standing.seq])
        reason = windows.find_reason(decision, reward.ts, reset_seq=user.profile.reset_seq, is_revisable=bool(found))
        teaches = windows.take_part(decision, reward, reason)
        if teaches and not (found and found[0].value == reward.value):
            events.revoke(found, is_revision=True)
            self._teach(reward, decision)
        else:
            reward.seq = events.sequence.next(reward.ts)
            decision.reward = standing or reward
            if reward.idempotency is not None:
                events.rewards_by_key[reward.idempotency] = reward
        user.parts.append(reward)
        return AcceptedReward(reward, "new")

    def activate(self, decision_id: str, settings: RewardSettings | None, client: str, *, teaches: bool) -> Activation:
        """Let a decision that was held back count as shown, and teach what was kept for it."""
        decision = self._events.decisions.get(decision_id)
        if decision is None:
            raise UnknownDecisionError("no such decision")
        window, ts = decision.window, self._clock()
        if window is None or not window.held:
            return Activation(activated=True)
        if window.has_ended(ts):
            return Activation(activated=False, reason="window_ended")
        decision.window = replace(window, held=False)
        if decision.seq <= self._events.get_user(decision.user_id).profile.reset_seq:
            return Activation(activated=True, reason=windows.RESET)
        if not decision.parts.count:
            return Activation(activated=True)
        taught = (settings or CONTRACT).compute_taught(decision.parts)
        reward = windows.build_kept(decision, taught, client, ts, teaches=teaches)
        self._teach(reward, decision)
        return Activation(activated=True, reward=reward)

    def close_windows(self, limit: int | None, *, teaches: bool) -> ClosedWindows:
        """Teach what silence comes to, in the order in which windows end."""
        events, ts = self._events, self._clock()
        awaiting = [
            (window.due, decision.seq, window.fallback, decision)
            for decision in events.decisions.values()
            if (window := decision.window) is not None
            and window.due is not None
            and window.has_ended(ts)
            and window.fallback is not None
            and not decision.pending_turn_seq
            and (window.held or decision.reward is None or windows.is_only_kept(decision.reward))
        ]
        taught = []
        for _, _, fallback, decision in sorted(awaiting, key=lambda each: each[:2])[:limit]:
            window = decision.window
            assert window is not None  # noqa: S101 (it has ended)
            decision.window = replace(window, fallback=None)
            if not window.held:
                reset_seq = events.get_user(decision.user_id).profile.reset_seq
                reward = windows.build_silence(decision, fallback, ts, reset_seq=reset_seq, teaches=teaches)
                self._teach(reward, decision)
                taught.append(reward)
        return ClosedWindows(len(awaiting[:limit]), taught, has_more=limit is not None and len(awaiting) > limit)

    def load_metric_sums(self) -> list[MetricSums]:
        """Sums over the metrics of the parts that count, by policy and candidate."""
        found: dict[tuple[str, str, str], list[float]] = {}
        for reward in (part for user in self._events.users.values() for part in user.parts):
            decision = self._events.decisions.get(reward.decision_id or "")
            released = reward.reason == windows.HELD and decision is not None and not self._is_held(decision)
            if reward.part is None or not (released or reward.reason in {None, windows.NOT_FIRST}):
                continue
            for name, value in json.loads(reward.part.metrics or "{}").items():
                sums = found.setdefault((reward.policy.name, name, reward.tip_id), [0, 0.0, 0.0])
                sums[:] = [sums[0] + 1, sums[1] + value, sums[2] + value * value]
        return [MetricSums(*key, int(parts), total, squares) for key, (parts, total, squares) in found.items()]

    @staticmethod
    def _is_held(decision: Decision) -> bool:
        return decision.window is not None and decision.window.held

    def has_awaiting_windows(self) -> bool:
        """Whether any window is to be closed."""
        windows_of_all = (decision.window for decision in self._events.decisions.values())
        return any(window is not None and window.due and window.fallback is not None for window in windows_of_all)

    def _teach(self, reward: Reward, decision: Decision) -> None:
        reward.decision_seq, reward.x = decision.seq, decision.x
        self._events.log_reward(reward, decision)
