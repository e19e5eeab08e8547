"""Rewards over time: parts of a decision's reward, decisions that were held back, and windows that end.

What a decision has taught is always the aggregate of the parts that count so far. A later part takes the old aggregate
out of the sums and puts the new one in, in one commit, so that the sums depend on the parts alone. One change of a
decision is under way at a time: the next one waits for its commit.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from bandstand.bandit.reward_settings import CONTRACT, RewardSettings
from bandstand.errors import BandstandError, UnknownDecisionError
from bandstand.store.embedded.decision_log import EmbeddedDecisions
from bandstand.store.embedded.idempotency_keys import IdempotencyKeys, add_key_row
from bandstand.store.embedded.in_flight import UserEvent
from bandstand.store.embedded.revocation_log import EmbeddedRevocations, PendingRevocation
from bandstand.store.embedded.state_directory import EventCollisionError, StateDirectory, noop
from bandstand.store.learners.user_cache import CachedUser
from bandstand.store.protocol import require_made_by
from bandstand.store.records import AcceptedReward, Decision, Reward
from bandstand.store.sqlite.operations import SumIncrements, Tally
from bandstand.store.sqlite.statements import Row
from bandstand.store.tables import decisions, windows
from bandstand.store.tables.event_rows import (
    INSERT_REPLACEMENT_REWARD,
    INSERT_REWARD,
    build_replacement_row,
    build_reward_row,
)
from bandstand.store.tables.judgements import RewardPendingError
from bandstand.store.tables.loop_health import build_arrival
from bandstand.store.tables.reactions import add_reaction_row
from bandstand.store.tables.revocations import REVISION, RevocableReward
from bandstand.store.tables.reward_sums import COUNT_ARRIVAL, build_sum_rows
from bandstand.store.tables.updates import apply_reward, get_shadow_updates
from bandstand.store.tables.windows import Activation, ClosedWindows

_NOTHING_REVOKED = PendingRevocation([], noop, noop, ())
_WINDOWS_AT_ONCE = 4
"""Windows between two rests: some milliseconds of work, most of which others can interrupt."""


class EmbeddedParts:
    """Rewards over time in a state directory, as :class:`bandstand.store.protocol.RewardLog` has them."""

    def __init__(
        self,
        directory: StateDirectory,
        decisions: EmbeddedDecisions,
        revocations: EmbeddedRevocations,
        keys: IdempotencyKeys,
    ) -> None:
        self._directory = directory
        self._decisions = decisions
        self._revocations = revocations
        self._keys = keys

    # ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def add(self, reward: Reward) -> AcceptedReward:
        """Log a part of a decision's reward, and teach the aggregate of all parts.

        Raises:
            UnknownDecisionError: the decision is gone, or another user's.
            WrongPolicyError: another policy made it.
            RewardPendingError: a turn holds it.
        """
        user, decision, taught = await self.find_settled(reward.user_id, reward.decision_id or "")
        if reward.idempotency is not None and (flying := self._keys.rewards.get(reward.idempotency)) is not None:
            await self._directory.wait_committed(flying.seq)
            return AcceptedReward(flying, "key")
        require_made_by(decision, reward.policy)
        if decision.pending_turn_seq:
            raise RewardPendingError("a turn that is still being judged holds this decision")
        standing = decision.reward
        if standing is not None and windows.is_final(standing, reward.settings):
            return AcceptedReward(standing, "decision")
        await self._submit_part(user, decision, reward, taught)
        return AcceptedReward(reward, "new")

    def _submit_part(
        self, user: CachedUser, decision: Decision, reward: Reward, taught: RevocableReward | None
    ) -> UserEvent[None]:
        standing, parts = decision.reward, decision.parts
        reason = windows.find_reason(decision, reward.ts, reset_seq=user.reset_seq, is_revisable=taught is not None)
        teaches = windows.take_part(decision, reward, reason) and (taught is None or taught.value != reward.value)
        revocation = self._revoke_taught(taught if teaches else None, reward)
        reward.seq = self._directory.next_seq(reward.ts)
        rows: list[tuple[str, Row]] = [
            (
                windows.INSERT_PART,
                windows.build_part_row(reward, decision, self._directory.registry.get_id(reward.policy)),
            )
        ]
        add_reaction_row(rows, reward)
        add_key_row(rows, reward, self._keys.rewards)
        if teaches and taught is None and decision.window is not None:
            rows.append((windows.SETTLE_WINDOW, windows.WindowUpdate(decision.seq, awaits=False)))
        if teaches or standing is None:
            decision.reward = reward

        def on_rejected() -> None:
            decision.reward, decision.parts = standing, parts

        return self.submit_change(user, decision, reward, rows, revocation, teaches=teaches, on_rejected=on_rejected)

    # ── decisions that were held back ─────────────────────────────────────────────────────────────────────────────

    async def activate(
        self, decision_id: str, settings: RewardSettings | None, client: str, *, teaches: bool
    ) -> Activation:
        """Let a decision that was held back count as shown, and teach what was kept for it."""
        decision = await self._decisions.find_decision(decision_id)
        if decision is None:
            raise UnknownDecisionError("no such decision")
        user, decision, _ = await self.find_settled(decision.user_id, decision_id)
        window, ts = decision.window, self._directory.clock()
        if window is None or not window.held:
            return Activation(activated=True)
        if window.has_ended(ts):
            return Activation(activated=False, reason="window_ended")
        kept, forgotten = decision.reward, decision.seq <= user.reset_seq
        has_parts = decision.parts.count > 0 and not forgotten
        taught = (settings or CONTRACT).compute_taught(decision.parts) if has_parts else None
        awaits = not has_parts and not forgotten and window.due is not None and window.fallback is not None
        reward = windows.build_kept(decision, taught or 0.0, client, ts, teaches=teaches)
        reward.seq = self._directory.next_seq(ts)
        rows: list[tuple[str, Row]] = [
            (windows.ACTIVATE_WINDOW, windows.WindowUpdate(decision.seq, awaits)),
            (windows.RELEASE_PARTS, windows.PartRelease(decision.seq, taught)),
        ]
        decision.window = replace(window, held=False)
        decision.reward = reward if has_parts else kept

        def on_rejected() -> None:
            decision.window = window
            decision.reward = kept

        event = self.submit_change(
            user, decision, reward, rows, _NOTHING_REVOKED, teaches=has_parts, on_rejected=on_rejected
        )
        await event
        return Activation(
            activated=True, reason=windows.RESET if forgotten else None, reward=reward if has_parts else None
        )

    # ── windows that end ──────────────────────────────────────────────────────────────────────────────────────────

    async def close_windows(self, limit: int | None, *, teaches: bool) -> ClosedWindows:
        """Look at windows that have ended, in the order of their ends, and teach what silence comes to."""
        limit = limit or _WINDOWS_AT_ONCE
        ts, forgotten = self._directory.clock(), self._decisions.forgotten
        due = await self._directory.read(decisions.list_due, self._directory.registry, ts, limit)
        taught: list[Reward] = []
        commits: list[Awaitable[object]] = []
        for decision, is_settled in due:
            if is_settled:
                self._settle(decision)
                continue
            self._decisions.keep(decision, forgotten)
            if (reward := await self._teach_silence(decision, commits, teaches=teaches)) is not None:
                taught.append(reward)
        outcomes = await asyncio.gather(*commits, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, EventCollisionError):
                raise outcome
        stands = [reward for reward, outcome in zip(taught, outcomes, strict=True) if outcome is None]
        return ClosedWindows(len(due), stands, has_more=len(due) == limit)

    def _settle(self, decision: Decision) -> None:
        row = windows.WindowUpdate(decision.seq, awaits=False)
        self._directory.submit_rows([(windows.SETTLE_WINDOW, row)], lambda _result, _error: None)

    async def _teach_silence(
        self, silent: Decision, commits: list[Awaitable[object]], *, teaches: bool
    ) -> Reward | None:
        """Submit the reward of silence of a decision, unless something is on its way to it."""
        try:
            user, decision, _ = await self.find_settled(silent.user_id, silent.decision_id)
        except UnknownDecisionError:
            return None  # erased meanwhile, and its window with it
        window = decision.window
        if window is None or window.fallback is None or window.held or decision.pending_turn_seq:
            return None  # it changed while we waited: the next look finds it so
        if decision.parts.count or not (decision.reward is None or windows.is_only_kept(decision.reward)):
            self._settle(decision)  # something has come, be it while nothing was taught
            return None
        ts = self._directory.clock()
        reward = windows.build_silence(decision, window.fallback, ts, reset_seq=user.reset_seq, teaches=teaches)
        reward.seq = self._directory.next_seq(ts)
        rows: list[tuple[str, Row]] = [(windows.SETTLE_WINDOW, windows.WindowUpdate(decision.seq, awaits=False))]
        standing, decision.reward = decision.reward, reward

        def on_rejected() -> None:
            decision.reward = standing

        commits.append(
            self.submit_change(
                user,
                decision,
                reward,
                rows,
                _NOTHING_REVOKED,
                teaches=True,
                on_rejected=on_rejected,
                is_durable=False,  # nobody was told: what a power cut takes is taught again
            )
        )
        return reward

    def forget(self, decision: Decision) -> None:
        """Read a decision from the ledger again when it is next needed."""
        self._decisions.forget(decision)

    # ── what they share ───────────────────────────────────────────────────────────────────────────────────────────

    async def find_settled(self, user_id: str, decision_id: str) -> tuple[CachedUser, Decision, RevocableReward | None]:
        """The user, the decision and what it has taught, with nothing on its way; no await lies behind this.

        Raises:
            UnknownDecisionError: the decision is gone, or another user's.
        """
        directory = self._directory
        while True:
            user = await directory.users.get_or_load(user_id)
            decision = await self._decisions.find_decision(decision_id)
            if decision is None or decision.uid != user.uid:
                raise UnknownDecisionError("no such decision")
            for seq in (decision.part_seq, 0 if decision.reward is None else decision.reward.seq):
                with suppress(BandstandError):  # whoever waits for that hears of it
                    await directory.wait_committed(seq)
            standing = decision.reward
            if directory.is_in_flight(decision.part_seq, 0 if standing is None else standing.seq):
                continue  # submitted while we waited for another: a look at the ledger could miss it
            found = [] if standing is None else await self._revocations.find_revocable((standing.seq,))
            settled = decision.reward is standing and not directory.is_in_flight(decision.part_seq)
            if settled and self._decisions.is_unchanged(user, decision):
                break
        if self._decisions.is_expired(decision):
            raise UnknownDecisionError("no such decision")
        taught = next((each for each in found if self._revocations.is_revocable(user, each)), None)
        return user, decision, taught

    def _revoke_taught(self, taught: RevocableReward | None, reward: Reward) -> PendingRevocation:
        """Take out what the decision has taught; numbered before what is taught instead."""
        if taught is None:
            return _NOTHING_REVOKED
        return self._revocations.build_revocation([taught], cause=REVISION, client=reward.client, ts=reward.ts)

    def submit_change(
        self,
        user: CachedUser,
        decision: Decision,
        reward: Reward,
        rows: list[tuple[str, Row]],
        revocation: PendingRevocation,
        *,
        teaches: bool,
        on_rejected: Callable[[], None],
        is_durable: bool = True,
    ) -> UserEvent[None]:
        """Submit a change of a decision, and with it what it teaches now."""
        directory, key = self._directory, reward.idempotency
        reward.decision_seq, reward.x = decision.seq, decision.x
        decision.part_seq = reward.seq
        tally: Tally | None = None
        sums: SumIncrements = ()
        if teaches:
            policy_id = directory.registry.get_id(reward.policy)
            reward.shadow_updates = get_shadow_updates(directory.registry, reward.policy, None, decision)
            rows += [*revocation.rows, _build_reward_row(reward, user.uid, policy_id, revocation)]
            rows += build_sum_rows(reward, directory.prompts, directory.registry)
            tally = Tally(int(reward.ts // 3600), policy_id, 0, 0, 1, reward.value)
            if reward.source == "client":
                sums = (build_arrival(reward, policy_id, decision.ts),)
            else:
                rows.append((COUNT_ARRIVAL, (reward.seq,)))
            user.open_decisions.answer(decision.seq)

        def on_committed() -> None:
            revocation.on_committed()
            if teaches:
                user.stale = not apply_reward(directory.registry, user.profile, reward) or user.stale
            if key is not None:
                self._keys.rewards.pop(key, None)

        def take_back() -> None:
            revocation.on_rejected()
            on_rejected()
            decision.part_seq = 0
            self._decisions.forget(decision)
            if key is not None:
                self._keys.rewards.pop(key, None)

        return directory.submit(
            user, reward.seq, rows, on_committed, take_back, durable=is_durable, tally=tally, sums=sums
        )


def _build_reward_row(reward: Reward, uid: int, policy_id: int, revocation: PendingRevocation) -> tuple[str, Row]:
    """The row of what a decision teaches now: the first names it, a later one stands in the place of that before."""
    if not revocation.revoked:
        return INSERT_REWARD, build_reward_row(reward, uid, policy_id)
    return INSERT_REPLACEMENT_REWARD, build_replacement_row(reward, uid, policy_id, revocation.revoked[0].seq)
