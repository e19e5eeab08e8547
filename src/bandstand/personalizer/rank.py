"""Rank calls: what one asks, as a request of ours, and our answer in Personalizer's order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from bandstand.api.schemas.requests import MAX_ID, validate_id
from bandstand.errors import BandstandError, InvalidRequestError
from bandstand.personalizer.errors import PersonalizerError
from bandstand.personalizer.features import FeatureListError, merge_features

MAX_ACTIONS = 50
SOURCE = "personalizer"
"""The ``source`` of candidates that came as actions."""


@dataclass(frozen=True, slots=True)
class RankedAction:
    """An action and its features, merged."""

    id: str
    features: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RankCall:
    """A rank call, validated.

    Attributes:
        event_id: the caller's own, or a new one.
        is_own_id: it is the caller's own.
        context: its features, merged.
        actions: in the caller's order.
        excluded: ids of actions that may not be picked.
        deferred: nothing is taught of it before it is activated.
    """

    event_id: str
    is_own_id: bool
    context: Mapping[str, Any]
    actions: Sequence[RankedAction]
    excluded: frozenset[str]
    deferred: bool

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> "RankCall":
        """Read a body.

        Raises:
            PersonalizerError: it is no such call; says which part of it is at fault.
        """
        actions = parse_actions(body.get("actions"))
        excluded = parse_excluded(body.get("excludedActions"), "excludedActions") & {each.id for each in actions}
        if len(excluded) == len(actions):
            raise refuse_rank("excludedActions: at least one action must remain")
        event_id = parse_event_id(body.get("eventId"))
        return cls(
            event_id=event_id or str(uuid4()),
            is_own_id=event_id is not None,
            context=parse_context(body.get("contextFeatures")),
            actions=actions,
            excluded=excluded,
            deferred=parse_boolean(body.get("deferActivation"), "deferActivation"),
        )

    def to_score_request(self, user_id: str) -> dict[str, Any]:
        """The same as ``POST /score`` has it, as the ledger keeps it."""
        request: dict[str, Any] = {
            "user_id": user_id,
            "candidates": [to_candidate(action) for action in self.actions],
            "context": self.context,
            "decision_id": self.event_id,
        }
        if self.excluded:
            request["exclude"] = sorted(self.excluded)
        if self.deferred:
            request["defer"] = True
        return request


def refuse_rank(message: str) -> PersonalizerError:
    """The refusal of a rank call."""
    return PersonalizerError(400, "InvalidRankRequest", message)


def to_candidate(action: RankedAction) -> dict[str, Any]:
    """An action as a candidate of ours."""
    return {"id": action.id, "content": "", "source": SOURCE, "source_id": None, "features": action.features}


def parse_actions(value: object) -> list[RankedAction]:
    """The actions of a call.

    Raises:
        PersonalizerError: they are no list of 1 to 50 different actions with features.
    """
    if not isinstance(value, list) or not 0 < len(value) <= MAX_ACTIONS:
        raise refuse_rank(f"actions: must be a list of 1 to {MAX_ACTIONS} actions")
    actions = [_parse_action(each, f"actions[{number}]") for number, each in enumerate(value)]
    if len({action.id for action in actions}) < len(actions):
        raise refuse_rank("actions: ids must differ from each other")
    return actions


def _parse_action(value: object, place: str) -> RankedAction:
    if not isinstance(value, Mapping):
        raise refuse_rank(f"{place}: must be an object")
    action_id = parse_id(value.get("id"), f"{place}.id")
    features = parse_features(value.get("features"), f"{place}.features")
    if not features:
        raise refuse_rank(f"{place}.features: must hold at least one feature that is not null")
    return RankedAction(action_id, features)


def parse_features(value: object, place: str) -> dict[str, Any]:
    """A list of features, merged.

    Raises:
        PersonalizerError: it is none.
    """
    try:
        return merge_features(value)
    except FeatureListError as fault:
        raise refuse_rank(f"{place}: {fault}") from None


def parse_context(value: object) -> dict[str, Any]:
    """The context's features, merged; none where none are given.

    Raises:
        PersonalizerError: they are no list of features.
    """
    return {} if value is None else parse_features(value, "contextFeatures")


def parse_id(value: object, place: str) -> str:
    """An id.

    Raises:
        PersonalizerError: it is no text of 1 to 256 characters.
    """
    if isinstance(value, str) and value:
        try:
            return validate_id(value, place)
        except InvalidRequestError as error:
            raise refuse_rank(error.detail) from None
    raise refuse_rank(f"{place}: must be text of 1 to {MAX_ID} characters")


def parse_event_id(value: object) -> str | None:
    """The caller's own event id, if it brings one.

    Raises:
        PersonalizerError: it is none.
    """
    return None if value is None else parse_id(value, "eventId")


def parse_excluded(value: object, place: str) -> frozenset[str]:
    """The ids of excluded actions.

    Raises:
        PersonalizerError: they are no list of ids.
    """
    if value is None:
        return frozenset()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise refuse_rank(f"{place}: must be a list of action ids")
    return frozenset(value)


def parse_boolean(value: object, place: str) -> bool:
    """True or false; false if nothing is said.

    Raises:
        PersonalizerError: it is neither.
    """
    if value is None or isinstance(value, bool):
        return value is True
    raise refuse_rank(f"{place}: must be true or false")


def order_ranking(
    ids: Sequence[str], probabilities: Sequence[float], chosen: int, excluded: frozenset[str]
) -> list[int]:
    """The order in which an answer names the actions.

    An excluded action keeps its position. The others fill the remaining positions: first the chosen one, then by
    probability, equals in the caller's order.

    >>> order_ranking(["news", "sports", "fun"], [0.2, 0.0, 0.8], 2, frozenset({"sports"}))
    [2, 1, 0]
    """
    free = [index for index, each in enumerate(ids) if each not in excluded and index != chosen]
    free.sort(key=lambda index: -probabilities[index])
    rest = iter([chosen, *free])
    return [index if each in excluded else next(rest) for index, each in enumerate(ids)]


def to_rank_refusal(error: BandstandError) -> PersonalizerError:
    """Translate our refusal of a request for the caller of a rank call."""
    return refuse_rank(error.detail)
