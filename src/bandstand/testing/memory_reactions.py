"""Reactions in memory: those that came, and their rewards under another table."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from msgspec import structs

from bandstand.bandit.aggregation import PartSums
from bandstand.bandit.reaction_table import SentReaction
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.errors import InvalidRequestError
from bandstand.store.records import Decision, Reward, RewardPart
from bandstand.store.tables.reactions import LoggedReaction, ReactionFate
from bandstand.store.tables.windows import HELD, NOT_FIRST
from bandstand.testing.memory_events import MemoryEvents, MemoryUser


class MemoryReactions:
    """The memory store's part of :class:`bandstand.store.protocol.UndoLog` that is about reactions.

    Args:
        events: what happened.
        clock: seconds since the epoch.
    """

    def __init__(self, events: MemoryEvents, clock: Callable[[], float]) -> None:
        self._events = events
        self._clock = clock

    def list_reactions(self, after: int, since: float, limit: int) -> list[LoggedReaction]:
        """Reactions that came at ``since`` or later, in order, from after the event ``after``."""
        found = {
            reward.seq: self._to_logged(user, reward, reward.reaction)
            for user in self._events.users.values()
            for reward in (*user.rewards, *user.parts)
            if reward.reaction is not None and reward.seq > after and reward.reaction.ts >= since
        }
        return [found[seq] for seq in sorted(found)][:limit]

    def _to_logged(self, user: MemoryUser, reward: Reward, sent: SentReaction) -> LoggedReaction:
        part = reward.part
        return LoggedReaction(
            seq=reward.seq,
            user_id=reward.user_id,
            decision_id=reward.decision_id,
            decision_seq=reward.decision_seq or 0,
            is_part=part is not None,
            value=reward.value if part is None else part.value,
            fate=self._find_fate(user, reward, part),
            sent=sent,
        )

    def _find_fate(self, user: MemoryUser, reward: Reward, part: RewardPart | None) -> ReactionFate:
        taught: Reward | None = reward
        if part is not None:
            decision = self._events.decisions[reward.decision_id or ""]
            if part.reason not in {None, HELD, NOT_FIRST}:
                return "void"
            if decision.window is not None and decision.window.held:
                return "held"
            taught = decision.reward
        if taught is None or taught not in user.rewards or not (taught.applied or part is not None):
            return "void"
        if taught.seq in user.revoked:
            return "already"
        return "forgotten" if taught.seq <= user.profile.reset_seq else "held"

    def reapply(self, found: Sequence[LoggedReaction], settings: RewardSettings) -> bool:
        """Take back the old rewards of reactions, and teach the new ones."""
        first = found[0]
        user = self._events.users.get(first.user_id)
        decision = self._events.decisions.get(first.decision_id or "")
        if user is None:
            return False
        if first.is_part:
            return decision is not None and self._revise_parts(user, decision, settings)
        value = settings.compute_reaction_reward(first.sent.action, first.sent.dwell_ms)
        taught = self._events.find_revocable([first.seq])
        if not taught or taught[0].value == value:
            return False
        before = next(reward for reward in user.rewards if reward.seq == first.seq)
        reaction, before.reaction = _remap(first.sent, settings), None
        self._events.revoke(taught, is_revision=True)
        after = structs.replace(before, value=value, ts=self._clock(), reaction=reaction)
        self._events.log_reward(after, decision)
        return True

    def _revise_parts(self, user: MemoryUser, decision: Decision, settings: RewardSettings) -> bool:
        is_held = decision.window is not None and decision.window.held
        taught = [] if decision.reward is None else self._events.find_revocable([decision.reward.seq])
        if not (taught or is_held):
            return False
        values, revised = list[float](), False
        for reward in user.parts:
            part = reward.part
            if reward.decision_id != decision.decision_id or part is None or part.reason not in {None, HELD, NOT_FIRST}:
                continue
            value = _compute_value(reward, part, settings)
            if value != part.value and reward.reaction is not None:
                reward.part, revised = replace(part, value=value), True
                reward.reaction = _remap(reward.reaction, settings)
            values.append(value)
        decision.parts = PartSums.from_values(values)
        if revised and taught and (after := settings.compute_taught(decision.parts)) != taught[0].value:
            standing = decision.reward
            assert standing is not None  # noqa: S101 (it has taught)
            self._events.revoke(taught, is_revision=True)
            reward = structs.replace(standing, value=after, ts=self._clock(), applied=True, reason=None, part=None)
            reward.reaction = reward.idempotency = None
            self._events.log_reward(reward, decision)
        return revised


def _compute_value(reward: Reward, part: RewardPart, settings: RewardSettings) -> float:
    if reward.reaction is None:
        return part.value
    try:
        return settings.compute_reaction_reward(reward.reaction.action, reward.reaction.dwell_ms)
    except InvalidRequestError:
        return part.value


def _remap(sent: SentReaction, settings: RewardSettings) -> SentReaction:
    table = settings.reactions
    return replace(sent, table=table.name, version=table.version, hash=table.hash)
