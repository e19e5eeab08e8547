"""Symmetry: whether a judge finds complaints as often as praise, and how the gate biases the mean if not.

A turn is *feedback* where it truly takes a stand and, where it says what was chosen, truly speaks of a target that
teaches. Of feedback, the share that is right teaches the sign that it has; the wrong way round is the opposite one.

    bias of the gate = mean of the true rewards of the feedback that teaches − mean of those of all feedback
    bias of what is taught = mean of the rewards taught by feedback − mean of the true rewards of all feedback

A gate that keeps 40 % of the complaints away and 10 % of the praise turns a mean of 0.00 into +0.16.
"""

from collections.abc import Sequence
from importlib import resources
from typing import Any, Final, NamedTuple

from bandstand.judge.taxonomy import Polarity, Taxonomy
from bandstand.judge.training.bootstrap import estimate_error
from bandstand.judge.training.judged_row import JudgedRow
from bandstand.judge.verdict import Verdict

HALVES: Final = ("built", "kept")
"""Of the shipped set: the one that rules were written against, and the one kept back, as far as docs/judge.md says."""


class _Stand(NamedTuple):
    """A turn's true stand, −1, 0 or 1, with its true reward; and the stand and the reward that it teaches."""

    true: int
    reward: float
    taught: int
    taught_reward: float
    kind: str
    language: str


def read_balanced_set(half: str | None = None) -> list[str]:
    """Return the lines of the shipped balanced set, or of one of its halves: JSON objects as of a file of turns.

    Args:
        half: one of :data:`HALVES`.
    """
    text = resources.files("bandstand.judge").joinpath("data", "balanced.jsonl").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if half is None or f'"half": "{half}"' in line]


def measure_symmetry(outcomes: Sequence[JudgedRow], taxonomy: Taxonomy) -> dict[str, Any]:
    """Return one JSON object; a ratio of nothing to nothing is null, and each error is by bootstrap over turns.

    ``praise``, ``complaint`` and ``none`` count turns by their true stand; ``right``, ``wrong_way`` (of all turns) and
    ``false_teaching`` (of those that are no feedback) are shares; ``gate_bias`` and ``bias`` are as above.
    """
    stands = [_read_stand(outcome, taxonomy) for outcome in outcomes if outcome.row.polarity is not None]
    measures = {
        "right": _compute_right,
        "wrong_way": _compute_wrong_way,
        "false_teaching": _compute_false_teaching,
        "gate_bias": _compute_gate_bias,
        "bias": _compute_bias,
    }
    return {
        "n": len(stands),
        **{name: _count(stands, true) for name, true in (("praise", 1), ("complaint", -1), ("none", 0))},
        **{
            name: {"value": measure(stands), "error": estimate_error(stands, measure)}
            for name, measure in measures.items()
        },
        "kinds": _group(stands, "kind"),
        "languages": _group(stands, "language"),
    }


def _read_stand(outcome: JudgedRow, taxonomy: Taxonomy) -> _Stand:
    row, applied = outcome.row, outcome.applied
    is_on_target = not row.turn.about or row.target is None or row.target in taxonomy.taught_targets
    true = _SIGNS[row.polarity or "other"] if is_on_target else 0
    label = taxonomy.label(outcome.judged.label) if isinstance(outcome.judged, Verdict) else None
    taught = _SIGNS[label.polarity] if label and applied.should_update else 0
    reward = taxonomy.label(row.label).reward if row.label else _compute_mean_reward(row.polarity, taxonomy)
    return _Stand(true, reward if true else 0.0, taught, applied.reward if taught else 0.0, row.kind, row.language)


_SIGNS: Final[dict[Polarity, int]] = {"negative": -1, "positive": 1, "other": 0}


def _compute_mean_reward(polarity: Polarity | None, taxonomy: Taxonomy) -> float:
    rewards = [label.reward for label in taxonomy.labels if label.polarity == polarity]
    return sum(rewards) / len(rewards) if rewards else 0.0


def _count(stands: Sequence[_Stand], true: int) -> dict[str, int]:
    taught = [each.taught for each in stands if each.true == true]
    return {
        "n": len(taught),
        "right": sum(sign == true for sign in taught),
        "wrong_way": sum(sign * true < 0 for sign in taught),
    }


def _group(stands: Sequence[_Stand], by: str) -> dict[str, dict[str, Any]]:
    names = sorted({name for each in stands if (name := getattr(each, by))})
    return {
        name: {
            stand: _count([each for each in stands if getattr(each, by) == name], true)
            for stand, true in (("praise", 1), ("complaint", -1), ("none", 0))
        }
        for name in names
    }


def _compute_right(stands: Sequence[_Stand]) -> float | None:
    feedback = [each for each in stands if each.true]
    return _compute_mean([float(each.taught == each.true) for each in feedback])


def _compute_wrong_way(stands: Sequence[_Stand]) -> float | None:
    return _compute_mean([float(each.taught * each.true < 0) for each in stands])


def _compute_false_teaching(stands: Sequence[_Stand]) -> float | None:
    return _compute_mean([float(each.taught != 0) for each in stands if not each.true])


def _compute_gate_bias(stands: Sequence[_Stand]) -> float | None:
    every, taught = (
        _compute_mean([each.reward for each in stands if each.true]),
        _compute_mean([each.reward for each in stands if each.true and each.taught]),
    )
    return None if every is None or taught is None else taught - every


def _compute_bias(stands: Sequence[_Stand]) -> float | None:
    every, taught = (
        _compute_mean([each.reward for each in stands if each.true]),
        _compute_mean([each.taught_reward for each in stands if each.true and each.taught]),
    )
    return None if every is None or taught is None else taught - every


def _compute_mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
