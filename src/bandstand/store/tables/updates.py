"""Lessons: who learns from a reward, and from which features; the same live, in a rebuild and under undo."""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from bandstand.bandit.features import read_features
from bandstand.bandit.profile import Profile
from bandstand.errors import InvalidRequestError
from bandstand.store.records import LAST_SEQ, Array, Decision, PolicyRef, Reward, Updates
from bandstand.store.sqlite.packing import unpack_body
from bandstand.store.tables.policies import PolicyRegistry

_SELECT_DECISION = "SELECT policy, body, pick FROM decisions WHERE seq = ?"
_Values = Mapping[str, Any]


def encode_picked_features(registry: PolicyRegistry, ref: PolicyRef, body: bytes, pick: int) -> Array:
    """The features x, shape (d,), that a logged decision's pick had."""
    return registry.encode(ref, *_parse_values(None, body, pick))


def encode_rewarded_features(
    registry: PolicyRegistry, ref: PolicyRef, features: bytes | None, body: bytes | None, pick: int | None
) -> Array:
    """The features x, shape (d,), that a logged reward was for: its own, or those of its decision's pick."""
    return registry.encode(ref, *_parse_values(features, body, pick))


def build_updates(
    registry: PolicyRegistry, ref: PolicyRef, seq: int, features: bytes | None, body: bytes | None, pick: int | None
) -> Updates:
    """Who learned from the reward ``seq`` of the policy ``ref``: that one first, then the policies in the shadow."""
    x = encode_rewarded_features(registry, ref, features, body, pick)
    return ((ref, x), *build_shadow_updates(registry, ref, seq, features, body, pick))


def list_learners(
    registry: PolicyRegistry, ref: PolicyRef, seq: int, features: bytes | None, body: bytes | None, pick: int | None
) -> tuple[PolicyRef, ...]:
    """Who those are; of a reward that was taken back, what the policy itself would have to read is not looked at."""
    return (ref, *(shadow for shadow, _ in build_shadow_updates(registry, ref, seq, features, body, pick)))


def build_shadow_updates(
    registry: PolicyRegistry, ref: PolicyRef, seq: int, features: bytes | None, body: bytes | None, pick: int | None
) -> Updates:
    """The policies in the shadow that the reward ``seq`` of the policy ``ref`` taught too.

    A request was checked against the fields that were configured when it came. A shadow policy that cannot read what it
    finds there learns nothing from it, nor does one with open features that cannot tell the context from the candidate.
    """
    shadows = registry.find_shadows(ref, seq)
    if features is not None:
        shadows = [shadow for shadow in shadows if not registry.get_schema(shadow).is_open]
    if not shadows:
        return ()
    values = _parse_values(features, body, pick)
    x = {shadow.schema: _try_encode(registry, shadow, *values) for shadow in shadows}
    return tuple((shadow, row) for shadow in shadows if (row := x[shadow.schema]) is not None)


def load_shadow_updates(connection: sqlite3.Connection, registry: PolicyRegistry, seq: int) -> Updates:
    """The policies in the shadow that a reward of this decision will teach; none where it is gone."""
    row = connection.execute(_SELECT_DECISION, (seq,)).fetchone()
    return () if row is None else build_shadow_updates(registry, registry.get_ref(row[0]), LAST_SEQ, None, *row[1:])


def get_shadow_updates(
    registry: PolicyRegistry, ref: PolicyRef, features: bytes | None, decision: Decision | None
) -> Updates:
    """The policies in the shadow that a new reward of ``ref`` teaches, by its own features or its decision."""
    if features is not None:
        return build_shadow_updates(registry, ref, LAST_SEQ, features, None, None) if registry.get_shadows() else ()
    return () if decision is None else decision.shadow_updates or ()


def apply_reward(registry: PolicyRegistry, profile: Profile, reward: Reward) -> bool:
    """Fold a reward into what its policy, and those in the shadow, know of its user; one that is not applied, not.

    Returns:
        As :meth:`bandstand.bandit.policy_state.PolicyState.set_clock_back`.
    """
    if not reward.applied or reward.x is None:
        return True
    exact = _apply_update(registry, profile, reward, reward.policy, reward.x)
    for ref, x in reward.shadow_updates:
        exact = _apply_update(registry, profile, reward, ref, x) and exact
    return exact


def _apply_update(registry: PolicyRegistry, profile: Profile, reward: Reward, ref: PolicyRef, x: Array) -> bool:
    half_life, since = registry.get_memory(ref.name)
    return profile.apply_reward(reward.seq, ref.key, reward.ts, x, reward.value, reward.weight, half_life, since)


def _parse_values(features: bytes | None, body: bytes | None, pick: int | None) -> tuple[_Values, _Values]:
    """The raw context, and the raw features of what was rewarded."""
    if features is None:
        request: dict[str, Any] = json.loads(unpack_body(body or b""))
        return request.get("context", {}), read_features(request["candidates"][pick or 0])
    legacy = json.loads(features)
    # Under another schema of the name, context may be read from what was sent as a feature.
    return legacy["features"] | legacy["context"], legacy["features"]


def _try_encode(registry: PolicyRegistry, ref: PolicyRef, context: _Values, features: _Values) -> Array | None:
    schema = registry.get_schema(ref)
    for fields, values in ((schema.context_fields, context), (schema.candidate_fields, features)):
        if not all(field.is_valid(values[name]) for name, field in fields.items() if name in values):
            return None
    try:
        return registry.encode(ref, context, features)
    except InvalidRequestError:  # too large to learn from
        return None
