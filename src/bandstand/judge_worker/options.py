"""How a deployment judges turns, and how that goes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from bandstand.judge.gate import Gate
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge_worker.budget import Caps

MOST_WAITING: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgingOptions:
    """How a deployment judges.

    Attributes:
        taxonomies: by name.
        default: the one of turns that name none.
        gate: what it makes of verdicts.
        on: take turns at all.
        caps: of what the LLM may cost.
        most_at_once: turns and calls in the process.
        most_waiting: turns that may wait; beyond that none is taken.
        most_updates: turns of one user that may teach within an hour.
        wait_s: how long somebody may wait for a verdict.
    """

    taxonomies: Mapping[str, Taxonomy]
    default: str
    gate: Gate
    on: bool = True
    caps: Caps = field(default_factory=Caps)
    most_at_once: int = 32
    most_waiting: int = MOST_WAITING
    most_updates: int = 60
    wait_s: float = 180.0


class JudgeStanding(NamedTuple):
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
