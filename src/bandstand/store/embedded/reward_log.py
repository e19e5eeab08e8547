"""Rewards: logged once for their decision and once for their key, and folded into what the policies know."""

import asyncio
from contextlib import suppress
from typing import Final

from bandstand.errors import UnknownDecisionError
from bandstand.store.embedded.decision_log import EmbeddedDecisions
from bandstand.store.embedded.idempotency_keys import IdempotencyKeys, add_key_row, build_mismatch_error
from bandstand.store.embedded.part_log import EmbeddedParts
from bandstand.store.embedded.state_directory import EventCollisionError, EventFuture, StateDirectory
from bandstand.store.learners.open_decisions import OpenDecision, read_open_decisions
from bandstand.store.learners.user_cache import CachedUser
from bandstand.store.protocol import require_made_by
from bandstand.store.records import AcceptedReward, Decision, Reward
from bandstand.store.sqlite.statements import Row
from bandstand.store.sqlite.writer import Tally
from bandstand.store.tables.event_rows import (
    INSERT_REWARD,
    LEGACY_LINK_SECONDS,
    build_reward_row,
)
from bandstand.store.tables.judgements import RewardPendingError
from bandstand.store.tables.loop_health import build_arrival
from bandstand.store.tables.updates import apply_reward, get_shadow_updates
from bandstand.store.tables.windows import takes_time

_MAX_COLLISIONS: Final = 3
"""How often a reward is looked at anew since its key or its decision was spent between the look-up and the commit. The
event that it then waits for may have collided too."""


class EmbeddedRewards:
    """The rewards of a state directory, as :class:`bandstand.store.protocol.RewardLog` has them."""

    def __init__(
        self, directory: StateDirectory, decisions: EmbeddedDecisions, parts: EmbeddedParts, keys: IdempotencyKeys
    ) -> None:
        self._directory = directory
        self._decisions = decisions
        self._parts = parts
        self._keys = keys

    async def reward(self, reward: Reward) -> AcceptedReward:
        """Log a reward and teach it, once."""
        try:
            for _ in range(_MAX_COLLISIONS):
                with suppress(EventCollisionError):
                    return await self._log(reward)
            return await self._log(reward)
        except (EventCollisionError, UnknownDecisionError):
            if not await self._keys.is_used(reward.idempotency):
                raise
            raise build_mismatch_error() from None

    async def find_reward_by_key(self, key: tuple[str, str]) -> Reward | None:
        """The reward that came with that Idempotency-Key."""
        return await self._keys.find_reward_only(key)

    async def _log(self, reward: Reward) -> AcceptedReward:
        if reward.idempotency is not None and (known := await self._keys.find_reward(reward.idempotency)) is not None:
            return AcceptedReward(known, "key")
        user, decision = await self._find_rewarded(reward)  # from here to the submission there is no await
        if reward.idempotency is not None and (flying := self._keys.rewards.get(reward.idempotency)) is not None:
            await self._directory.wait_committed(flying.seq)
            return AcceptedReward(flying, "key")
        if reward.decision_id is not None:
            if decision is None or decision.uid != user.uid or self._decisions.is_expired(decision):
                message = "no such decision"
                raise UnknownDecisionError(message)
            if takes_time(reward, decision):
                return await self._parts.add(reward)
            require_made_by(decision, reward.policy)
            if decision.reward is not None:
                existing = decision.reward
                await self._directory.wait_committed(existing.seq)
                return AcceptedReward(existing, "decision")
            if decision.pending_turn_seq:
                raise RewardPendingError("a turn that is still being judged holds this decision")
            reward.decision_seq = decision.seq
            reward.x = decision.x
            if decision.seq <= user.reset_seq:
                reward.applied, reward.reason = False, "reset"
        await asyncio.shield(self._submit(user, reward, decision))  # others may wait for it too
        return AcceptedReward(reward, "new")

    async def _find_rewarded(self, reward: Reward) -> tuple[CachedUser, Decision | None]:
        """The user and the decision that a reward is for, neither of which moved while the other was waited for."""
        while True:
            user = await self._directory.users.get_or_load(reward.user_id)
            decision = None
            if reward.decision_id is not None:
                decision = await self._decisions.find_decision(reward.decision_id)
            elif not user.open_decisions.is_loaded:
                await self._load_open_decisions(user, reward.ts)
            can_link = reward.decision_id is not None or user.open_decisions.is_loaded
            if can_link and self._decisions.is_unchanged(user, decision):
                return user, decision

    async def _load_open_decisions(self, user: CachedUser, ts: float) -> None:
        open_decisions = user.open_decisions
        after, before = ts - LEGACY_LINK_SECONDS, open_decisions.first_seq
        open_decisions.load(await self._directory.read(read_open_decisions, user.uid, after, before))

    def _submit(self, user: CachedUser, reward: Reward, decision: Decision | None) -> EventFuture:
        directory = self._directory
        reward.seq = directory.next_seq(reward.ts)
        uid = directory.ensure_uid(user)
        policy_id = directory.registry.get_id(reward.policy)
        reward.shadow_updates = get_shadow_updates(directory.registry, reward.policy, reward.features, decision)
        linked: OpenDecision | None = None
        if decision is not None:
            decision.reward = reward
            user.open_decisions.answer(decision.seq)
        else:
            linked = user.open_decisions.take(reward.policy.name, reward.tip_id, reward.ts - LEGACY_LINK_SECONDS)
        row = build_reward_row(reward, uid, policy_id, None if linked is None else linked.seq)
        rows: list[tuple[str, Row]] = [(INSERT_REWARD, row)]
        key = reward.idempotency
        add_key_row(rows, reward, self._keys.rewards)

        def on_committed() -> None:
            user.stale = not apply_reward(self._directory.registry, user.profile, reward) or user.stale
            if key is not None:
                self._keys.rewards.pop(key, None)

        def on_rejected() -> None:
            if decision is not None:
                decision.reward = None
                self._decisions.forget(decision)
            if linked is not None:
                user.open_decisions.give_back(linked)
            if key is not None:
                self._keys.rewards.pop(key, None)

        tally = Tally(int(reward.ts // 3600), policy_id, 0, 0, 1, reward.value)
        answered = (None if decision is None else decision.ts) if linked is None else linked.ts
        sums = (build_arrival(reward, policy_id, answered),)
        return directory.submit(user, reward.seq, rows, on_committed, on_rejected, durable=True, tally=tally, sums=sums)
