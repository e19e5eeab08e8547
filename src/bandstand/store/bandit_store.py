"""The embedded store: decisions, rewards and what else happens, as events of a state directory.

Longer than most: what may happen between two awaits to a user, a decision or a key in memory is one class's business,
and here it stands in one place. SQL and rows are the business of the modules named after the events.
"""

import asyncio
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bandstand.bandit.catalogue import Catalogue
from bandstand.errors import UnknownDecisionError
from bandstand.store.learners import erasure
from bandstand.store.learners.user_cache import Warm
from bandstand.store.protocol import require_made_by
from bandstand.store.records import (
    LAST_SEQ,
    Decision,
    Erasure,
    Lessons,
    PolicyRef,
    PolicyTotals,
    Reward,
    Rewarded,
    UserPage,
    seq_at,
)
from bandstand.store.sqlite.schema import (
    DECISION,
    DECISION_ID,
    ENROLMENT,
    IDEMPOTENCY,
    LEGACY_LINK_SECONDS,
    LEGACY_REWARD,
    LINEAGE,
    MARK,
    REWARD,
    Row,
    decision_row,
    legacy_reward_row,
    reward_row,
)
from bandstand.store.sqlite.writer import CommitObserver, Operation
from bandstand.store.state_directory import CollidedError, StateDirectory, StoreOptions
from bandstand.store.tables import decisions, generations, loop_health, promotions, revocations, shadows, undo, updates
from bandstand.store.tables.generations import GENERATION, PROMPT, LoggedGeneration, PromptIds, PromptTotals
from bandstand.store.tables.judgements import RewardPendingError
from bandstand.store.tables.loop_health import LoopSums
from bandstand.store.tables.promotions import Begun, Promotion
from bandstand.store.tables.revocations import Counted
from bandstand.store.tables.shadows import SHADOW, Shadow, ShadowSums
from bandstand.store.tables.undo import Selected, Selection, Undone

_Future = asyncio.Future[object]

_RECENT_DECISIONS = 50_000
"""Decisions kept in memory for the reward that is likely to come; others are read from the ledger."""
_SUBTRACTED = 1_000
"""Rewards taken back at once that are subtracted in memory; for more, their users are read from the ledger again."""
_TRIES = 3
"""How often what is to be taken back is looked up anew because another took some of it meanwhile."""
_LONGEST_GENERATION = 3600.0
"""Seconds; `GENERATE_DEADLINE_S` allows no more."""


class TakingBack(NamedTuple):
    """Rows that take rewards back, and what is done when they are committed or refused."""

    rows: list[tuple[str, Row]]
    committed: Callable[[], None]
    refused: Callable[[], None]


class EmbeddedStore(StateDirectory):
    """Keeps the events of one deployment under ``state_dir``; see :class:`bandstand.store.protocol.Store`.

    Args:
        state_dir: where everything is kept; made if absent.
        catalogue: the configured policies and schemas.
        clock: seconds since the epoch.
        observe: told of each commit.
    """

    def __init__(
        self,
        state_dir: Path,
        catalogue: Catalogue,
        *,
        options: StoreOptions | None = None,
        clock: Callable[[], float] = time.time,
        observe: CommitObserver | None = None,
    ) -> None:
        super().__init__(state_dir, catalogue, options=options, clock=clock, observe=observe)
        self._prompts = PromptIds()
        self._erased: dict[bytes, int] = {}  # by tombstone: who was erased while a generation may have been under way
        self._recent: OrderedDict[str, Decision] = OrderedDict()
        self._keyed: dict[tuple[str, str], Reward] = {}  # by Idempotency-Key, while in flight
        self._revoking: set[int] = set()  # event numbers of rewards that are being taken back

    def _prepare(self, connection: sqlite3.Connection) -> None:
        super()._prepare(connection)
        self._prompts.load(connection)

    # ── decisions ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def decide(self, decision: Decision) -> Decision:
        """Log a decision and count it; see :class:`bandstand.store.protocol.Store`.

        The user must be warm, and no await may lie between :meth:`next_seq` and this call.
        """
        try:
            if decision.own_id and (earlier := self._recent.get(decision.decision_id)) is not None:
                await self._settled(earlier.seq)
                return earlier
            future = self._hand_over_decision(decision)
            await (asyncio.shield(future) if decision.own_id else future)  # others may wait for it too
        except CollidedError:
            standing = await self.receipt(decision.decision_id)  # memory had forgotten it, the ledger had not
            if standing is None:
                raise
            return standing
        return decision

    def _hand_over_decision(self, decision: Decision) -> _Future:
        user = self._users[decision.user_id]
        decision.uid = self._uid(user)
        policy_id = self._registry.id(decision.policy)
        rows: list[tuple[str, Row]] = [(DECISION, decision_row(decision, policy_id))]
        if decision.own_id:
            rows.append((DECISION_ID, (decision.decision_id, decision.seq)))
        if user.has_tips:
            rows.append((LINEAGE, (decision.seq, decision.uid, decision.tip_id)))
        if decision.experiment and user.enrolled != (enrolment := (decision.experiment, decision.policy.name)):
            rows.append((ENROLMENT, (decision.uid, *enrolment)))
            user.enrolled = enrolment
        tally = (int(decision.ts // 3600), policy_id, 1, int(decision.exploring), 0, 0.0)
        part, amounts = loop_health.drawn(decision)
        sums = ((loop_health.DRAWN, (loop_health.day_of(decision.seq), policy_id, part), amounts),)

        def committed() -> None:
            user.profile.decided(decision.seq, decision.policy.key, decision.ts, exploring=decision.exploring)
            decision.body, decision.numbers = b"", None  # the ledger has them; a reward needs only x

        def refused() -> None:
            self._recent.pop(decision.decision_id, None)
            user.enrolled = None

        future = self._hand_over(user, decision.seq, rows, committed, refused, durable=False, tally=tally, sums=sums)
        self._remember(decision)
        return future

    async def decision(self, decision_id: str) -> Decision | None:
        """The decision of that id, for its reward."""
        decision = self._recent.get(decision_id)
        if decision is None:
            found = await self._read(decisions.find_decision, self._registry, decision_id)
            if found is None:
                return None
            decision = self._recent.get(decision_id)  # somebody else may have been quicker
            if decision is None:
                found.x = updates.picked_features(self._registry, found.policy, found.body, found.pick)
                found.body, found.numbers = b"", None
                decision = found
                self._remember(decision)
        await self._settled(decision.seq)
        if decision.also is None and self._registry.shadows():
            decision.also = await self._read(updates.of_decision, self._registry, decision.seq)
        return decision

    async def receipt(self, decision_id: str) -> Decision | None:
        """The decision of that id in full, as logged."""
        if (recent := self._recent.get(decision_id)) is not None:
            await self._settled(recent.seq)
        return await self._read(decisions.find_decision, self._registry, decision_id)

    async def history(self, user_id: str, limit: int) -> list[Decision]:
        """The user's newest decisions after the last reset, oldest first."""
        return await self._read(decisions.history, self._registry, user_id, limit)

    def _remember(self, decision: Decision) -> None:
        self._recent[decision.decision_id] = decision
        while len(self._recent) > _RECENT_DECISIONS:
            decision_id, oldest = self._recent.popitem(last=False)
            reward_seq = 0 if oldest.reward is None else oldest.reward.seq
            in_flight = not self._flying.keys().isdisjoint((oldest.seq, reward_seq, oldest.held))
            if in_flight:
                self._recent[decision_id] = oldest
                break

    # ── rewards ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def reward(self, reward: Reward) -> Rewarded:
        """Log a reward and teach it, once; see :class:`bandstand.store.protocol.Store`."""
        try:
            return await self._reward(reward)
        except CollidedError:  # its key or its decision was spent between the look-up and the commit
            return await self._reward(reward)

    async def _reward(self, reward: Reward) -> Rewarded:
        if reward.idempotency is not None and (known := await self._reward_by_key(reward.idempotency)) is not None:
            return Rewarded(known, "key")
        while True:
            user = await self._users.of(reward.user_id)
            decision = None if reward.decision_id is None else await self.decision(reward.decision_id)
            if self._users.holds(user) and (decision is None or self._recent.get(decision.decision_id) is decision):
                break  # nothing moved while we waited: from here to the hand-over there is no await
        if reward.idempotency is not None and (flying := self._keyed.get(reward.idempotency)) is not None:
            await self._settled(flying.seq)
            return Rewarded(flying, "key")
        if reward.decision_id is not None:
            if decision is None or decision.uid != user.uid or self._past(decision):
                message = "no such decision"
                raise UnknownDecisionError(message)
            require_made_by(decision, reward.policy)
            if decision.reward is not None:
                standing = decision.reward
                await self._settled(standing.seq)
                return Rewarded(standing, "decision")
            if decision.held:
                raise RewardPendingError("a turn that is still being judged holds this decision")
            reward.decision_seq = decision.seq
            reward.x = decision.x
            if decision.seq <= user.reset_seq:
                reward.applied, reward.reason = False, "reset"
        await asyncio.shield(self._hand_over_reward(user, reward, decision))  # others may wait for it too
        return Rewarded(reward, "new")

    async def reward_by_key(self, key: tuple[str, str]) -> Reward | None:
        """The reward that came with that Idempotency-Key; see :class:`bandstand.store.protocol.Store`."""
        return await self._reward_by_key(key)

    def _past(self, decision: Decision) -> bool:
        """Whether retention takes the decision, or has taken it, while memory still knows it."""
        return decision.seq <= self._horizon and decision.reward is None

    def _hand_over_reward(self, user: Warm, reward: Reward, decision: Decision | None) -> _Future:
        reward.seq = self._sequence.next(reward.ts)
        uid = self._uid(user)
        policy_id = self._registry.id(reward.policy)
        reward.also = self._beside(reward.policy, reward.features, decision)
        if decision is not None:
            rows: list[tuple[str, Row]] = [(REWARD, reward_row(reward, uid, policy_id))]
            decision.reward = reward
        else:
            linkable_after = seq_at(reward.ts - LEGACY_LINK_SECONDS)
            rows = [(LEGACY_REWARD, legacy_reward_row(reward, uid, policy_id, linkable_after))]
        key = reward.idempotency
        if key is not None:
            rows.append((IDEMPOTENCY, (*key, reward.body_hash, reward.seq, reward.ts)))
            self._keyed[key] = reward

        def committed() -> None:
            self._learn(user, reward)
            if key is not None:
                self._keyed.pop(key, None)

        def refused() -> None:
            if decision is not None:
                decision.reward = None
                self._recent.pop(decision.decision_id, None)  # if it collided, memory was wrong about it
            if key is not None:
                self._keyed.pop(key, None)

        tally = (int(reward.ts // 3600), policy_id, 0, 0, 1, reward.value)
        return self._hand_over(user, reward.seq, rows, committed, refused, durable=True, tally=tally)

    def _learn(self, user: Warm, reward: Reward) -> None:
        """Fold a committed reward in, if it teaches."""
        if reward.applied and reward.x is not None:
            seq, ts, value, weight = reward.seq, reward.ts, reward.value, reward.weight
            for ref, x in ((reward.policy, reward.x), *reward.also):
                user.profile.rewarded(seq, ref.key, ts, x, value, weight, ref.half_life)

    def _beside(self, policy: PolicyRef, features: bytes | None, decision: Decision | None) -> Lessons:
        """The policies in the shadow that a reward of ``policy``, new now, teaches too."""
        if features is not None:
            return updates.beside(self._registry, policy, LAST_SEQ, features, None, None)
        return () if decision is None else decision.also or ()

    async def _reward_by_key(self, key: tuple[str, str]) -> Reward | None:
        flying = self._keyed.get(key)
        if flying is None:
            return await self._read(decisions.reward_by_key, self._registry, *key)
        await self._settled(flying.seq)
        return flying

    async def selected(self, selection: Selection) -> Selected:
        """The rewards that an operator means, and what of them can be taken back."""
        return await self._read(undo.selected, self._registry, selection)

    async def revoked_since(self, seq: int) -> bool:
        """Whether anything was taken back after the event ``seq``."""
        return await self._read(undo.any_since, seq)

    async def revoke(
        self, rewards: Collection[int], *, cause: str, client: str, selection: Selection | None = None
    ) -> list[Counted]:
        """Take rewards back out of sums and counters; see :class:`bandstand.store.protocol.Store`."""
        for _ in range(_TRIES - 1):
            try:
                return await self._revoke(rewards, cause=cause, client=client, selection=selection)
            except CollidedError:
                pass
        return await self._revoke(rewards, cause=cause, client=client, selection=selection)

    async def undone(self, before: int, limit: int) -> list[Undone]:
        """Records of undos, the newest first, from before the event ``before``."""
        return await self._read(undo.done, before, limit)

    async def _revoke(
        self, rewards: Collection[int], *, cause: str, client: str, selection: Selection | None
    ) -> list[Counted]:
        found = await self._read(revocations.counted, self._registry, rewards)
        users: dict[str, Warm] = {}
        try:
            for each in found:
                if each.user_id not in users:
                    user = users[each.user_id] = await self._users.of(each.user_id)
                    user.pending += 1  # it must still be here when all the others are
            counted = [each for each in found if self._holds(users[each.user_id], each)]
            if counted:
                ts = self._clock()
                taking_back = self._taking_back(counted, cause=cause, client=client, ts=ts)
                user, seq = users[counted[0].user_id], self._sequence.next(ts)
                if selection is not None:
                    taking_back.rows.append((MARK, undo.record(seq, selection, counted, client=client, ts=ts)))
                await asyncio.shield(self._hand_over(user, seq, *taking_back, durable=True))
        finally:
            for user in users.values():
                user.pending -= 1
                self._users.let_go(user)
        return counted

    def _holds(self, user: Warm, reward: Counted) -> bool:
        """Whether a reward found in the ledger is still in the sums, whatever is in flight."""
        gone = reward.seq <= max(user.reset_seq, self._horizon) or reward.seq in self._revoking
        return not gone and user.uid == reward.uid and self._users.holds(user)

    def _taking_back(self, counted: list[Counted], *, cause: str, client: str, ts: float) -> "TakingBack":
        """The rows that take rewards of users in memory back, and what is done when they are committed or refused."""
        numbered = [(self._sequence.next(ts), each) for each in counted]
        users = [self._users[each.user_id] for each in counted]
        rows = [row for seq, each in numbered for row in each.rows(seq, cause=cause, client=client, ts=ts)]
        self._revoking.update(each.seq for each in counted)

        def settled() -> None:
            self._revoking.difference_update(each.seq for each in counted)

        def committed() -> None:
            settled()
            if len(counted) > _SUBTRACTED:
                for user in users:
                    # Whoever is not idle but for this is subtracted from all the same, until they are.
                    user.stale = True
                    if user.pending == 1:
                        self._users.drop(user)
            for (seq, each), user in zip(numbered, users, strict=True):
                if self._users.holds(user):
                    exact = each.take_back(seq, user.profile)
                    user.stale = user.stale or not exact
                    user.changed = True

        return TakingBack(rows, committed, settled)

    # ── generations ───────────────────────────────────────────────────────────────────────────────────────────────

    async def generated(self, generation: LoggedGeneration) -> bool:
        """Log a generation; see :class:`bandstand.store.protocol.Store`."""
        user = await self._users.of(generation.user_id)
        if self._erased and self._erased.get(self._tombstone(generation.user_id), 0) > generation.seq:
            return False
        prompt = self._prompts.row(generation.prompt)
        row = generations.generation_row(generation, self._uid(user), prompt[0])
        rows: list[tuple[str, Row]] = [(PROMPT, prompt), (GENERATION, row)]

        def committed() -> None:
            user.has_tips = True

        await self._hand_over(user, generation.seq, rows, committed, _nothing, durable=False)
        return True

    async def prompt_totals(self) -> list[PromptTotals]:
        """What each prompt came to, in order of first use."""
        return await self._read(generations.prompt_totals)

    # ── operators ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def reset(self, user_id: str, client: str) -> None:
        """Forget what every policy learned about the user. Idempotent."""
        user = await self._users.of(user_id)
        if not user.registered and not user.pending:
            return
        ts = self._clock()
        seq = user.reset_seq = self._sequence.next(ts)
        row = (seq, self._uid(user), "reset", ts, client, None)

        def committed() -> None:
            user.profile.reset(seq)
            user.reset_seq = max(user.reset_seq, seq)

        def refused() -> None:
            if user.reset_seq == seq:
                user.reset_seq = user.profile.reset_seq

        await self._hand_over(user, seq, [(MARK, row)], committed, refused, durable=True)

    async def erase(self, user_id: str, client: str) -> Erasure:
        """Delete everything about the user and leave a tombstone. Idempotent."""
        user = await self._users.of(user_id)
        with self._users.leaving(user):  # from here on; before the first await
            for decision_id in [key for key, decision in self._recent.items() if decision.user_id == user_id]:
                del self._recent[decision_id]
            # Files first: a crash in between leaves a user whose document is made again from the ledger, not a document
            # of nobody.
            documents = await self._users.delete_document(user_id)
            ts = self._clock()
            seq, digest = self._sequence.next(ts), self._tombstone(user_id)
            erase = partial(erasure.erase, uid=user.uid, tombstone=digest, seq=seq, ts=ts, client=client)
            counts = await self._writer.call(erase)
            under_way = seq_at(ts - _LONGEST_GENERATION)
            self._erased = {key: at for key, at in self._erased.items() if at > under_way} | {digest: seq}
            log_emptied = await self._log.empty()
        return replace(counts, documents=documents, log_emptied=log_emptied)

    def _tombstone(self, user_id: str) -> bytes:
        return erasure.tombstone_hash(self.secret, user_id)

    async def users(self, prefix: str, after: int, limit: int) -> UserPage:
        """Known users whose id starts with ``prefix``, in order of first sight, from the cursor ``after``."""
        return await self._read(decisions.users, prefix, after, limit)

    async def user_count(self) -> int:
        """How many users the ledger knows."""
        return await self._read(decisions.user_count)

    async def totals(self) -> dict[str, PolicyTotals]:
        """Deployment-wide counts by policy."""
        return await self._read(decisions.totals)

    async def loop(self, days: int) -> LoopSums:
        """Sums that tell whether the learning loop is sound, by policy, and by day for the newest ``days``."""
        return await self._read(loop_health.read, loop_health.day_of(self._sequence.last) - days + 1)

    # ── promotions and experiments ────────────────────────────────────────────────────────────────────────────────

    async def promote(self, promotion: Promotion) -> None:
        """Write down a change of the active policy."""
        seq = self._sequence.next(promotion.ts)
        await self._writer.call(partial(promotions.log, seq=seq, promotion=promotion))

    async def promotions(self) -> list[Promotion]:
        """Every change of the active policy, the oldest first."""
        return await self._read(promotions.read)

    async def experiment(self, definition: str | None) -> Begun | None:
        """Say which experiment runs from now on, if any; see :class:`bandstand.store.protocol.Store`."""
        begun = await self._read(promotions.under_way, definition)
        if begun is None and (definition is not None or await self._read(promotions.is_any_under_way)):
            ts = self._clock()
            seq = self._sequence.next(ts)
            await self._writer.call(partial(promotions.begin, seq=seq, ts=ts, definition=definition))
            begun = None if definition is None else Begun(seq, ts)
        return begun

    async def enrolled(self, experiment: int) -> Mapping[str, int]:
        """How many users each arm of an experiment has decided for."""
        return await self._read(promotions.enrolled, experiment)

    # ── shadows ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def shadow(self, policies: Collection[PolicyRef]) -> None:
        """Say which policies are in the shadow from now on; see :class:`bandstand.store.protocol.Store`."""
        if list(policies) != self._registry.shadows():
            ts = self._clock()
            seq = self._sequence.next(ts)
            policy_ids = [self._registry.id(ref) for ref in policies]
            await self._writer.call(partial(shadows.begin, seq=seq, ts=ts, policy_ids=policy_ids))
            self._registry.shadow(seq, policies)

    def shadowed(self, decision: Decision, made: Collection[Shadow]) -> None:
        """Log what policies in the shadow would have done; see :class:`bandstand.store.protocol.Store`."""
        rows = [(SHADOW, each.row(decision.seq, self._registry.id(each.policy))) for each in made]

        def done(_: object, error: BaseException | None) -> None:
            if error is not None:
                self._failed(str(error))

        self._writer.submit(Operation(rows, done, durable=False))

    async def shadows_of(self, decision: Decision) -> list[Shadow]:
        """What policies in the shadow would have done with a decision."""
        return await self._read(shadows.of_decision, self._registry.refs(), decision.seq)

    async def shadow_sums(self) -> Mapping[PolicyRef, ShadowSums]:
        """What came of it, of every definition of a policy that was ever in the shadow."""
        return await self._read(shadows.sums, self._registry.refs())


def _nothing() -> None:
    """What becomes of a user whose generation was refused."""
