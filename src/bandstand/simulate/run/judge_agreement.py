"""How well a judge heard what users meant: confusion, what passed the gate, and what was taught with the wrong sign."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from bandstand.simulate.run.play import Past
from bandstand.simulate.world.chat import taxonomy

_Pairs = Mapping[tuple[str, str], int]


class Hearing:
    """Counts of what was meant, what was heard, and which sign of reward it taught."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str | None, int | None]] = Counter()

    def add(self, steps: Iterable[Past]) -> None:
        """Count steps in which somebody listened."""
        self._counts.update(
            (step.judged.reaction.action, step.heard.label, _sign(step.heard.reward))
            for step in steps
            if step.heard is not None
        )

    def summary(self) -> dict[str, Any]:
        """Say how often the judge was right, over all turns and over those that taught; None for nothing of nothing.

        ``sign_flips`` is the share whose reward has the sign opposite to what was meant: of all that was heard, by the
        label's reward, and under ``gated`` of all that was taught, by what it taught.
        """
        heard = [(true, said, taught, n) for (true, said, taught), n in self._counts.items() if said is not None]
        turns, taught_turns = self._counts.total(), sum(n for *_, taught, n in heard if taught is not None)
        return {
            "turns": turns,
            "unscored": turns - sum(n for *_, n in heard),
            "coverage": _ratio(taught_turns, turns),
            "labels": _agreement(_counted((true, said, n) for true, said, _, n in heard)),
            "polarity": _agreement(_counted((_side(true), _side(said), n) for true, said, _, n in heard)),
            "sign_flips": _ratio(
                sum(n for true, said, _, n in heard if _opposed(true, _sign(_reward(said)))), sum(n for *_, n in heard)
            ),
            "gated": {
                "polarity": _agreement(
                    _counted((_side(true), _side(said), n) for true, said, taught, n in heard if taught is not None)
                ),
                "sign_flips": _ratio(sum(n for true, _, taught, n in heard if _opposed(true, taught)), taught_turns),
            },
        }


def _agreement(pairs: _Pairs) -> dict[str, Any]:
    names = sorted({name for pair in pairs for name in pair})
    true = {name: sum(n for pair, n in pairs.items() if pair[0] == name) for name in names}
    said = {name: sum(n for pair, n in pairs.items() if pair[1] == name) for name in names}
    right = {name: pairs.get((name, name), 0) for name in names}
    scores = [2 * right[name] / (true[name] + said[name]) for name in names]
    return {
        "accuracy": _ratio(sum(right.values()), sum(true.values())),
        "macro_f1": _ratio(sum(scores), len(scores)),
        "negative_precision": _ratio(right.get("negative", 0), said.get("negative", 0)),
        "negative_recall": _ratio(right.get("negative", 0), true.get("negative", 0)),
        "confusion": {name: {other: pairs.get((name, other), 0) for other in names} for name in names},
    }


def _counted(rows: Iterable[tuple[str, str, int]]) -> _Pairs:
    pairs: Counter[tuple[str, str]] = Counter()
    for true, said, n in rows:
        pairs[true, said] += n
    return pairs


def _side(label: str) -> str:
    return taxonomy().label(label).polarity


def _reward(label: str) -> float:
    return taxonomy().label(label).reward


def _sign(reward: float | None) -> int | None:
    return None if reward is None else (reward > 0) - (reward < 0)


def _opposed(true: str, sign: int | None) -> bool:
    return (_side(true), sign) in {("negative", 1), ("positive", -1)}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
