"""What makes two requests the same: what is read of them, and nothing else.

Fields that nobody reads, defaults that are spelt out, a ``null``, the wish for a ranking, the order in which candidates
are excluded, or a candidate's text that no schema reads make no other request.
"""

import hashlib
import json
from collections.abc import Mapping
from json.encoder import c_make_encoder, encode_basestring_ascii  # type: ignore[attr-defined]  # typeshed has one of them
from typing import Any

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.features import Field, read_features

_EMPTY: Mapping[str, Any] = {}
_EMPTY_HASH = hashlib.blake2b(digest_size=16)  # to copy it takes half as long as to make one
_RARE_VALUES = frozenset({"reaction", "turn", "metrics"})
_VALUES = ("reward", *_RARE_VALUES)
_quote = encode_basestring_ascii
_encode_parts = c_make_encoder(
    markers=None,
    default=json.JSONEncoder().default,
    encoder=encode_basestring_ascii,
    indent=None,
    key_separator=": ",
    item_separator=", ",
    sort_keys=True,
    skipkeys=False,
    allow_nan=True,
)


def is_same_score_request(catalogue: Catalogue, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two requests to ``/score`` under one id read the same: user, context, candidates in their order."""
    return _read_score_request(catalogue, one) == _read_score_request(catalogue, other)


def hash_reward_request(catalogue: Catalogue, request: Mapping[str, Any]) -> bytes:
    """Hash what is read of a reward request to 16 bytes, by which a retry is told from a contradiction.

    With a ``decision_id`` the features are the decision's, and ``user_id`` and ``tip_id`` only have to agree with it
    (:func:`is_about`). Without one they are read, and so is what the features say beyond their defaults.
    """
    decision_id, value = request.get("decision_id"), request.get("reward")
    is_plain = type(value) is float and _RARE_VALUES.isdisjoint(request)
    if decision_id is not None:
        if is_plain:
            return _hash_text(f'{{"decision_id": {_quote(decision_id)}, "reward": {value!r}}}')
        return hash_body({**_read_values(request), "decision_id": decision_id})
    features, user_id, tip_id = _read_features(catalogue, request), request.get("user_id"), request.get("tip_id")
    if is_plain and user_id is not None and tip_id is not None:
        whom = f'"tip_id": {_quote(tip_id)}, "user_id": {_quote(user_id)}'
        return _hash_text(f'{{"features": {_to_canonical_json(features)}, "reward": {value!r}, {whom}}}')
    said = {name: of for name, of in (("user_id", user_id), ("tip_id", tip_id)) if of is not None}
    return hash_body({**_read_values(request), **said, "features": features})


def is_about(request: Mapping[str, Any], user_id: str, tip_id: str) -> bool:
    """Whether the user and the pick that a reward names, if it names any, are these; the pick is "" once it is gone."""
    return request.get("user_id", user_id) == user_id and (not tip_id or request.get("tip_id", tip_id) == tip_id)


def hash_body(request: Mapping[str, Any]) -> bytes:
    """16 bytes over a whole request, whatever the order of its fields; ledgers hold such of rewards from before."""
    return _hash_text(_to_canonical_json(request))


def _hash_text(text: str) -> bytes:
    hashed = _EMPTY_HASH.copy()
    hashed.update(text.encode())
    return hashed.digest()


def _to_canonical_json(value: object) -> str:
    """What ``json.dumps(value, sort_keys=True)`` returns, with an encoder that is made once and not for each call."""
    return "".join(_encode_parts(value, 0))


def _read_values(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a reward request gives of its value, or of what its value is made of."""
    return {name: _drop_nulls(value) for name in _VALUES if (value := request.get(name)) is not None}


def _read_features(catalogue: Catalogue, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is read of the features of a reward in the legacy form, which may be of the context or of the candidate."""
    features, day = request.get("features") or _EMPTY, request.get("day_of_week")
    context = features if day is None else {**features, "day_of_week": day}
    if catalogue.is_open:
        of_context = _drop_unread(catalogue, catalogue.context_fields, context)
        return {**of_context, **_drop_unread(catalogue, catalogue.candidate_fields, features)}
    if day is not None and "day_of_week" in catalogue.context_fields:
        features = context
    defaults = catalogue.defaults
    return {
        name: value
        for name, value in features.items()
        if name in defaults and value != defaults[name] and value is not None
    }


def _read_score_request(catalogue: Catalogue, request: Mapping[str, Any]) -> object:
    fields = catalogue.candidate_fields
    candidates = []
    for candidate in request["candidates"]:
        given = {**candidate, "features": candidate.get("features") or _EMPTY}
        candidates.append((candidate["id"], _drop_unread(catalogue, fields, read_features(given))))
    context = _drop_unread(catalogue, catalogue.context_fields, request.get("context") or _EMPTY)
    meant = frozenset(request.get("exclude") or ()), bool(request.get("defer"))
    return request.get("decision_id"), request["user_id"], context, candidates, *meant


def _drop_unread(catalogue: Catalogue, fields: Mapping[str, Field], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is read of the values: of an open schema, all of them."""
    read = _drop_defaults(fields, values)
    return _drop_nulls({**values, **dict.fromkeys(fields), **read}) if catalogue.is_open else read


def _drop_defaults(fields: Mapping[str, Field], values: Mapping[str, Any]) -> dict[str, Any]:
    """What the values say under the fields' names beyond their defaults."""
    return {
        name: value
        for name, field in fields.items()
        if (value := values.get(name)) is not None and value != field.default
    }


def _drop_nulls(value: Any) -> Any:
    if not isinstance(value, dict):  # what JSON has of mappings; to ask for any takes longer
        return value
    return {name: inner for name, inner in value.items() if inner is not None}
