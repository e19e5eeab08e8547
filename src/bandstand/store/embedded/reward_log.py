"""Rewards: logged once for their decision and once for their key, and folded into what the policies know."""

from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from msgspec import Struct

from bandstand.errors import BandstandError, StorageFullError, StorageUnavailableError, UnknownDecisionError
from bandstand.store.embedded.decision_log import EmbeddedDecisions
from bandstand.store.embedded.idempotency_keys import IdempotencyKeys, add_key_row, build_mismatch_error
from bandstand.store.embedded.in_flight import UserEvent
from bandstand.store.embedded.part_log import EmbeddedParts
from bandstand.store.embedded.state_directory import EventCollisionError, StateDirectory
from bandstand.store.learners.open_decisions import OpenDecision, read_open_decisions
from bandstand.store.learners.user_cache import CachedUser
from bandstand.store.outcomes import Outcome, watch
from bandstand.store.protocol import require_made_by
from bandstand.store.records import AcceptedReward, Decision, Reward
from bandstand.store.sqlite.operations import build_tally
from bandstand.store.tables.event_rows import (
    INSERT_REWARD,
    LEGACY_LINK_SECONDS,
    build_reward_row,
)
from bandstand.store.tables.judgements import RewardPendingError
from bandstand.store.tables.loop_health import build_arrival
from bandstand.store.tables.policies import PolicyRegistry
from bandstand.store.tables.reactions import add_reaction_row
from bandstand.store.tables.reward_sums import build_sum_rows
from bandstand.store.tables.updates import apply_reward, get_shadow_updates
from bandstand.store.tables.windows import takes_time

_MAX_COLLISIONS: Final = 3
"""How often a reward is looked at again since its key or its decision was spent between the look-up and the commit.

The event that it then waits for may have collided too.
"""


class _TakenReward(Struct):
    """The reward that stands for a request, and its event while that is in flight."""

    accepted: AcceptedReward
    event: UserEvent[Any] | None

    async def wait(self) -> AcceptedReward:
        """What stands, once it is committed."""
        if self.event is not None:
            await self.event
        return self.accepted


class EmbeddedRewards:
    """The rewards of a state directory, as :class:`bandstand.store.protocol.RewardLog` has them."""

    def __init__(
        self, directory: StateDirectory, decisions: EmbeddedDecisions, parts: EmbeddedParts, keys: IdempotencyKeys
    ) -> None:
        self._directory = directory
        self._decisions = decisions
        self._parts = parts
        self._keys = keys

    def reward(self, reward: Reward, decision: Decision | None = None) -> Awaitable[AcceptedReward]:
        """Log a reward and teach it, once: submitted now if what it is for is in memory, there once it is awaited."""
        taken = None
        try:
            taken = self._submit_if_loaded(reward, decision)
        except BandstandError:
            if reward.idempotency is None:
                raise
        if taken is not None and taken.accepted.match == "decision" and reward.idempotency is not None:
            taken = None  # what came with its key goes before a refusal, and is looked up
        if taken is None:
            return self._look_up_again(reward)
        outcome: Outcome[AcceptedReward] = Outcome()
        if taken.event is None:
            outcome.settle(taken.accepted, None)
        else:
            taken.event.call_when_settled(partial(self._conclude, reward, taken.accepted, outcome))
        return outcome

    def _conclude(
        self,
        reward: Reward,
        accepted: AcceptedReward,
        outcome: Outcome[AcceptedReward],
        _: object,
        error: BaseException | None,
    ) -> None:
        if error is None:
            outcome.settle(accepted, None)
        elif isinstance(error, EventCollisionError) or (
            reward.idempotency is not None and isinstance(error, (StorageFullError, StorageUnavailableError))
        ):
            watch(self._look_up_again(reward), outcome.settle)
        else:
            outcome.settle(None, error)

    async def _look_up_again(self, reward: Reward) -> AcceptedReward:
        try:
            for _ in range(_MAX_COLLISIONS):
                with suppress(EventCollisionError):
                    return await (await self._look_up(reward)).wait()
            return await (await self._look_up(reward)).wait()
        except (EventCollisionError, UnknownDecisionError):
            if not await self._keys.is_used(reward.idempotency):
                raise
            raise build_mismatch_error() from None

    async def find_reward_by_key(self, key: tuple[str, str]) -> Reward | None:
        """The reward that came with that Idempotency-Key."""
        return await self._keys.find_reward_only(key)

    async def _look_up(self, reward: Reward) -> _TakenReward:
        """The reward that stands for a request, once all that it depends on has been read.

        If none does, it is submitted.
        """
        directory = self._directory
        if reward.idempotency is not None and (known := await self._keys.find_reward(reward.idempotency)) is not None:
            return _TakenReward(AcceptedReward(known, "key"), None)
        while (taken := self._submit_if_loaded(reward)) is None:
            user = await directory.users.get_or_load(reward.user_id)
            if reward.decision_id is None:
                if not user.open_decisions.is_loaded:
                    await self._load_open_decisions(user, reward.ts)
            elif (decision := await self._decisions.find_decision(reward.decision_id)) is None:
                raise _build_unknown_error()
            elif takes_time(reward, decision):
                return _TakenReward(await self._parts.add(reward), None)
        return taken

    def _submit_if_loaded(self, reward: Reward, decision: Decision | None = None) -> _TakenReward | None:
        """The reward that stands for a request; if none does, it is submitted.

        ``None`` if its user or decision is not in memory, or it is a part of what that is taught over time. The
        decision need not be given.
        """
        directory, key = self._directory, reward.idempotency
        if key is not None and (flying := self._keys.rewards.get(key)) is not None:
            return _TakenReward(AcceptedReward(flying, "key"), directory.get_in_flight(flying.seq))
        user = directory.users.get(reward.user_id)
        if user is None:
            return None
        if reward.decision_id is None:
            if not user.open_decisions.is_loaded:
                return None
        else:
            decision = decision or self._decisions.get_cached_decision(reward.decision_id)
            if decision is None or takes_time(reward, decision):
                return None
            if decision.uid != user.uid or self._decisions.is_expired(decision):
                raise _build_unknown_error()
            require_made_by(decision, reward.policy)
            if decision.reward is not None:
                existing = decision.reward
                return _TakenReward(AcceptedReward(existing, "decision"), directory.get_in_flight(existing.seq))
            if decision.pending_turn_seq:
                raise RewardPendingError("a turn that is still being judged holds this decision")
            reward.decision_seq = decision.seq
            reward.x = decision.x
            if decision.seq <= user.reset_seq:
                reward.applied, reward.reason = False, "reset"
        event = self._submit(user, reward, decision)
        return _TakenReward(event.result, event)

    async def _load_open_decisions(self, user: CachedUser, ts: float) -> None:
        open_decisions = user.open_decisions
        after, before = ts - LEGACY_LINK_SECONDS, open_decisions.first_seq
        open_decisions.load(await self._directory.read(read_open_decisions, user.uid, after, before))

    def _submit(self, user: CachedUser, reward: Reward, decision: Decision | None) -> UserEvent[AcceptedReward]:
        directory = self._directory
        reward.seq = directory.next_seq(reward.ts)
        uid = directory.ensure_uid(user)
        policy_id = directory.registry.get_id(reward.policy)
        reward.shadow_updates = get_shadow_updates(directory.registry, reward.policy, reward.features, decision)
        linked: OpenDecision | None = None
        answered: float | None = None
        if decision is not None:
            answered = decision.ts
            decision.reward = reward
            user.open_decisions.answer(decision.seq)
        else:
            linked = user.open_decisions.take(reward.policy.name, reward.tip_id, reward.ts - LEGACY_LINK_SECONDS)
            if linked is not None:
                answered = linked.ts
        rows = [(INSERT_REWARD, build_reward_row(reward, uid, policy_id, None if linked is None else linked.seq))]
        rows += build_sum_rows(reward, directory.prompts, directory.registry)
        if reward.reaction is not None:
            add_reaction_row(rows, reward)
        if reward.idempotency is not None:
            add_key_row(rows, reward, self._keys.rewards)
        sums = (
            build_arrival(reward, policy_id, answered),
            build_tally(reward.ts, policy_id, rewards=1, reward_sum=reward.value),
        )
        event = _RewardEvent(
            directory=directory,
            user=user,
            seq=reward.seq,
            result=AcceptedReward(reward, "new"),
            rows=rows,
            sums=sums,
            durable=True,
            log=self,
            registry=directory.registry,
            decision=decision,
            linked=linked,
        )
        return directory.submit_event(event)

    def take_back(
        self, user: CachedUser, reward: Reward, decision: Decision | None, linked: OpenDecision | None
    ) -> None:
        """Take back what was noted of a reward that is refused."""
        if decision is not None:
            decision.reward = None
            self._decisions.forget(decision)
        if linked is not None:
            user.open_decisions.give_back(linked)
        if reward.idempotency is not None:
            self.release_key(reward.idempotency)

    def release_key(self, key: tuple[str, str]) -> None:
        """Have the key of a reward looked up in the ledger from now on: it is in flight no more."""
        self._keys.rewards.pop(key, None)


class _RewardEvent(UserEvent[AcceptedReward], eq=False, kw_only=True):
    """A reward on its way.

    Attributes:
        log: whose it is.
        registry: who learns from it.
        decision: that it names, if it names one.
        linked: that it was linked to, in the legacy form.
    """

    log: EmbeddedRewards
    registry: PolicyRegistry
    decision: Decision | None
    linked: OpenDecision | None

    def apply(self) -> None:
        user, reward = self.user, self.result.reward
        if not apply_reward(self.registry, user.profile, reward):
            user.stale = True
        if reward.idempotency is not None:
            self.log.release_key(reward.idempotency)

    def take_back(self) -> None:
        self.log.take_back(self.user, self.result.reward, self.decision, self.linked)


def _build_unknown_error() -> UnknownDecisionError:
    return UnknownDecisionError("no such decision")
