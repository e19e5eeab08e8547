"""Inference explanations: what each feature adds to the best action's mean reward."""

from collections.abc import Mapping
from typing import Any

from bandstand.bandit.features import FeatureSchema
from bandstand.service.explanation import explain_candidate
from bandstand.store.records import Array

_SIDES = ("context.", "candidate.")
_PAIR = " × "


def build_explanation(
    schema: FeatureSchema, theta: Array, context: Mapping[str, Any], candidate: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The features of one action by what they add, the largest in size first; pairs are called ``a^b``.

    Args:
        schema: what encodes it.
        theta: of the shape of the schema's weights.
        context: raw values.
        candidate: raw values.
    """
    contributions = explain_candidate(schema, theta, context, candidate).contributions
    return [{"name": to_feature_name(each.name), "score": each.contribution} for each in contributions]


def to_feature_name(name: str) -> str:
    """A part's name as Personalizer has it: without sides and values.

    >>> to_feature_name("context.user.kind=new × candidate.price")
    'user.kind^price'
    """
    return "^".join(_strip_side(part).partition("=")[0] for part in name.split(_PAIR))


def _strip_side(name: str) -> str:
    side = next((side for side in _SIDES if name.startswith(side)), "")
    return name.removeprefix(side)
