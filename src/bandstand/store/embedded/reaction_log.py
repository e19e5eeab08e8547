"""Past reactions under another table: the old reward of each is taken back, and the new one is taught."""

from collections.abc import Sequence
from typing import Final

from bandstand.bandit.reward_settings import RewardSettings
from bandstand.errors import UnknownDecisionError
from bandstand.store.embedded.part_log import EmbeddedParts
from bandstand.store.embedded.revocation_log import EmbeddedRevocations
from bandstand.store.embedded.state_directory import EventCollisionError, StateDirectory
from bandstand.store.sqlite.operations import Tally
from bandstand.store.sqlite.statements import Row
from bandstand.store.tables import reactions, undo
from bandstand.store.tables.event_rows import INSERT_REPLACEMENT_REWARD, build_replacement_row
from bandstand.store.tables.reactions import KeyMove, LoggedReaction
from bandstand.store.tables.revocations import REVISION
from bandstand.store.tables.reward_sums import COUNT_ARRIVAL, build_sum_rows
from bandstand.store.tables.updates import apply_reward, get_shadow_updates

_MAX_TRIES: Final = 3
"""How often what has changed meanwhile is looked up again."""


class EmbeddedReactions:
    """The reactions of a state directory, as :class:`bandstand.store.protocol.UndoLog` has them."""

    def __init__(self, directory: StateDirectory, parts: EmbeddedParts, revocations: EmbeddedRevocations) -> None:
        self._directory = directory
        self._parts = parts
        self._revocations = revocations

    async def list_reactions(self, after: int, since: float, limit: int) -> list[LoggedReaction]:
        """Reactions that came at ``since`` or later, in order, from after the event ``after``."""
        return await self._directory.read(reactions.list_reactions, after, since, limit)

    async def find_out_of_reach(self, since: float) -> tuple[int, float | None]:
        """How many users have later events in a baseline, and the time of the newest of those."""
        return await self._directory.read(undo.find_out_of_reach, since)

    async def reapply(self, found: Sequence[LoggedReaction], settings: RewardSettings, client: str) -> bool:
        """Teach the rewards of the reactions of one decision, or of one in the legacy form, under a table."""
        for _ in range(_MAX_TRIES - 1):
            try:
                return await self._reapply(found[0], settings, client)
            except EventCollisionError:
                pass
        return await self._reapply(found[0], settings, client)

    async def _reapply(self, first: LoggedReaction, settings: RewardSettings, client: str) -> bool:
        try:
            if first.decision_id is None:
                return await self._reapply_legacy(first, settings, client)
            if first.is_part:
                return await self._reapply_parts(first, first.decision_id, settings, client)
            return await self._reapply_once(first, first.decision_id, settings, client)
        except UnknownDecisionError:
            return False  # it went meanwhile

    async def _reapply_once(
        self, logged: LoggedReaction, decision_id: str, settings: RewardSettings, client: str
    ) -> bool:
        """Of a decision that is rewarded once."""
        value = settings.compute_reaction_reward(logged.sent.action, logged.sent.dwell_ms)
        user, decision, taught = await self._parts.find_settled(logged.user_id, decision_id)
        standing = decision.reward
        if standing is None or taught is None or taught.seq != logged.seq or taught.value == value:
            return False
        ts = self._directory.clock()
        revocation = self._revocations.build_revocation([taught], cause=REVISION, client=client, ts=ts)
        seq = self._directory.next_seq(ts)  # after what takes the other back
        reward = reactions.build_replacement(decision, standing, value, ts=ts, seq=seq, x=decision.x)
        rows: list[tuple[str, Row]] = [
            reactions.build_remap_row(logged.seq, reward.seq, settings.reactions),
            (reactions.MOVE_KEY, KeyMove(logged.seq, reward.seq)),
        ]
        decision.reward = reward

        def on_rejected() -> None:
            decision.reward = standing

        await self._parts.submit_change(user, decision, reward, rows, revocation, teaches=True, on_rejected=on_rejected)
        return True

    async def _reapply_parts(
        self, logged: LoggedReaction, decision_id: str, settings: RewardSettings, client: str
    ) -> bool:
        """Revise a decision whose reward is made of parts: each part that is a reaction gets its new reward."""
        for _ in range(_MAX_TRIES):
            parts = await self._directory.read(reactions.list_parts, logged.decision_seq)
            user, decision, taught = await self._parts.find_settled(logged.user_id, decision_id)
            if reactions.add_up(parts) == decision.parts:
                break
        else:
            return False
        is_held = decision.window is not None and decision.window.held
        standing, before = decision.reward, decision.parts
        revised = reactions.revise_parts(parts, settings)
        if standing is None or (taught is None and not is_held) or not revised.revisions:
            return False
        rows = [reactions.build_remap_row(seq, seq, settings.reactions) for seq in revised.remapped]
        rows += [(reactions.REVISE_PART, revision) for revision in revised.revisions]
        value, ts = settings.compute_taught(revised.sums), self._directory.clock()
        teaches = taught is not None and taught.value != value
        revoked = [taught] if taught is not None and teaches else []
        revocation = self._revocations.build_revocation(revoked, cause=REVISION, client=client, ts=ts)
        seq = self._directory.next_seq(ts)  # after what takes the other back
        reward = reactions.build_replacement(decision, standing, value, ts=ts, seq=seq, x=decision.x)
        decision.parts = revised.sums
        decision.reward = reward if teaches else standing

        def on_rejected() -> None:
            decision.reward, decision.parts = standing, before

        await self._parts.submit_change(
            user, decision, reward, rows, revocation, teaches=teaches, on_rejected=on_rejected
        )
        if is_held:
            self._parts.forget(decision)  # what was kept for it is read again
        return True

    async def _reapply_legacy(self, logged: LoggedReaction, settings: RewardSettings, client: str) -> bool:
        """Revise a reward that names no decision and has features of its own."""
        directory = self._directory
        value = settings.compute_reaction_reward(logged.sent.action, logged.sent.dwell_ms)
        brought = await directory.read(reactions.load_legacy, logged.seq)
        found = await self._revocations.find_revocable((logged.seq,))
        user = await directory.users.get_or_load(logged.user_id)
        taught = next((each for each in found if self._revocations.is_revocable(user, each)), None)
        if brought is None or taught is None or taught.value == value:
            return False
        ts = directory.clock()
        revocation = self._revocations.build_revocation([taught], cause=REVISION, client=client, ts=ts)
        reward = reactions.build_legacy_replacement(
            logged.user_id, brought, taught, value, ts=ts, seq=directory.next_seq(ts)
        )
        reward.x = taught.x
        reward.shadow_updates = get_shadow_updates(directory.registry, taught.policy, brought.features, None)
        row = build_replacement_row(reward, user.uid, taught.policy_id, taught.seq)
        rows: list[tuple[str, Row]] = [
            *revocation.rows,
            (INSERT_REPLACEMENT_REWARD, row),
            (COUNT_ARRIVAL, (reward.seq,)),
            *build_sum_rows(reward, directory.prompts, directory.registry),
            reactions.build_remap_row(logged.seq, reward.seq, settings.reactions),
            (reactions.MOVE_KEY, KeyMove(logged.seq, reward.seq)),
        ]

        def on_committed() -> None:
            revocation.on_committed()
            user.stale = not apply_reward(directory.registry, user.profile, reward) or user.stale

        tally = Tally(int(ts // 3600), taught.policy_id, 0, 0, 1, value)
        await directory.submit(user, reward.seq, rows, on_committed, revocation.on_rejected, durable=True, tally=tally)
        return True
