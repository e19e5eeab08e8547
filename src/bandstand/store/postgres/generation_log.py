"""Generations: what was written for a user, logged so that its rewards are credited to its prompt."""

from bandstand.bandit.arms import RewardSums
from bandstand.store.ids import format_id
from bandstand.store.learners.erasure import compute_tombstone
from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.decision_statements import REGISTER_USERS
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.reward_statements import LOCK_USER
from bandstand.store.postgres.schema import build_striped_upsert
from bandstand.store.postgres.user_admin import FIND_TOMBSTONE
from bandstand.store.records import Decision
from bandstand.store.sqlite.statements import Row
from bandstand.store.tables.generations import (
    GenerationInsert,
    LoggedGeneration,
    PromptRef,
    PromptTotals,
    TipOrigin,
    build_generation_row,
)

_ADD_PROMPT = """INSERT INTO prompts (name, version, digest) SELECT $1, $2, $3
    WHERE NOT EXISTS (SELECT 1 FROM prompts WHERE name = $1 AND version = $2 AND digest = $3) ON CONFLICT DO NOTHING"""
_FIND_PROMPT = "SELECT id FROM prompts WHERE name = $1 AND version = $2 AND digest = $3"
_FIELDS = GenerationInsert._fields
_ADD_GENERATION = f"""INSERT INTO generations ({", ".join(_FIELDS)})
    VALUES ({", ".join(f"${number}" for number in range(1, len(_FIELDS) + 1))}) ON CONFLICT DO NOTHING"""  # noqa: S608 (constants)
_ADD_TIPS = """INSERT INTO generated_tips (uid, tip_id, generation, prompt)
    SELECT $1, tip, $3, $4 FROM unnest($2::text[]) AS t(tip)"""
_COUNT = build_striped_upsert("prompt_totals", "SELECT $1::integer, $2::smallint, 1, $3::bigint, 0, 0, 0, 0")
_NOTE_TIPS = "UPDATE users SET has_tips = true WHERE uid = $1"
_TOTALS = """SELECT p.name, p.version, p.digest, t.generations::bigint, t.tips::bigint, t.decisions::bigint,
    t.rewards::bigint, t.reward_sum, t.reward_squares
    FROM prompt_totals AS t JOIN prompts AS p ON p.id = t.prompt ORDER BY p.id"""
_ORIGIN = """SELECT p.name, p.version, p.digest, g.seq, g.nonce, g.model
    FROM lineage AS l JOIN prompts AS p ON p.id = l.prompt LEFT JOIN generations AS g ON g.seq = l.generation
    WHERE l.decision = $1"""


class _ErasedSinceError(Exception):
    """Ends the transaction that would have inserted a row for an erased user."""


class SharedGenerations:
    """The generations of a shared ledger, as :class:`bandstand.store.protocol.GenerationLog` has them."""

    def __init__(self, ledger: SharedLedger) -> None:
        self._ledger = ledger

    async def log_generation(self, generation: LoggedGeneration) -> bool:
        """Log a generation, unless its user was erased after it began; returns whether it was logged."""
        ledger = self._ledger
        prompt = (generation.prompt.name, generation.prompt.version, generation.prompt.digest)

        async def log(channel: Channel, _: int) -> bool:
            session = channel.session
            await session.execute(REGISTER_USERS, [generation.user_id])
            user = await session.fetchrow(LOCK_USER, generation.user_id)
            tombstone = compute_tombstone(ledger.secret, generation.user_id)
            erased = await session.fetchval(FIND_TOMBSTONE, tombstone)
            if erased is not None and erased > generation.seq:
                raise _ErasedSinceError
            await session.execute(_ADD_PROMPT, *prompt)
            prompt_id = await session.fetchval(_FIND_PROMPT, *prompt)
            row: Row = build_generation_row(generation, user["uid"], prompt_id)
            if (await session.execute(_ADD_GENERATION, *row)).endswith(" 1"):
                await session.execute(_ADD_TIPS, user["uid"], list(generation.tips), generation.seq, prompt_id)
                await session.execute(_COUNT, prompt_id, channel.stripe, len(generation.tips))
            if not user["has_tips"]:
                await session.execute(_NOTE_TIPS, user["uid"])
            return True

        try:
            return await ledger.writers.transact(log)
        except _ErasedSinceError:
            return False

    async def load_prompt_totals(self) -> list[PromptTotals]:
        """What each prompt earned, in order of first use."""
        return [
            PromptTotals(PromptRef(name, version, digest), generations, tips, decisions, RewardSums(*earned))
            for name, version, digest, generations, tips, decisions, *earned in await self._ledger.readers.fetch(
                _TOTALS
            )
        ]

    async def find_origin(self, decision: Decision) -> TipOrigin | None:
        """The generation that the decision's pick came from."""
        row = await self._ledger.readers.fetch_one(_ORIGIN, decision.seq)
        if row is None:
            return None
        name, version, digest, seq, nonce, model = row
        return TipOrigin(PromptRef(name, version, digest), None if seq is None else format_id(seq, nonce), model)
