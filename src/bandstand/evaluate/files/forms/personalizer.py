"""Azure Personalizer's calls, logged one a line: Rank with its answer, Reward with its event.

A rank record is the request (``contextFeatures``, ``actions``, ``eventId``) together with the answer (``ranking`` of
ids with probabilities, ``rewardActionId``): in one object, or as ``request`` and ``response``. A reward is ``value``
under an ``eventId``, or stands in the rank record as ``reward``. Of several rewards of an event the first counts, which
is Personalizer's own rule unless it was told to sum. An event that was deferred and never rewarded was never activated,
as far as such a log tells, and is left out.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.files.forms.form import (
    EVERYBODY,
    LateReward,
    RecordedDecision,
    flatten,
    parse_timestamp,
    read_number,
)

_REWARD: Final = ("value", "reward", "rewardValue", "RewardValue")
_TIMES: Final = ("timestamp", "Timestamp", "ts", "time", "enqueuedTimeUtc", "EnqueuedTimeUtc")
_PARTS: Final = ("request", "response", "rank", "rankRequest", "rankResponse", "body")
_PERSONALIZER: Final = "personalizer"


class PersonalizerForm:
    """Rank and reward calls."""

    name: ClassVar = "personalizer"

    def __init__(self) -> None:
        self._rewards: dict[str, float] = {}
        self._passed: set[str] = set()

    @classmethod
    def recognises(cls, names: Collection[str]) -> bool:
        """A ranking, features of a context, or both halves of a call."""
        known = {"ranking", "contextFeatures", "rewardActionId", "rankRequest", "rankResponse"}
        return bool(known & set(names)) or {"request", "response"} <= set(names) or {"eventId", "value"} <= set(names)

    def survey(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Find the events' rewards: an estimate needs them with the decision, though they teach when they come."""
        for record in records:
            merged = _merge(record)
            if "actions" not in merged and merged.get("eventId") is not None:
                reward = _find_reward(merged)
                if reward is not None:
                    self._rewards.setdefault(str(merged["eventId"]), reward)

    def parse(self, record: Mapping[str, Any]) -> Iterator[RecordedDecision | LateReward]:
        """Read a rank call, or the first reward of an event.

        Raises:
            EvaluationError: it is neither.
        """
        merged = _merge(record)
        event_id = None if merged.get("eventId") is None else str(merged["eventId"])
        if "actions" not in merged:
            reward = _find_reward(merged)
            if event_id is None or reward is None:
                raise EvaluationError(
                    "is neither a rank call with its answer (actions, ranking) nor a reward (eventId, value)"
                )
            if event_id not in self._passed:
                self._passed.add(event_id)
                yield LateReward(event_id, self._rewards.get(event_id, reward), _find_time(merged))
            return
        own = _find_reward(merged)
        late = None if own is not None or event_id is None else self._rewards.get(event_id)
        reward = late if own is None else own
        if merged.get("deferActivation") is True and reward is None:
            return
        comes_later = late is not None and event_id not in self._passed
        yield replace(_to_decision(merged), reward=reward, rewarded_later=event_id if comes_later else None)


def _to_decision(merged: Mapping[str, Any]) -> RecordedDecision:
    ids, candidates = _read_actions(merged)
    ranking = merged.get("ranking")
    if not isinstance(ranking, list) or not ranking:
        raise EvaluationError("ranking: the answer to the rank call is missing")
    propensities = [0.0] * len(ids)
    for number, each in enumerate(ranking):
        if not isinstance(each, Mapping) or each.get("id") not in ids:
            raise EvaluationError(f"ranking.{number}: is not one of the actions")
        propensities[ids.index(each["id"])] = read_number(each, "probability")
    picked = merged.get("rewardActionId", ranking[0]["id"])
    if picked not in ids:
        raise EvaluationError("rewardActionId: is not one of the actions")
    pick = ids.index(picked)
    if not 0 < propensities[pick] <= 1:
        raise EvaluationError("ranking: the picked action's probability is not in (0, 1]")
    return RecordedDecision(
        user_id=str(merged.get("userId") or EVERYBODY),
        context=flatten(merged.get("contextFeatures") or {}),
        candidates=candidates,
        pick=pick,
        propensity=propensities[pick],
        propensities=propensities,
        policy=_PERSONALIZER,
        ts=_find_time(merged) or 0.0,
    )


def _read_actions(merged: Mapping[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    actions = merged["actions"]
    if not isinstance(actions, list) or not actions:
        raise EvaluationError("actions: there are none")
    candidates = []
    for number, action in enumerate(actions):
        if not isinstance(action, Mapping) or not isinstance(action.get("id"), str):
            raise EvaluationError(f"actions.{number}: is no action with an id")
        candidates.append({"id": action["id"], "features": flatten(action.get("features") or {})})
    ids = [candidate["id"] for candidate in candidates]
    if len(set(ids)) != len(ids):
        raise EvaluationError("actions: two have the same id")
    return ids, candidates


def _merge(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return both halves of a call as one object."""
    merged = {name: value for name, value in record.items() if name not in _PARTS}
    for part in _PARTS:
        if isinstance(record.get(part), Mapping):
            merged |= record[part]
    return merged


def _find_reward(merged: Mapping[str, Any]) -> float | None:
    name = next((name for name in _REWARD if merged.get(name) is not None), None)
    if name is None:
        return None
    if isinstance(merged[name], Mapping):  # the whole body of the call
        return read_number(merged[name], "value")
    return read_number(merged, name)


def _find_time(merged: Mapping[str, Any]) -> float | None:
    name = next((name for name in _TIMES if merged.get(name) is not None), None)
    return None if name is None else parse_timestamp(merged[name], name)
