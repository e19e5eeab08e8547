"""Rewards: numbered under their user's lock in groups, once for their decision and once for their key."""

import asyncio
from collections.abc import Awaitable
from functools import partial
from typing import Any

import asyncpg

from bandstand.errors import (
    IdempotencyMismatchError,
    StorageUnavailableError,
    UnknownDecisionError,
)
from bandstand.store.ids import get_nonce, parse_event_id
from bandstand.store.outcomes import Outcome, settle_with
from bandstand.store.postgres.columns import to_columns
from bandstand.store.postgres.connections import TOUCH_STRIPE, Channel
from bandstand.store.postgres.decision_log import SharedDecisions
from bandstand.store.postgres.decision_rows import REWARD_FIELDS, to_reward
from bandstand.store.postgres.decision_statements import (
    FIND_REWARDED,
    LOCK_DECIDERS,
    LOG_REWARDS,
    LOG_SUBJECTS_REWARDS,
    REGISTER_USERS,
    SETTLE_SHADOWS,
)
from bandstand.store.postgres.errors import to_storage_error
from bandstand.store.postgres.group_lane import GroupLane
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.part_log import SharedRewardParts
from bandstand.store.postgres.part_statements import PART_BY_KEY, to_part_reward
from bandstand.store.postgres.reaction_rows import add_reaction, to_reaction_columns
from bandstand.store.postgres.reward_rows import find_link, insert_reward
from bandstand.store.postgres.reward_statements import (
    FIND_OWN_REWARD,
    IS_KEY_USED,
    LOCK_USER,
    SPEND_KEY,
)
from bandstand.store.protocol import require_made_by
from bandstand.store.records import AcceptedReward, Reward, UnreadReward
from bandstand.store.tables.event_rows import LEGACY_LINK_SECONDS
from bandstand.store.tables.judgements import RewardPendingError
from bandstand.store.tables.updates import build_updates

_WORKERS = 2
_MAX_TRIES = 3
_REWARD_BY_KEY = (
    f"SELECT {REWARD_FIELDS} JOIN idempotency AS k ON k.reward_seq = r.seq WHERE k.scope = $1 AND k.key = $2"
)
_OWN_REWARD = f"SELECT {REWARD_FIELDS} WHERE r.seq = $1"


class SharedRewards:
    """The rewards of a shared ledger, as :class:`bandstand.store.protocol.RewardLog` has them."""

    def __init__(self, ledger: SharedLedger, decisions: SharedDecisions, parts: SharedRewardParts) -> None:
        self._ledger = ledger
        self._decisions = decisions
        self._parts = parts
        self.lane = GroupLane(
            ledger.writers,
            self._send,
            workers=_WORKERS,
            max_pending=ledger.options.max_pending,
            observe=lambda size, seconds: ledger.observe_group(size, seconds, synced=True),
            on_error=ledger.record_error,
            get_key=_get_key,
        )

    def reward(self, reward: Reward) -> Awaitable[AcceptedReward]:
        """Log a reward and teach it, once: one of a decision is submitted now, and there once it is awaited."""
        if reward.settings is not None or reward.part is not None:
            return self._add_part(reward)
        if reward.decision_id is None:
            return self._wait(reward, None)
        outcome: Outcome[AcceptedReward] = Outcome()
        reward.seq = self._ledger.next_seq(reward.ts)
        self.lane.add(reward, partial(self._conclude, reward, outcome))
        return outcome

    def _conclude(self, reward: Reward, outcome: Outcome[Any], row: Any, error: BaseException | None) -> None:
        """Settle at once what was logged; everything else has to be looked up in the ledger."""
        if row is not None and self._is_known(row):
            try:
                self._fold(reward, row)
            except Exception as failure:  # noqa: BLE001 (whoever waits must hear of it)
                outcome.settle(None, failure)
            else:
                outcome.settle(AcceptedReward(reward, "new"), None)
        else:
            submitted: Outcome[Any] = Outcome()
            submitted.settle(row, error)
            settle_with(self._wait(reward, submitted), outcome)

    def reward_unread(self, reward: UnreadReward) -> Awaitable[AcceptedReward | None]:
        """Log a reward and teach it, once: the statement finds the decision, in the round trip that logs it."""
        outcome: Outcome[AcceptedReward | None] = Outcome()
        ledger, decided = self._ledger, parse_event_id(reward.decision_id)
        reward.seq = ledger.next_seq(reward.ts)
        # Whose model it teaches is only known once the decision is; and where its number has to be, of an id that is
        # not ours, or has a later time than our clock: no id moves our numbers before it is found.
        if ledger.options.has_one_model or decided is None or reward.seq <= decided:
            outcome.settle(None, None)
        else:
            self.lane.add(reward, partial(self._conclude_unread, reward, outcome))
        return outcome

    def _conclude_unread(
        self,
        reward: UnreadReward,
        outcome: Outcome[AcceptedReward | None],
        row: Any,
        error: BaseException | None,
    ) -> None:
        if isinstance(error, asyncpg.UniqueViolationError):  # its key was spent at the same moment
            error = None
        if row is None:
            outcome.settle(None, error)
        elif self._ledger.policies.has_all((row,)):
            self._conclude(self._build_reward(reward, row), outcome, row, None)
        else:
            settle_with(self._accept(reward, row), outcome)

    async def _accept(self, reward: UnreadReward, row: Any) -> AcceptedReward:
        """Teach a reward that is logged, by a policy that this process does not know yet."""
        await self._ledger.prepare_events([row])
        taught = self._build_reward(reward, row)
        self._fold(taught, row)
        return AcceptedReward(taught, "new")

    def _build_reward(self, reward: UnreadReward, row: Any) -> Reward:
        return Reward(
            user_id=row["user_id"],
            policy=self._ledger.registry.get_ref(row["policy"]),
            tip_id=row["tip_id"],
            value=reward.value,
            client=reward.client,
            ts=reward.ts,
            body_hash=reward.body_hash,
            x=None,
            decision_id=reward.decision_id,
            idempotency=reward.idempotency,
            reaction=reward.reaction,
            seq=reward.seq,
        )

    def _submit(self, reward: Reward) -> "asyncio.Future[Any]":
        reward.seq = self._ledger.next_seq(reward.ts)
        return self.lane.submit(reward)

    async def _wait(self, reward: Reward, submitted: Awaitable[Any] | None) -> AcceptedReward:
        for tries in range(_MAX_TRIES):
            try:
                if submitted is None:
                    row = await self._log_legacy(reward)
                else:
                    row = await (self._submit(reward) if tries else submitted)
            except asyncpg.UniqueViolationError:  # its key was spent at the same moment
                row = None
            if row is not None:
                await self._apply(reward, row)
                return AcceptedReward(reward, "new")
            if (known := await self._find_standing(reward)) is not None:
                return known
        raise StorageUnavailableError("the reward collided with others again and again; try again")

    async def _add_part(self, reward: Reward) -> AcceptedReward:
        """Log a part of what a decision is taught, once for its key."""
        for _ in range(_MAX_TRIES):
            key = reward.idempotency
            if key is not None and (known := await self.find_reward_by_key(key)) is not None:
                return AcceptedReward(known, "key")
            try:
                return await self._parts.add(reward)
            except asyncpg.UniqueViolationError:  # its key was spent at the same moment
                continue
        raise StorageUnavailableError("the reward collided with others again and again; try again")

    async def find_reward_by_key(self, key: tuple[str, str]) -> Reward | None:
        """The reward that came with that Idempotency-Key, as durable as when it was acknowledged first."""
        ledger = self._ledger
        if not await self.is_key_used(key):  # the first question: what is spent meanwhile is nobody's contradiction
            return None
        await ledger.harden()
        if (part := await ledger.readers.fetch_one(PART_BY_KEY, *key)) is not None:
            await ledger.prepare_events([part])
            return to_part_reward(part, ledger.registry)
        row = await ledger.readers.fetch_one(_REWARD_BY_KEY, *key)
        if row is None:
            raise build_mismatch_error()
        await ledger.prepare_events([row])
        return to_reward(row, ledger.registry)

    async def is_key_used(self, key: tuple[str, str] | None) -> bool:
        """Whether the key was spent, on whatever; ``None`` never is."""
        return key is not None and bool((await self._ledger.readers.fetch_one(IS_KEY_USED, *key))[0])

    # ── by a decision ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _send(self, channel: Channel, events: list[Reward], tries: int) -> list[Any]:
        session, ledger = channel.session, self._ledger
        stood: list[Any] = []
        if tries:
            stood = await session.fetch(FIND_REWARDED, [reward.seq for reward in events])
            await session.execute(TOUCH_STRIPE, channel.stripe)
        found = {row["seq"]: row for row in stood}
        rows = [self._build_row(reward) for reward in events if reward.seq not in found]
        if rows:
            columns = to_columns(rows)
            statement = LOG_SUBJECTS_REWARDS if ledger.options.has_one_model else LOG_REWARDS
            if ledger.policies.has_shadows:
                async with session.transaction():
                    logged = await session.fetch(statement, *columns, channel.stripe)
                    decisions = [row["decision_seq"] for row in logged]
                    await session.execute(SETTLE_SHADOWS, decisions, channel.stripe)
            else:
                logged = await session.fetch(statement, *columns, channel.stripe)
                # The first to be in the shadow since this process last looked.
                if shadowed := [row["decision_seq"] for row in logged if row["is_shadowed"]]:
                    async with session.transaction():  # whoever logs these shadows now settles them, too
                        await session.execute(LOCK_DECIDERS, shadowed)
                        await session.execute(SETTLE_SHADOWS, shadowed, channel.stripe)
            found |= {row["seq"]: row for row in logged}
        return [found.get(reward.seq) for reward in events]

    def _build_row(self, reward: Reward | UnreadReward) -> tuple[Any, ...]:
        if isinstance(reward, Reward):
            policy = self._ledger.registry.get_id(reward.policy)
            weight, source, withheld = reward.weight, reward.source, None if reward.applied else reward.reason
        else:
            policy, weight, source, withheld = None, 1.0, "client", None
        decision_id = reward.decision_id or ""
        seq = parse_event_id(decision_id)
        return (
            reward.seq,
            decision_id,
            seq,
            None if seq is None else get_nonce(decision_id),
            reward.user_id,
            policy,
            reward.tip_id,
            reward.value,
            weight,
            source,
            reward.body_hash,
            reward.client,
            reward.ts,
            withheld,
            *(reward.idempotency or (None, None)),
            *to_reaction_columns(reward),
        )

    def _is_known(self, row: Any) -> bool:
        """Whether this process knows which policies were in the shadow as a reward came."""
        return self._ledger.policies.has_all(({"policy": None, "shadow_set": row["shadow_set"]},))

    async def _apply(self, reward: Reward, row: Any) -> None:
        """Fold a reward that is logged; what it takes to read it is looked up first."""
        if not self._is_known(row):
            await self._ledger.policies.load(self._ledger.readers)
        self._fold(reward, row)

    def _fold(self, reward: Reward, row: Any) -> None:
        """Fold a reward that is logged, if its user is in memory as of the event before."""
        ledger = self._ledger
        reward.decision_seq, reward.applied, reward.reason = row["decision_seq"], row["applied"], row["reason"]
        if not reward.applied:
            return
        known = None
        if reward.decision_seq is not None:
            known = self._decisions.get_features(reward.decision_id, reward.decision_seq)
        if known is not None and not row["shadow_set"]:
            reward.x = known
        else:
            raw = (reward.features, row["picked"], 0)
            (_, reward.x), *reward_shadows = build_updates(ledger.registry, reward.policy, row["shadow_set"], *raw)
            reward.shadow_updates = tuple(reward_shadows)
        ledger.users.fold_reward(reward, row["uid"], row["n"])

    async def _find_standing(self, reward: Reward) -> AcceptedReward | None:
        """The reward that stands for a request that was not logged; ``None`` if none does any more.

        Raises:
            UnknownDecisionError, WrongPolicyError, RewardPendingError, IdempotencyMismatchError: why it was not.
        """
        key = reward.idempotency
        if key is not None and (known := await self.find_reward_by_key(key)) is not None:
            return AcceptedReward(known, "new" if known.seq == reward.seq else "key")
        if reward.decision_id is None:
            return None
        decision = await self._decisions.find_receipt(reward.decision_id)
        if decision is None or decision.user_id != reward.user_id:
            raise UnknownDecisionError("no such decision")
        if decision.window is not None:  # of such a decision any reward is a part
            return await self._add_part(reward)
        require_made_by(decision, reward.policy)
        if decision.reward is not None:
            await self._ledger.harden()
            return AcceptedReward(decision.reward, "new" if decision.reward.seq == reward.seq else "decision")
        if decision.pending_turn_seq:
            raise RewardPendingError("a turn that is still being judged holds this decision")
        return None

    # ── without one ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _log_legacy(self, reward: Reward) -> Any:
        """Log a reward in the legacy form, linked to what it most likely answers; ``None`` if its key is spent."""
        reward.seq = self._ledger.next_seq(reward.ts)
        policy_id = self._ledger.registry.get_id(reward.policy)

        async def log(channel: Channel, tries: int) -> Any:
            session = channel.session
            if tries and (stood := await session.fetchrow(FIND_OWN_REWARD, reward.seq)) is not None:
                await session.execute(TOUCH_STRIPE, channel.stripe)
                return stood
            await session.execute(REGISTER_USERS, [reward.user_id])
            user = await session.fetchrow(LOCK_USER, reward.user_id)
            key = reward.idempotency
            if key is not None and await session.fetchval(IS_KEY_USED, *key):
                return None
            after = reward.ts - LEGACY_LINK_SECONDS
            linked, decided = await find_link(channel, user["uid"], after, reward.tip_id, reward.policy.name)
            logged = await insert_reward(
                channel,
                reward,
                uid=user["uid"],
                n=user["version"] + 1,
                policy_id=policy_id,
                linked=linked,
                decided=decided,
            )
            await add_reaction(channel, reward, user["uid"])
            if key is not None:
                await session.execute(SPEND_KEY, *key, reward.body_hash, reward.seq, reward.ts)
            if linked is not None:
                await session.execute(SETTLE_SHADOWS, [linked], channel.stripe)
            return logged

        try:
            return await self._ledger.writers.transact(log)
        except asyncpg.UniqueViolationError:
            raise
        except asyncpg.IntegrityConstraintViolationError as error:
            raise to_storage_error(error) from error


def _get_key(reward: Reward | UnreadReward) -> str:
    """Whose lock a reward takes; where only its decision knows, it must not wait for those of others."""
    return reward.user_id or reward.decision_id or ""


def build_mismatch_error() -> IdempotencyMismatchError:
    """The error of a key that was spent on something else."""
    return IdempotencyMismatchError("this Idempotency-Key came with another body before")
