"""Vowpal Wabbit's decision service JSON (dsjson), as the Azure RecordedDecision Service and Personalizer wrote it too.

``a`` holds the actions' numbers from 1 in the order in which they were ranked, the pick first, and ``p`` their
probabilities *in that order*; ``c._multi`` holds the actions themselves in the order of their numbers. The label is a
cost, so the reward is its negative. An event that was never activated teaches nobody, and is left out.

Source: vowpalwabbit/parse_example_json.h and the DSJSON page of the project's wiki.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.files.forms.form import (
    EVERYBODY,
    LateReward,
    RecordedDecision,
    flatten,
    parse_timestamp,
    read_index,
    read_number,
)

_COST: Final = ("_label_cost", "_label_Cost")
_PROBABILITY: Final = ("_label_probability", "_label_Probability")
_NO_CONTEXT: Final = "_"
_SLOTS: Final = ("_slots", "_outcomes")
_ROUNDING: Final = 1e-9


class DsjsonForm:
    """dsjson, and Vowpal Wabbit's plain JSON with a label."""

    name: ClassVar = "dsjson"

    def __init__(self) -> None:
        self._dropped: float | None = None

    @classmethod
    def recognises(cls, names: Collection[str]) -> bool:
        """A label of a cost, or a context with ranked actions."""
        return any(name in names for name in (*_COST, *_PROBABILITY)) or {"c", "a", "p"} <= set(names)

    def survey(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Every record is independent of the others."""

    def parse(self, record: Mapping[str, Any]) -> Iterator[RecordedDecision | LateReward]:
        """Read a decision with its cost; an event without a decision gives nothing.

        Raises:
            EvaluationError: it is a decision of another kind (slots, continuous actions), or contradicts itself.
        """
        context = record.get("c", record)
        if "_label_ca" in record or any(name in record or name in context for name in _SLOTS):
            raise EvaluationError("decisions over slots or continuous actions are not read")
        if "RewardValue" in record and "c" not in record:  # a reward whose decision this log does not have
            return
        if record.get("_skipLearn") is True:
            return
        actions = context.get("_multi") if isinstance(context, Mapping) else None
        if not isinstance(actions, list) or not actions:
            raise EvaluationError("c._multi: the actions are missing")
        self._check_dropped(record)
        ranked = _read_ranking(record, len(actions))
        pick = _read_pick(record, ranked, len(actions))
        propensities = _read_propensities(record, ranked, len(actions))
        propensity = next((read_number(record, name) for name in _PROBABILITY if record.get(name) is not None), None)
        if propensity is None:
            if not propensities:
                raise EvaluationError("_label_probability: is missing, and so is p")
            propensity = propensities[pick]
        if not 0 < propensity <= 1 + _ROUNDING:
            raise EvaluationError("_label_probability: is not in (0, 1]")
        cost = next((read_number(record, name) for name in _COST if record.get(name) is not None), None)
        shared = {name: value for name, value in context.items() if name not in record or not name.startswith("_label")}
        yield RecordedDecision(
            user_id=EVERYBODY,
            context=flatten({name: value for name, value in shared.items() if not name.startswith(_NO_CONTEXT)}),
            candidates=[_to_candidate(action, number) for number, action in enumerate(actions)],
            pick=pick,
            propensity=min(propensity, 1.0),
            propensities=propensities,
            reward=None if cost is None else 0.0 - cost,
            policy=_read_model(record),
            ts=parse_timestamp(record.get("Timestamp"), "Timestamp"),
        )

    def _check_dropped(self, record: Mapping[str, Any]) -> None:
        """Refuse events that were kept with different chances: as equals they would answer for other decisions."""
        dropped = read_number(record, "pdrop") if record.get("pdrop") is not None else 0.0
        self._dropped = dropped if self._dropped is None else self._dropped
        if not math.isclose(dropped, self._dropped, abs_tol=_ROUNDING):
            raise EvaluationError(f"pdrop: is {dropped:g}, and {self._dropped:g} before; such events are not weighed")


def _read_ranking(record: Mapping[str, Any], count: int) -> list[int]:
    """Return the actions' indexes in rank order; none where the event has no ranking."""
    ranked = record.get("a")
    if ranked is None:
        return []
    if not isinstance(ranked, list) or not all(isinstance(each, int) and 1 <= each <= count for each in ranked):
        raise EvaluationError(f"a: is no ranking of {count} actions by their numbers from 1")
    if len(set(ranked)) != len(ranked):
        raise EvaluationError("a: names an action twice")
    return [each - 1 for each in ranked]


def _read_pick(record: Mapping[str, Any], ranked: Sequence[int], count: int) -> int:
    """Return the pick's index, in which label and ranking must agree."""
    picks = {"a": ranked[0]} if ranked else {}
    if record.get("_labelIndex") is not None:
        picks["_labelIndex"] = read_index(record, "_labelIndex")
    if record.get("_label_Action") is not None and (number := read_index(record, "_label_Action")):
        picks["_label_Action"] = number - 1
    if not picks:
        raise EvaluationError("a: is missing, and so is _labelIndex")
    if len(set(picks.values())) > 1:
        raise EvaluationError(f"{' and '.join(picks)} name different actions")
    pick = next(iter(picks.values()))
    if pick >= count:
        raise EvaluationError("the pick is not one of the actions")
    return pick


def _read_propensities(record: Mapping[str, Any], ranked: Sequence[int], count: int) -> list[float]:
    """Return the probabilities in the order of the actions; those not ranked could not be picked."""
    probabilities = record.get("p")
    if probabilities is None or not ranked:
        return []
    if not isinstance(probabilities, list) or len(probabilities) != len(ranked):
        raise EvaluationError(f"p: is no list of {len(ranked)} probabilities, as a is of actions")
    found = [0.0] * count
    for index, each in zip(ranked, probabilities, strict=True):
        found[index] = read_number({"p": each}, "p")
    return found


def _to_candidate(action: object, number: int) -> dict[str, Any]:
    if not isinstance(action, Mapping):
        raise EvaluationError(f"c._multi.{number}: is no object")
    features = flatten({name: value for name, value in action.items() if not name.startswith(_NO_CONTEXT)})
    named = action.get("_tag", action.get("Tag", features.get("id", number + 1)))
    return {"id": str(named), "features": features}


def _read_model(record: Mapping[str, Any]) -> str:
    state = record.get("VWState")
    model = state.get("m") if isinstance(state, Mapping) else None
    return str(model) if model else "vw"
