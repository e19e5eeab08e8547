"""How a deployment judges turns, and how that goes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from bandstand.judge.gate import Gate
from bandstand.judge.taxonomy import Taxonomy
from bandstand.llm.chat import TokenUsage
from bandstand.llm.middleware.budget import DailyCaps
from bandstand.store.tables.judgements import TurnTexts

MAX_WAITING: Final = 10_000

TurnBound = Callable[[TurnTexts, str], TokenUsage]
"""The most tokens that a turn can cost under the taxonomy of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions:
    """How a deployment judges.

    Attributes:
        taxonomies: by name.
        default_taxonomy: the one of turns that name none.
        gate: what it makes of verdicts.
        enabled: whether turns are accepted.
        compute_bound: the most that a turn can cost; ``None`` if no LLM is ever asked.
        caps: what the LLM may cost in a day.
        shares_caps: whether these are for all processes that share the ledger.
        max_concurrent: turns and calls in the process.
        max_waiting: turns that may wait; beyond that none is taken.
        max_updates: turns of one user that may teach within an hour.
        wait_s: how long a caller may wait for a verdict.
    """

    taxonomies: Mapping[str, Taxonomy]
    default_taxonomy: str
    gate: Gate
    enabled: bool = True
    compute_bound: TurnBound | None = None
    caps: DailyCaps = field(default_factory=DailyCaps)
    shares_caps: bool = False
    max_concurrent: int = 32
    max_waiting: int = MAX_WAITING
    max_updates: int = 60
    wait_s: float = 180.0


class JudgeStatus(NamedTuple):
    """How judging goes, since the start.

    Attributes:
        outcomes: turns judged, by (policy, state, reason).
        waiting: turns without a verdict yet.
        tokens: of this UTC day, with what is reserved.
        usd: the same, in US dollars.
        over_budget: turns and calls for which there was no budget.
        deaths: times that the process died with work in it.
    """

    outcomes: Mapping[tuple[str, str, str], int]
    waiting: int
    tokens: int
    usd: float
    over_budget: int
    deaths: int
