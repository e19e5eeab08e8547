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
from bandstand.store.learners.user_cache import CachedUser
from bandstand.store.protocol import require_made_by
from bandstand.store.records import (
    LAST_SEQ,
    AcceptedReward,
    Decision,
    Erasure,
    PolicyRef,
    PolicyTotals,
    Reward,
    Updates,
    UserPage,
    first_seq_at,
)
from bandstand.store.sqlite.schema import (
    INSERT_DECISION,
    INSERT_DECISION_ID,
    INSERT_ENROLMENT,
    INSERT_IDEMPOTENCY_KEY,
    INSERT_LEGACY_REWARD,
    INSERT_LINEAGE,
    INSERT_MARK,
    INSERT_REWARD,
    LEGACY_LINK_SECONDS,
    Row,
    build_decision_row,
    build_legacy_reward_row,
    build_reward_row,
)
from bandstand.store.sqlite.writer import CommitObserver, Operation
from bandstand.store.state_directory import EventCollisionError, StateDirectory, StoreOptions
from bandstand.store.tables import decisions, generations, loop_health, promotions, revocations, shadows, undo, updates
from bandstand.store.tables.generations import (
    INSERT_GENERATION,
    INSERT_PROMPT,
    LoggedGeneration,
    PromptIds,
    PromptTotals,
)
from bandstand.store.tables.judgements import RewardPendingError
from bandstand.store.tables.loop_health import LoopSums
from bandstand.store.tables.promotions import ExperimentStart, Promotion
from bandstand.store.tables.revocations import RevocableReward
from bandstand.store.tables.shadows import INSERT_SHADOW, Shadow, ShadowSums
from bandstand.store.tables.undo import SelectedRewards, Selection, UndoRecord

_Future = asyncio.Future[object]

_MAX_RECENT_DECISIONS = 50_000
"""Decisions kept in memory for the reward that is likely to come; others are read from the ledger."""
_MAX_SUBTRACTED = 1_000
"""Rewards taken back at once that are subtracted in memory; for more, their users are read from the ledger again."""
_MAX_TRIES = 3
"""How often what is to be taken back is looked up anew because another took some of it meanwhile."""
_MAX_GENERATION_S = 3600.0
"""Seconds; `GENERATE_DEADLINE_S` allows no more."""


class PendingRevocation(NamedTuple):
    """Rows that take rewards back, and what is done when they are committed or refused."""

    rows: list[tuple[str, Row]]
    on_committed: Callable[[], None]
    on_rejected: Callable[[], None]


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
        self._rewards_by_key: dict[tuple[str, str], Reward] = {}  # by Idempotency-Key, while in flight
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
                await self._wait_committed(earlier.seq)
                return earlier
            future = self._submit_decision(decision)
            await (asyncio.shield(future) if decision.own_id else future)  # others may wait for it too
        except EventCollisionError:
            existing = await self.find_receipt(decision.decision_id)  # memory had forgotten it, the ledger had not
            if existing is None:
                raise
            return existing
        return decision

    def _submit_decision(self, decision: Decision) -> _Future:
        user = self._users[decision.user_id]
        decision.uid = self._ensure_uid(user)
        policy_id = self._registry.get_id(decision.policy)
        rows: list[tuple[str, Row]] = [(INSERT_DECISION, build_decision_row(decision, policy_id))]
        if decision.own_id:
            rows.append((INSERT_DECISION_ID, (decision.decision_id, decision.seq)))
        if user.has_tips:
            rows.append((INSERT_LINEAGE, (decision.seq, decision.uid, decision.tip_id)))
        if decision.experiment and user.enrolled != (enrolment := (decision.experiment, decision.policy.name)):
            rows.append((INSERT_ENROLMENT, (decision.uid, *enrolment)))
            user.enrolled = enrolment
        tally = (int(decision.ts // 3600), policy_id, 1, int(decision.exploring), 0, 0.0)
        part, amounts = loop_health.compute_draw_sums(decision)
        sums = ((loop_health.UPSERT_DRAWS, (loop_health.to_day(decision.seq), policy_id, part), amounts),)

        def on_committed() -> None:
            user.profile.apply_decision(decision.seq, decision.policy.key, decision.ts, exploring=decision.exploring)
            decision.body, decision.numbers = b"", None  # the ledger has them; a reward needs only x

        def on_rejected() -> None:
            self._recent.pop(decision.decision_id, None)
            user.enrolled = None

        future = self._submit(
            user, decision.seq, rows, on_committed, on_rejected, durable=False, tally=tally, sums=sums
        )
        self._cache_decision(decision)
        return future

    async def find_decision(self, decision_id: str) -> Decision | None:
        """The decision of that id, for its reward."""
        decision = self._recent.get(decision_id)
        if decision is None:
            found = await self._read(decisions.find_decision, self._registry, decision_id)
            if found is None:
                return None
            decision = self._recent.get(decision_id)  # somebody else may have been quicker
            if decision is None:
                found.x = updates.encode_picked_features(self._registry, found.policy, found.body, found.pick)
                found.body, found.numbers = b"", None
                decision = found
                self._cache_decision(decision)
        await self._wait_committed(decision.seq)
        if decision.shadow_updates is None and self._registry.get_shadows():
            decision.shadow_updates = await self._read(updates.load_shadow_updates, self._registry, decision.seq)
        return decision

    async def find_receipt(self, decision_id: str) -> Decision | None:
        """The decision of that id in full, as logged."""
        if (recent := self._recent.get(decision_id)) is not None:
            await self._wait_committed(recent.seq)
        return await self._read(decisions.find_decision, self._registry, decision_id)

    async def list_history(self, user_id: str, limit: int) -> list[Decision]:
        """The user's newest decisions after the last reset, oldest first."""
        return await self._read(decisions.list_history, self._registry, user_id, limit)

    def _cache_decision(self, decision: Decision) -> None:
        self._recent[decision.decision_id] = decision
        while len(self._recent) > _MAX_RECENT_DECISIONS:
            decision_id, oldest = self._recent.popitem(last=False)
            reward_seq = 0 if oldest.reward is None else oldest.reward.seq
            in_flight = not self._in_flight.keys().isdisjoint((oldest.seq, reward_seq, oldest.pending_turn_seq))
            if in_flight:
                self._recent[decision_id] = oldest
                break

    # ── rewards ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def reward(self, reward: Reward) -> AcceptedReward:
        """Log a reward and teach it, once; see :class:`bandstand.store.protocol.Store`."""
        try:
            return await self._log_reward(reward)
        except EventCollisionError:  # its key or its decision was spent between the look-up and the commit
            return await self._log_reward(reward)

    async def _log_reward(self, reward: Reward) -> AcceptedReward:
        if reward.idempotency is not None and (known := await self._find_reward_by_key(reward.idempotency)) is not None:
            return AcceptedReward(known, "key")
        while True:
            user = await self._users.get_or_load(reward.user_id)
            decision = None if reward.decision_id is None else await self.find_decision(reward.decision_id)
            if self._users.is_current(user) and (
                decision is None or self._recent.get(decision.decision_id) is decision
            ):
                break  # nothing moved while we waited: from here to the hand-over there is no await
        if reward.idempotency is not None and (flying := self._rewards_by_key.get(reward.idempotency)) is not None:
            await self._wait_committed(flying.seq)
            return AcceptedReward(flying, "key")
        if reward.decision_id is not None:
            if decision is None or decision.uid != user.uid or self._is_expired(decision):
                message = "no such decision"
                raise UnknownDecisionError(message)
            require_made_by(decision, reward.policy)
            if decision.reward is not None:
                existing = decision.reward
                await self._wait_committed(existing.seq)
                return AcceptedReward(existing, "decision")
            if decision.pending_turn_seq:
                raise RewardPendingError("a turn that is still being judged holds this decision")
            reward.decision_seq = decision.seq
            reward.x = decision.x
            if decision.seq <= user.reset_seq:
                reward.applied, reward.reason = False, "reset"
        await asyncio.shield(self._submit_reward(user, reward, decision))  # others may wait for it too
        return AcceptedReward(reward, "new")

    async def find_reward_by_key(self, key: tuple[str, str]) -> Reward | None:
        """The reward that came with that Idempotency-Key; see :class:`bandstand.store.protocol.Store`."""
        return await self._find_reward_by_key(key)

    def _is_expired(self, decision: Decision) -> bool:
        """Whether retention takes the decision, or has taken it, while memory still knows it."""
        return decision.seq <= self._horizon and decision.reward is None

    def _submit_reward(self, user: CachedUser, reward: Reward, decision: Decision | None) -> _Future:
        reward.seq = self._sequence.next(reward.ts)
        uid = self._ensure_uid(user)
        policy_id = self._registry.get_id(reward.policy)
        reward.shadow_updates = self._build_shadow_updates(reward.policy, reward.features, decision)
        if decision is not None:
            rows: list[tuple[str, Row]] = [(INSERT_REWARD, build_reward_row(reward, uid, policy_id))]
            decision.reward = reward
        else:
            linkable_after = first_seq_at(reward.ts - LEGACY_LINK_SECONDS)
            rows = [(INSERT_LEGACY_REWARD, build_legacy_reward_row(reward, uid, policy_id, linkable_after))]
        key = reward.idempotency
        if key is not None:
            rows.append((INSERT_IDEMPOTENCY_KEY, (*key, reward.body_hash, reward.seq, reward.ts)))
            self._rewards_by_key[key] = reward

        def on_committed() -> None:
            self._apply_reward(user, reward)
            if key is not None:
                self._rewards_by_key.pop(key, None)

        def on_rejected() -> None:
            if decision is not None:
                decision.reward = None
                self._recent.pop(decision.decision_id, None)  # if it collided, memory was wrong about it
            if key is not None:
                self._rewards_by_key.pop(key, None)

        tally = (int(reward.ts // 3600), policy_id, 0, 0, 1, reward.value)
        return self._submit(user, reward.seq, rows, on_committed, on_rejected, durable=True, tally=tally)

    def _apply_reward(self, user: CachedUser, reward: Reward) -> None:
        """Fold a committed reward in, if it teaches."""
        if reward.applied and reward.x is not None:
            seq, ts, value, weight = reward.seq, reward.ts, reward.value, reward.weight
            for ref, x in ((reward.policy, reward.x), *reward.shadow_updates):
                user.profile.apply_reward(seq, ref.key, ts, x, value, weight, ref.half_life)

    def _build_shadow_updates(self, policy: PolicyRef, features: bytes | None, decision: Decision | None) -> Updates:
        """The policies in the shadow that a reward of ``policy``, new now, teaches too."""
        if features is not None:
            return updates.build_shadow_updates(self._registry, policy, LAST_SEQ, features, None, None)
        return () if decision is None else decision.shadow_updates or ()

    async def _find_reward_by_key(self, key: tuple[str, str]) -> Reward | None:
        in_flight = self._rewards_by_key.get(key)
        if in_flight is None:
            return await self._read(decisions.find_reward_by_key, self._registry, *key)
        await self._wait_committed(in_flight.seq)
        return in_flight

    async def select_rewards(self, selection: Selection) -> SelectedRewards:
        """The rewards that an operator means, and what of them can be taken back."""
        return await self._read(undo.select_rewards, self._registry, selection)

    async def has_revocations_since(self, seq: int) -> bool:
        """Whether anything was taken back after the event ``seq``."""
        return await self._read(undo.has_revocations_since, seq)

    async def revoke(
        self, reward_seqs: Collection[int], *, cause: str, client: str, selection: Selection | None = None
    ) -> list[RevocableReward]:
        """Take rewards back out of sums and counters; see :class:`bandstand.store.protocol.Store`."""
        for _ in range(_MAX_TRIES - 1):
            try:
                return await self._revoke(reward_seqs, cause=cause, client=client, selection=selection)
            except EventCollisionError:
                pass
        return await self._revoke(reward_seqs, cause=cause, client=client, selection=selection)

    async def list_undos(self, before: int, limit: int) -> list[UndoRecord]:
        """Records of undos, the newest first, from before the event ``before``."""
        return await self._read(undo.list_undos, before, limit)

    async def _revoke(
        self, reward_seqs: Collection[int], *, cause: str, client: str, selection: Selection | None
    ) -> list[RevocableReward]:
        found = await self._read(revocations.find_revocable, self._registry, reward_seqs)
        users: dict[str, CachedUser] = {}
        try:
            for each in found:
                if each.user_id not in users:
                    user = users[each.user_id] = await self._users.get_or_load(each.user_id)
                    user.pending += 1  # it must still be here when all the others are
            revocable = [each for each in found if self._is_revocable(users[each.user_id], each)]
            if revocable:
                ts = self._clock()
                revocation = self._build_revocation(revocable, cause=cause, client=client, ts=ts)
                user, seq = users[revocable[0].user_id], self._sequence.next(ts)
                if selection is not None:
                    revocation.rows.append(
                        (INSERT_MARK, undo.build_undo_row(seq, selection, revocable, client=client, ts=ts))
                    )
                await asyncio.shield(self._submit(user, seq, *revocation, durable=True))
        finally:
            for user in users.values():
                user.pending -= 1
                self._users.drop_if_stale(user)
        return revocable

    def _is_revocable(self, user: CachedUser, reward: RevocableReward) -> bool:
        """Whether a reward found in the ledger is still in the sums, whatever is in flight."""
        gone = reward.seq <= max(user.reset_seq, self._horizon) or reward.seq in self._revoking
        return not gone and user.uid == reward.uid and self._users.is_current(user)

    def _build_revocation(
        self, revocable: list[RevocableReward], *, cause: str, client: str, ts: float
    ) -> "PendingRevocation":
        """The rows that take rewards of users in memory back, and what is done when they are committed or refused."""
        numbered = [(self._sequence.next(ts), each) for each in revocable]
        users = [self._users[each.user_id] for each in revocable]
        rows = [row for seq, each in numbered for row in each.build_rows(seq, cause=cause, client=client, ts=ts)]
        self._revoking.update(each.seq for each in revocable)

        def on_settled() -> None:
            self._revoking.difference_update(each.seq for each in revocable)

        def on_committed() -> None:
            on_settled()
            if len(revocable) > _MAX_SUBTRACTED:
                for user in users:
                    # Whoever is not idle but for this is subtracted from all the same, until they are.
                    user.stale = True
                    if user.pending == 1:
                        self._users.drop(user)
            for (seq, each), user in zip(numbered, users, strict=True):
                if self._users.is_current(user):
                    exact = each.apply_revocation(seq, user.profile)
                    user.stale = user.stale or not exact
                    user.changed = True

        return PendingRevocation(rows, on_committed, on_settled)

    # ── generations ───────────────────────────────────────────────────────────────────────────────────────────────

    async def log_generation(self, generation: LoggedGeneration) -> bool:
        """Log a generation; see :class:`bandstand.store.protocol.Store`."""
        user = await self._users.get_or_load(generation.user_id)
        if self._erased and self._erased.get(self._compute_tombstone(generation.user_id), 0) > generation.seq:
            return False
        prompt = self._prompts.get_row(generation.prompt)
        row = generations.build_generation_row(generation, self._ensure_uid(user), prompt[0])
        rows: list[tuple[str, Row]] = [(INSERT_PROMPT, prompt), (INSERT_GENERATION, row)]

        def on_committed() -> None:
            user.has_tips = True

        await self._submit(user, generation.seq, rows, on_committed, _noop, durable=False)
        return True

    async def load_prompt_totals(self) -> list[PromptTotals]:
        """What each prompt came to, in order of first use."""
        return await self._read(generations.load_prompt_totals)

    # ── operators ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def reset(self, user_id: str, client: str) -> None:
        """Forget what every policy learned about the user. Idempotent."""
        user = await self._users.get_or_load(user_id)
        if not user.registered and not user.pending:
            return
        ts = self._clock()
        seq = user.reset_seq = self._sequence.next(ts)
        row = (seq, self._ensure_uid(user), "reset", ts, client, None)

        def on_committed() -> None:
            user.profile.apply_reset(seq)
            user.reset_seq = max(user.reset_seq, seq)

        def on_rejected() -> None:
            if user.reset_seq == seq:
                user.reset_seq = user.profile.reset_seq

        await self._submit(user, seq, [(INSERT_MARK, row)], on_committed, on_rejected, durable=True)

    async def erase(self, user_id: str, client: str) -> Erasure:
        """Delete everything about the user and leave a tombstone. Idempotent."""
        user = await self._users.get_or_load(user_id)
        with self._users.exclude(user):  # from here on; before the first await
            for decision_id in [key for key, decision in self._recent.items() if decision.user_id == user_id]:
                del self._recent[decision_id]
            # Files first: a crash in between leaves a user whose document is made again from the ledger, not a document
            # of nobody.
            documents = await self._users.delete_document(user_id)
            ts = self._clock()
            seq, digest = self._sequence.next(ts), self._compute_tombstone(user_id)
            erase = partial(erasure.delete_user, uid=user.uid, tombstone=digest, seq=seq, ts=ts, client=client)
            counts = await self._writer.call(erase)
            under_way = first_seq_at(ts - _MAX_GENERATION_S)
            self._erased = {key: at for key, at in self._erased.items() if at > under_way} | {digest: seq}
            log_emptied = await self._log.empty()
        return replace(counts, documents=documents, log_emptied=log_emptied)

    def _compute_tombstone(self, user_id: str) -> bytes:
        return erasure.compute_tombstone(self.secret, user_id)

    async def list_users(self, prefix: str, after: int, limit: int) -> UserPage:
        """Known users whose id starts with ``prefix``, in order of first sight, from the cursor ``after``."""
        return await self._read(decisions.list_users, prefix, after, limit)

    async def count_users(self) -> int:
        """How many users the ledger knows."""
        return await self._read(decisions.count_users)

    async def load_policy_totals(self) -> dict[str, PolicyTotals]:
        """Deployment-wide counts by policy."""
        return await self._read(decisions.load_policy_totals)

    async def load_loop_sums(self, days: int) -> LoopSums:
        """Sums that tell whether the learning loop is sound, by policy, and by day for the newest ``days``."""
        return await self._read(loop_health.load_loop_sums, loop_health.to_day(self._sequence.last) - days + 1)

    # ── promotions and experiments ────────────────────────────────────────────────────────────────────────────────

    async def log_promotion(self, promotion: Promotion) -> None:
        """Write down a change of the active policy."""
        seq = self._sequence.next(promotion.ts)
        await self._writer.call(partial(promotions.log_promotion, seq=seq, promotion=promotion))

    async def list_promotions(self) -> list[Promotion]:
        """Every change of the active policy, the oldest first."""
        return await self._read(promotions.list_promotions)

    async def set_experiment(self, definition: str | None) -> ExperimentStart | None:
        """Say which experiment runs from now on, if any; see :class:`bandstand.store.protocol.Store`."""
        running = await self._read(promotions.find_running_experiment, definition)
        if running is None and (definition is not None or await self._read(promotions.is_experiment_running)):
            ts = self._clock()
            seq = self._sequence.next(ts)
            await self._writer.call(partial(promotions.log_experiment, seq=seq, ts=ts, definition=definition))
            running = None if definition is None else ExperimentStart(seq, ts)
        return running

    async def count_enrolled(self, experiment: int) -> Mapping[str, int]:
        """How many users each arm of an experiment has decided for."""
        return await self._read(promotions.count_enrolled, experiment)

    # ── shadows ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def set_shadows(self, policies: Collection[PolicyRef]) -> None:
        """Say which policies are in the shadow from now on; see :class:`bandstand.store.protocol.Store`."""
        if list(policies) != self._registry.get_shadows():
            ts = self._clock()
            seq = self._sequence.next(ts)
            policy_ids = [self._registry.get_id(ref) for ref in policies]
            await self._writer.call(partial(shadows.log_shadow_policies, seq=seq, ts=ts, policy_ids=policy_ids))
            self._registry.record_shadows(seq, policies)

    def log_shadows(self, decision: Decision, shadow_picks: Collection[Shadow]) -> None:
        """Log what policies in the shadow would have done; see :class:`bandstand.store.protocol.Store`."""
        rows = [
            (INSERT_SHADOW, each.build_row(decision.seq, self._registry.get_id(each.policy))) for each in shadow_picks
        ]

        def on_done(_: object, error: BaseException | None) -> None:
            if error is not None:
                self._record_error(str(error))

        self._writer.submit(Operation(rows, on_done, durable=False))

    async def load_shadows(self, decision: Decision) -> list[Shadow]:
        """What policies in the shadow would have done with a decision."""
        return await self._read(shadows.load_shadows, self._registry.get_refs(), decision.seq)

    async def load_shadow_sums(self) -> Mapping[PolicyRef, ShadowSums]:
        """What came of it, of every definition of a policy that was ever in the shadow."""
        return await self._read(shadows.load_shadow_sums, self._registry.get_refs())


def _noop() -> None:
    """What becomes of a user whose generation was refused."""
