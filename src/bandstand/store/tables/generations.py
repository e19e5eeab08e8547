"""Generations in the ledger: what was written for a user, and what its tips earned once they were picked.

The line is generation → tip → decision → reward. A decision belongs to the user's newest generation before it that
holds the picked tip's id, a reward to its decision's (in the legacy form, to that of the decision it is linked to). The
writer looks up the first step, and the triggers of ``generations.sql`` keep the rest.
"""

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from bandstand.bandit.arms import RewardSums
from bandstand.store.ids import format_id, get_nonce
from bandstand.store.sqlite.statements import build_insert
from bandstand.store.sqlite.sweep import Sweep, Sweeper

_TOTALS = """SELECT p.name, p.version, p.digest, t.generations, t.tips, t.decisions, t.rewards, t.reward_sum,
    t.reward_squares FROM prompt_totals AS t JOIN prompts AS p ON p.id = t.prompt ORDER BY p.id"""
_ORIGIN = """SELECT p.name, p.version, p.digest, g.seq, g.nonce, g.model
    FROM lineage AS l JOIN prompts AS p ON p.id = l.prompt LEFT JOIN generations AS g ON g.seq = l.generation
    WHERE l.decision = ?"""
_EXPIRED = Sweep(
    "SELECT seq, 1 FROM generations WHERE seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4",
    {"generations": "DELETE FROM generations WHERE seq = ?"},
)

# A condition on a user's key ?1, for a SELECT without tables.
HAS_GENERATED_TIPS = "EXISTS (SELECT 1 FROM generated_tips WHERE uid = ?1)"
"""A pick of the user's may come from a generation."""

Chooser = Literal["request", "default", "auto"]
"""Who chose a generation's prompt: the request named it, the deployment's default drew it, or its bandit."""


@dataclass(frozen=True, slots=True)
class PromptRef:
    """One prompt's version in one wording: ``digest`` is its file's SHA-256, empty where no prompt was used."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedGeneration:
    """One generation as the ledger keeps it: tips by their ids alone, never their texts nor the tasks.

    Attributes:
        generation_id: the event number ``seq``, then 64 random bits.
        seq: numbered when it began, which orders it among the user's events.
        ts: when it began, in seconds since the epoch.
        chosen: who chose the prompt.
        propensity: the probability of that choice; None if the request made it.
        source: what wrote the tips, ``llm`` or ``template``.
        requested: how many tips were wanted.
        tips: their ids, no two alike.
        tries: calls made to the model.
        tasks_left_out: tasks that were not shown to it.
    """

    generation_id: str
    seq: int
    user_id: str
    client: str
    ts: float
    prompt: PromptRef
    chosen: Chooser
    propensity: float | None
    source: str
    model: str
    requested: int
    tips: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int
    tries: int
    tasks_left_out: int


@dataclass(frozen=True, slots=True)
class TipOrigin:
    """Where a decision's pick came from.

    Attributes:
        generation_id: None if retention has taken the generation.
        model: what wrote it; None as well.
    """

    prompt: PromptRef
    generation_id: str | None
    model: str | None


@dataclass(frozen=True, slots=True)
class PromptTotals:
    """What one wording of a prompt earned since the ledger began.

    Attributes:
        generations: requests answered with it.
        tips: tips it wrote.
        decisions: decisions that picked one of them.
        reward_sums: rewards that these decisions got and that taught.
    """

    prompt: PromptRef
    generations: int = 0
    tips: int = 0
    decisions: int = 0
    reward_sums: RewardSums = field(default_factory=RewardSums)


class PromptInsert(NamedTuple):
    """A row of ``prompts``."""

    id: int
    name: str
    version: str
    digest: str


class GenerationInsert(NamedTuple):
    """A row of ``generations``; see ``generations.sql`` for each column."""

    seq: int
    nonce: str
    uid: int
    prompt: int
    chosen: Chooser
    propensity: float | None
    source: str
    model: str
    requested: int
    tips: str
    prompt_tokens: int
    completion_tokens: int
    tries: int
    tasks_left_out: int
    client: str
    ts: float


INSERT_PROMPT = build_insert("prompts", PromptInsert, verb="INSERT OR IGNORE")
INSERT_GENERATION = build_insert("generations", GenerationInsert)


class PromptIds:
    """Row ids of prompts, handed out as they are first used."""

    def __init__(self) -> None:
        self._ids: dict[PromptRef, int] = {}

    def load(self, connection: sqlite3.Connection) -> None:
        """Read those of the ledger."""
        query = "SELECT name, version, digest, id FROM prompts"
        self._ids = {PromptRef(*ref): row_id for *ref, row_id in connection.execute(query)}

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever generated."""
        return not self._ids

    def get_row(self, prompt: PromptRef) -> PromptInsert:
        """The row of ``prompts``; to go with every generation, so that a commit that failed leaves no gap."""
        row_id = self._ids.get(prompt)
        if row_id is None:
            row_id = self._ids[prompt] = max(self._ids.values(), default=0) + 1
        return PromptInsert(row_id, prompt.name, prompt.version, prompt.digest)


def build_generation_row(generation: LoggedGeneration, uid: int, prompt_id: int) -> GenerationInsert:
    """A generation as a row of ``generations``."""
    return GenerationInsert(
        seq=generation.seq,
        nonce=get_nonce(generation.generation_id),
        uid=uid,
        prompt=prompt_id,
        chosen=generation.chosen,
        propensity=generation.propensity,
        source=generation.source,
        model=generation.model,
        requested=generation.requested,
        tips=json.dumps(generation.tips, ensure_ascii=False),
        prompt_tokens=generation.prompt_tokens,
        completion_tokens=generation.completion_tokens,
        tries=generation.tries,
        tasks_left_out=generation.tasks_left_out,
        client=generation.client,
        ts=generation.ts,
    )


def find_origin(connection: sqlite3.Connection, decision_seq: int) -> TipOrigin | None:
    """The generation that a decision's pick came from."""
    row = connection.execute(_ORIGIN, (decision_seq,)).fetchone()
    if row is None:
        return None
    name, version, digest, seq, nonce, model = row
    return TipOrigin(PromptRef(name, version, digest), None if seq is None else format_id(seq, nonce), model)


def load_prompt_totals(connection: sqlite3.Connection) -> list[PromptTotals]:
    """Totals of every prompt that was used, in order of first use: a row each, however long the ledger."""
    return [
        PromptTotals(PromptRef(name, version, digest), generations, tips, decisions, RewardSums(*earned))
        for name, version, digest, generations, tips, decisions, *earned in connection.execute(_TOTALS)
    ]


def build_sweeper(cutoff: int) -> Sweeper:
    """What deletes the generations up to ``cutoff``."""
    return Sweeper([_EXPIRED], until=cutoff)
