"""How well a judge read what users meant: confusion, what passed the gate, and what was taught with the wrong sign."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from bandstand.simulate.run.play import PlayedStep
from bandstand.simulate.world.chat import load_taxonomy

_Pairs = Mapping[tuple[str, str], int]


class JudgeAgreement:
    """Counts of what was meant, what was read, and the sign of the reward that it taught."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str | None, int | None]] = Counter()

    def add(self, steps: Iterable[PlayedStep]) -> None:
        """Count steps in which a judge read a message."""
        self._counts.update(
            (step.judged.reaction.action, step.feedback.label, _compute_sign(step.feedback.reward))
            for step in steps
            if step.feedback is not None
        )

    def build_summary(self) -> dict[str, Any]:
        """Say how often the judge was right, over all turns and over those that taught; None for nothing of nothing.

        ``sign_flips`` is the share whose reward has the sign opposite to what was meant: of all that was heard, by the
        label's reward, and under ``gated`` of all that was taught, by what it taught.
        """
        heard = [(true, said, taught, n) for (true, said, taught), n in self._counts.items() if said is not None]
        turns, taught_turns = self._counts.total(), sum(n for *_, taught, n in heard if taught is not None)
        return {
            "turns": turns,
            "unscored": turns - sum(n for *_, n in heard),
            "coverage": _compute_ratio(taught_turns, turns),
            "labels": _compute_agreement(_count_pairs((true, said, n) for true, said, _, n in heard)),
            "polarity": _compute_agreement(
                _count_pairs((_get_polarity(true), _get_polarity(said), n) for true, said, _, n in heard)
            ),
            "sign_flips": _compute_ratio(
                sum(n for true, said, _, n in heard if _is_opposite(true, _compute_sign(_get_reward(said)))),
                sum(n for *_, n in heard),
            ),
            "gated": {
                "polarity": _compute_agreement(
                    _count_pairs(
                        (_get_polarity(true), _get_polarity(said), n)
                        for true, said, taught, n in heard
                        if taught is not None
                    )
                ),
                "sign_flips": _compute_ratio(
                    sum(n for true, _, taught, n in heard if _is_opposite(true, taught)), taught_turns
                ),
            },
        }


def _compute_agreement(pairs: _Pairs) -> dict[str, Any]:
    names = sorted({name for pair in pairs for name in pair})
    true = {name: sum(n for pair, n in pairs.items() if pair[0] == name) for name in names}
    said = {name: sum(n for pair, n in pairs.items() if pair[1] == name) for name in names}
    right = {name: pairs.get((name, name), 0) for name in names}
    scores = [2 * right[name] / (true[name] + said[name]) for name in names]
    return {
        "accuracy": _compute_ratio(sum(right.values()), sum(true.values())),
        "macro_f1": _compute_ratio(sum(scores), len(scores)),
        "negative_precision": _compute_ratio(right.get("negative", 0), said.get("negative", 0)),
        "negative_recall": _compute_ratio(right.get("negative", 0), true.get("negative", 0)),
        "confusion": {name: {other: pairs.get((name, other), 0) for other in names} for name in names},
    }


def _count_pairs(rows: Iterable[tuple[str, str, int]]) -> _Pairs:
    pairs: Counter[tuple[str, str]] = Counter()
    for true, said, n in rows:
        pairs[true, said] += n
    return pairs


def _get_polarity(label: str) -> str:
    return load_taxonomy().label(label).polarity


def _get_reward(label: str) -> float:
    return load_taxonomy().label(label).reward


def _compute_sign(reward: float | None) -> int | None:
    return None if reward is None else (reward > 0) - (reward < 0)


def _is_opposite(true: str, sign: int | None) -> bool:
    return (_get_polarity(true), sign) in {("negative", 1), ("positive", -1)}


def _compute_ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
