"""Reactions of the past under another table: each decision is revised in one transaction under its user's lock."""

from collections.abc import Sequence
from typing import Any

from bandstand.bandit.reaction_table import SentReaction
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.errors import UnknownDecisionError
from bandstand.store.ids import format_id
from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.decision_statements import SETTLE_SHADOWS
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.part_log import LockedDecision, SharedRewardParts
from bandstand.store.postgres.revocation_log import SharedRevocations, take_back
from bandstand.store.postgres.reward_rows import insert_reward
from bandstand.store.postgres.reward_statements import LOCK_USER
from bandstand.store.records import Reward, first_seq_at
from bandstand.store.tables import reactions
from bandstand.store.tables.reactions import LegacyReward, LoggedPart, LoggedReaction
from bandstand.store.tables.revocations import REVISION, RevocableReward
from bandstand.store.tables.windows import HELD, NOT_FIRST

_REACTIONS = f"""WITH found AS (
        SELECT x.*, p.seq IS NOT NULL AS is_part, coalesce(p.value, r.value) AS value, p.reason,
            coalesce(p.decision, r.decision_seq, CASE WHEN r.features IS NULL THEN r.linked_seq END) AS decision,
            r.features IS NOT NULL AS is_legacy
        FROM reactions AS x LEFT JOIN reward_parts AS p ON p.seq = x.seq LEFT JOIN rewards AS r ON r.seq = x.seq
        WHERE x.seq > $1 AND x.ts >= $2),
    whose AS (
        SELECT f.*, u.user_id, u.reset_version, d.nonce, i.decision_id, coalesce(w.held, false) AS is_held
        FROM found AS f JOIN users AS u ON u.uid = f.uid LEFT JOIN decisions AS d ON d.seq = f.decision
        LEFT JOIN windows AS w ON w.decision = d.seq LEFT JOIN decision_ids AS i ON d.nonce IS NULL AND i.seq = d.seq
        WHERE d.seq IS NOT NULL OR f.is_legacy)
    SELECT f.seq, f.user_id, f.decision, f.nonce, f.decision_id, f.is_part, f.value, f.action, f.dwell_ms, f.ts, f.name,
        f.version, f.hash, CASE
        WHEN f.is_part AND f.reason NOT IN ('{HELD}', '{NOT_FIRST}') THEN 'void'
        WHEN f.is_held THEN 'held'
        WHEN t.applied IS NOT TRUE THEN 'void'
        WHEN EXISTS (SELECT 1 FROM revocations AS v WHERE v.reward_seq = t.seq) THEN 'already'
        WHEN t.n <= f.reset_version THEN 'forgotten' ELSE 'held' END AS fate
    FROM whose AS f LEFT JOIN LATERAL (
        SELECT r.seq, r.n, r.applied FROM rewards AS r WHERE NOT f.is_part AND r.seq = f.seq
        UNION ALL SELECT r.seq, r.n, r.applied FROM rewards AS r WHERE f.is_part AND r.decision_seq = f.decision
        UNION ALL SELECT r.seq, r.n, r.applied FROM rewards AS r
            WHERE f.is_part AND r.linked_seq = f.decision AND r.features IS NULL
        ORDER BY n DESC LIMIT 1) AS t ON true
    ORDER BY f.seq LIMIT $3"""  # noqa: S608 (constants)
_PARTS = """SELECT p.seq, p.value, p.taught, p.reason, x.action, x.dwell_ms
    FROM reward_parts AS p LEFT JOIN reactions AS x ON x.seq = p.seq WHERE p.decision = $1 ORDER BY p.seq"""
_LEGACY = "SELECT tip_id, features, body_hash, client FROM rewards WHERE seq = $1"
_IS_REWARD = "SELECT EXISTS (SELECT 1 FROM rewards WHERE seq = $1)"
_REMAP = "UPDATE reactions SET seq = $2, name = $3, version = $4, hash = $5 WHERE seq = $1"
_REVISE_PART = "UPDATE reward_parts SET value = $2, taught = $3 WHERE seq = $1"
_MOVE_KEY = "UPDATE idempotency SET reward_seq = $2 WHERE reward_seq = $1"
"""A retry is answered with what stands now."""


class SharedReactions:
    """The reactions of a shared ledger, as :class:`bandstand.store.protocol.UndoLog` has them."""

    def __init__(self, ledger: SharedLedger, parts: SharedRewardParts, revocations: SharedRevocations) -> None:
        self._ledger = ledger
        self._parts = parts
        self._revocations = revocations

    async def list_reactions(self, after: int, since: float, limit: int) -> list[LoggedReaction]:
        """Reactions that came at ``since`` or later, in order, from after the event ``after``."""
        first = max(after, first_seq_at(since) - 1)
        return [_to_reaction(row) for row in await self._ledger.readers.fetch(_REACTIONS, first, since, limit)]

    async def reapply(self, found: Sequence[LoggedReaction], settings: RewardSettings, client: str) -> bool:
        """Teach the rewards of the reactions of one decision, or of one in the legacy form, under a table."""
        first = found[0]
        try:
            if first.decision_id is None:
                return await self._reapply_legacy(first, settings, client)
            if first.is_part:
                return await self._reapply_parts(first.decision_id, settings, client)
            return await self._reapply_once(first, first.decision_id, settings, client)
        except UnknownDecisionError:
            return False  # it went meanwhile

    async def _reapply_once(
        self, logged: LoggedReaction, decision_id: str, settings: RewardSettings, client: str
    ) -> bool:
        """Of a decision that is rewarded once."""
        value = settings.compute_reaction_reward(logged.sent.action, logged.sent.dwell_ms)
        tried: list[Reward] = []

        async def revise(locked: LockedDecision, tries: int) -> bool:
            if tries and await self._has_done(locked.channel, tried):
                return True
            standing, taught = locked.decision.reward, await self._parts.find_taught(locked)
            if standing is None or taught is None or taught.seq != logged.seq or taught.value == value:
                return False
            ts = self._ledger.clock()
            seq = self._ledger.next_seq(ts)
            reward = reactions.build_replacement(locked.decision, standing, value, ts=ts, seq=seq)
            tried.append(reward)
            await self._parts.teach(locked, reward, instead_of=taught, client=client)
            await _replace(locked.channel, logged.seq, reward.seq, settings)
            return True

        return await self._parts.change(decision_id, revise)

    async def _reapply_parts(self, decision_id: str, settings: RewardSettings, client: str) -> bool:
        """Revise a decision whose reward is made of parts: each part that is a reaction gets its new reward."""
        tried: list[Reward] = []

        async def revise(locked: LockedDecision, tries: int) -> bool:
            channel, decision = locked.channel, locked.decision
            if tries and await self._has_done(channel, tried):
                return True
            session, window, standing = channel.session, decision.window, decision.reward
            taught = await self._parts.find_taught(locked)
            parts = [LoggedPart(*row) for row in await session.fetch(_PARTS, decision.seq)]
            revised = reactions.revise_parts(parts, settings)
            is_held = window is not None and window.held
            if standing is None or (taught is None and not is_held):
                return False
            if not revised.revisions:
                return is_held and bool(tries and tried)  # nothing was taught; it is as the first try left it
            value, ts = settings.compute_taught(revised.sums), self._ledger.clock()
            reward = reactions.build_replacement(decision, standing, value, ts=ts, seq=self._ledger.next_seq(ts))
            tried.append(reward)
            for seq in revised.remapped:
                await session.execute(_REMAP, seq, seq, *_describe(settings))
            await session.executemany(_REVISE_PART, revised.revisions)
            if taught is not None and taught.value != reward.value:
                await self._parts.teach(locked, reward, instead_of=taught, client=client)
            return True

        return await self._parts.change(decision_id, revise)

    async def _reapply_legacy(self, logged: LoggedReaction, settings: RewardSettings, client: str) -> bool:
        """Revise a reward that names no decision and has features of its own."""
        ledger, tried = self._ledger, list[Reward]()
        value = settings.compute_reaction_reward(logged.sent.action, logged.sent.dwell_ms)

        async def revise(channel: Channel, tries: int) -> bool:
            session = channel.session
            user = await session.fetchrow(LOCK_USER, logged.user_id)
            if tries and await self._has_done(channel, tried):
                return True
            row = await session.fetchrow(_LEGACY, logged.seq)
            taught = next(iter(await self._revocations.find_revocable(channel, (logged.seq,))), None)
            if user is None or row is None or taught is None or taught.value == value:
                return False
            ts = ledger.clock()
            brought = LegacyReward(*row)
            seq = ledger.next_seq(ts)
            tried.append(reactions.build_legacy_replacement(logged.user_id, brought, taught, value, ts=ts, seq=seq))
            await self._teach_legacy(channel, user, tried[-1], taught, client)
            await _replace(channel, logged.seq, tried[-1].seq, settings)
            return True

        is_revised = await ledger.writers.transact(revise)
        cached = ledger.users.get(logged.user_id)
        if is_revised and cached is not None and cached.uid:
            await ledger.users.catch_up(cached)
        return is_revised

    async def _teach_legacy(
        self, channel: Channel, user: Any, reward: Reward, taught: RevocableReward, client: str
    ) -> None:
        """Take back what a reward in the legacy form taught, and teach another in its place, of the same decision."""
        seqs, ts = [self._ledger.next_seq(reward.ts)], reward.ts
        [before] = await take_back(channel, [taught.seq], seqs, cause=REVISION, client=client, ts=ts)
        linked = before["linked_seq"]
        policy_id, n = taught.policy_id, user["version"] + 2
        placed = {"policy_id": policy_id, "linked": linked, "decided": before["decided"]}
        await insert_reward(channel, reward, uid=user["uid"], n=n, **placed)
        if linked is not None:
            await channel.session.execute(SETTLE_SHADOWS, [linked], channel.stripe)

    async def _has_done(self, channel: Channel, tried: Sequence[Reward]) -> bool:
        """Whether an earlier try stands, whose answer was lost."""
        return bool(tried) and bool(await channel.session.fetchval(_IS_REWARD, tried[-1].seq))


async def _replace(channel: Channel, before: int, seq: int, settings: RewardSettings) -> None:
    """Replace the reward of a reaction by another, under the table of some settings."""
    await channel.session.execute(_REMAP, before, seq, *_describe(settings))
    await channel.session.execute(_MOVE_KEY, before, seq)


def _describe(settings: RewardSettings) -> tuple[str, int, str]:
    table = settings.reactions
    return table.name, table.version, table.hash


def _to_reaction(row: Any) -> LoggedReaction:
    seq, user_id, decision, nonce, own_id, is_part, value, *sent, fate = row
    decision_id = own_id if nonce is None else format_id(decision, nonce)
    return LoggedReaction(seq, user_id, decision_id, decision or 0, is_part, value, fate, SentReaction(*sent))
