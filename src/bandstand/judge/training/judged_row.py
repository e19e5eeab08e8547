"""A labelled turn, what a judge said of it, and what that would teach: what every measure is of."""

from dataclasses import dataclass

from bandstand.judge.gate import GateResult
from bandstand.judge.training.dataset import LabelledTurn
from bandstand.judge.verdict import Judged


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """One row, what the judge said of it, and what that would teach."""

    row: LabelledTurn
    judged: Judged
    applied: GateResult
