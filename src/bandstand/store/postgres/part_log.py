"""Rewards over time: parts of a decision's reward, and decisions that were held back.

What a decision has taught is always the aggregate of the parts that count so far. Each change is a transaction under
its user's lock, and looks there at how things stand: what other processes do to the decision comes before or after.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from bandstand.bandit.reward_settings import CONTRACT, RewardSettings
from bandstand.errors import UnknownDecisionError
from bandstand.store.postgres.connections import TOUCH_STRIPE, Channel
from bandstand.store.postgres.decision_log import SharedDecisions
from bandstand.store.postgres.decision_statements import SETTLE_SHADOWS
from bandstand.store.postgres.judgement_rows import ADD_CLAIM
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.part_statements import (
    ACTIVATE_WINDOW,
    ADD_PART,
    COUNT_METRICS,
    IS_PART,
    LOAD_METRICS,
    RELEASE_PARTS,
    SETTLE_WINDOW,
)
from bandstand.store.postgres.reaction_rows import add_reaction
from bandstand.store.postgres.revocation_log import SharedRevocations, take_back
from bandstand.store.postgres.reward_rows import insert_reward
from bandstand.store.postgres.reward_statements import LOCK_USER, SPEND_KEY
from bandstand.store.protocol import require_made_by
from bandstand.store.records import AcceptedReward, Decision, Reward
from bandstand.store.tables import windows
from bandstand.store.tables.judgements import RewardPendingError
from bandstand.store.tables.revocations import REVISION, RevocableReward
from bandstand.store.tables.updates import build_updates
from bandstand.store.tables.windows import Activation, MetricSums

T = TypeVar("T")


@dataclass(slots=True)
class LockedDecision:
    """A decision under the lock of its user.

    Attributes:
        user: the locked row.
        decision: as it stands, in full.
        row: the decision's own.
    """

    channel: Channel
    user: Any
    decision: Decision
    row: Any

    @property
    def is_forgotten(self) -> bool:
        """Whether its user was reset after it."""
        return bool(self.row["version"] < self.user["reset_version"])

    @property
    def reset_seq(self) -> int:
        """The event number of the newest reset, to find whether the decision is older."""
        return self.decision.seq if self.is_forgotten else 0


class SharedRewardParts:
    """Rewards over time in a shared ledger, as :class:`bandstand.store.protocol.RewardLog` has them."""

    def __init__(self, ledger: SharedLedger, decisions: SharedDecisions, revocations: SharedRevocations) -> None:
        self._ledger = ledger
        self._decisions = decisions
        self._revocations = revocations

    # ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def add(self, reward: Reward) -> AcceptedReward:
        """Log a part of a decision's reward, and teach the aggregate of all parts.

        Raises:
            UnknownDecisionError: the decision is gone, or another user's.
            WrongPolicyError: another policy made it.
            RewardPendingError: a turn holds it.
            UniqueViolationError: its key was spent at the same moment.
        """
        given, accepted = (reward.value, reward.part), list[AcceptedReward]()

        async def add(locked: LockedDecision, tries: int) -> AcceptedReward:
            if tries and accepted and await locked.channel.session.fetchval(IS_PART, reward.seq):
                return accepted[-1]  # it is done, and its answer was lost
            reward.value, reward.part = given
            reward.seq = self._ledger.next_seq(reward.ts)  # under the lock: parts are in order of their numbers
            accepted.append(await self._add(locked, reward))
            return accepted[-1]

        try:
            return await self.change(reward.decision_id or "", add, user_id=reward.user_id)
        except BaseException:
            reward.value, reward.part = given
            raise

    async def _add(self, locked: LockedDecision, reward: Reward) -> AcceptedReward:
        channel, decision, key = locked.channel, locked.decision, reward.idempotency
        session, standing = channel.session, decision.reward
        require_made_by(decision, reward.policy)
        if decision.pending_turn_seq:
            raise RewardPendingError("a turn that is still being judged holds this decision")
        if standing is not None and windows.is_final(standing, reward.settings):
            await session.execute(TOUCH_STRIPE, channel.stripe)
            return AcceptedReward(standing, "decision")
        taught = await self.find_taught(locked)
        is_revisable = taught is not None
        reason = windows.find_reason(decision, reward.ts, reset_seq=locked.reset_seq, is_revisable=is_revisable)
        teaches = windows.take_part(decision, reward, reason) and (taught is None or taught.value != reward.value)
        part = windows.build_part_row(reward, decision, self._ledger.registry.get_id(reward.policy))
        await session.execute(ADD_PART, *part, decision.uid)
        await add_reaction(channel, reward, decision.uid)
        if part.metrics is not None:
            await session.execute(COUNT_METRICS, [part.seq], channel.stripe)
        if key is not None:
            await session.execute(SPEND_KEY, *key, reward.body_hash, reward.seq, reward.ts)
        reward.decision_seq = decision.seq
        if teaches:
            await self.teach(locked, reward, instead_of=taught)
            if taught is None and decision.window is not None:
                await session.execute(SETTLE_WINDOW, decision.seq)
        return AcceptedReward(reward, "new")

    async def find_taught(self, locked: LockedDecision) -> RevocableReward | None:
        """What the decision has taught, if its user's sums hold it."""
        standing = locked.decision.reward
        if standing is None:
            return None
        return next(iter(await self._revocations.find_revocable(locked.channel, (standing.seq,))), None)

    # ── decisions that were held back ─────────────────────────────────────────────────────────────────────────────

    async def activate(
        self, decision_id: str, settings: RewardSettings | None, client: str, *, teaches: bool
    ) -> Activation:
        """Let a decision that was held back count as shown, and teach what was kept for it."""
        ts, done = self._ledger.clock(), list[Activation]()

        async def activate(locked: LockedDecision, tries: int) -> Activation:
            window = locked.decision.window
            if window is None or not window.held:
                await locked.channel.session.execute(TOUCH_STRIPE, locked.channel.stripe)
                return done[-1] if tries and done else Activation(activated=True)
            if window.has_ended(ts):
                return Activation(activated=False, reason="window_ended")
            done.append(await self._activate(locked, settings, client, ts, teaches=teaches))
            return done[-1]

        return await self.change(decision_id, activate)

    async def _activate(
        self, locked: LockedDecision, settings: RewardSettings | None, client: str, ts: float, *, teaches: bool
    ) -> Activation:
        decision, window, session = locked.decision, locked.decision.window, locked.channel.session
        assert window is not None  # noqa: S101 (it was held back)
        has_parts = decision.parts.count > 0 and not locked.is_forgotten
        taught = (settings or CONTRACT).compute_taught(decision.parts) if has_parts else None
        awaits = not has_parts and not locked.is_forgotten and window.due is not None and window.fallback is not None
        await session.execute(ACTIVATE_WINDOW, decision.seq, awaits)
        released = [row["seq"] for row in await session.fetch(RELEASE_PARTS, decision.seq, taught)]
        await session.execute(COUNT_METRICS, released, locked.channel.stripe)
        if not has_parts:
            return Activation(activated=True, reason=windows.RESET if locked.is_forgotten else None)
        reward = windows.build_kept(decision, taught or 0.0, client, ts, teaches=teaches)
        reward.seq = self._ledger.next_seq(ts)
        await self.teach(locked, reward)
        return Activation(activated=True, reward=reward)

    # ── what they share ───────────────────────────────────────────────────────────────────────────────────────────

    async def load_metric_sums(self) -> list[MetricSums]:
        """Sums over the metrics of the parts that count, by policy and candidate."""
        return [MetricSums(*row) for row in await self._ledger.readers.fetch(LOAD_METRICS)]

    async def change(
        self, decision_id: str, change: Callable[[LockedDecision, int], Awaitable[T]], *, user_id: str | None = None
    ) -> T:
        """Change a decision in a transaction of its user's, and catch up.

        Raises:
            UnknownDecisionError: there is no such decision, or no longer, or it is another user's.
        """
        found = await self._decisions.find_receipt(decision_id)  # its policy is known from here on
        if found is None or user_id not in {None, found.user_id}:
            raise UnknownDecisionError("no such decision")

        async def work(channel: Channel, tries: int) -> T:
            user = await channel.session.fetchrow(LOCK_USER, found.user_id)
            read = None if user is None else await self._decisions.read(channel, decision_id)
            if read is None or read.row["uid"] != user["uid"]:
                raise UnknownDecisionError("no such decision")
            decision = self._decisions.build(read)
            for seq in read.list_seqs():
                self._ledger.observe_seq(seq)
            return await change(LockedDecision(channel, user, decision, read.row), tries)

        done = await self._ledger.writers.transact(work)
        cached = self._ledger.users.get(found.user_id)
        if cached is not None and cached.uid:
            await self._ledger.users.catch_up(cached)
        return done

    async def teach(
        self,
        locked: LockedDecision,
        reward: Reward,
        *,
        instead_of: RevocableReward | None = None,
        client: str | None = None,
    ) -> None:
        """Insert what the decision teaches now: the first names it, a later one stands in the place of that before."""
        ledger, channel, decision = self._ledger, locked.channel, locked.decision
        n = locked.user["version"] + 1
        if instead_of is not None:
            seqs = [ledger.next_seq(reward.ts)]
            await take_back(
                channel, [instead_of.seq], seqs, cause=REVISION, client=client or reward.client, ts=reward.ts
            )
            n += 1
        else:
            await channel.session.execute(ADD_CLAIM, decision.uid, decision.seq, reward.seq)
        reward.decision_seq = decision.seq if instead_of is None else None
        row = await insert_reward(
            channel,
            reward,
            uid=decision.uid,
            n=n,
            policy_id=ledger.registry.get_id(reward.policy),
            linked=None if instead_of is None else decision.seq,
            decided=decision.ts,
            picked=locked.row["picked"],
        )
        reward.decision_seq = decision.seq
        await channel.session.execute(SETTLE_SHADOWS, [decision.seq], channel.stripe)
        await ledger.prepare_events([{"policy": None, "shadow_set": row["shadow_set"]}])
        raw = (None, locked.row["picked"], 0)
        (_, reward.x), *also = build_updates(ledger.registry, reward.policy, row["shadow_set"], *raw)
        reward.shadow_updates = tuple(also)
