"""Likings: what sets a user apart from a stranger, feature by feature, in words and one number each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandstand.bandit.features import FeatureSchema
from bandstand.store.records import Array

MAX_LIKINGS = 8

_NORMAL_QUANTILE = 1.959963984540054
_CYCLIC = "cyclic"
_FROM_LOW_TO_HIGH = frozenset({"clip", "scale"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Liking:
    """One way in which a user differs from a stranger.

    Attributes:
        words: what they like or do not.
        value: what it adds to the mean reward, over what it adds with a stranger: of a cycle at its best moment, of
            ``clip`` and ``scale`` over one unit of the encoded value, else where the feature is 1 instead of 0.
        half: of its interval of 95 %.
    """

    words: str
    value: float
    half: float

    @property
    def is_sure(self) -> bool:
        """Whether the interval does not hold zero."""
        return abs(self.value) > self.half


def list_likings(schema: FeatureSchema, difference: Array, covariance: Array) -> list[Liking]:
    """What sets a user apart, the surest first; nothing of schemas with blocks, whose weights are an arm's each.

    Args:
        schema: what the weights belong to.
        difference: the posterior's mean of θ less a stranger's, d numbers.
        covariance: the posterior's, d by d.
    """
    if schema.block_count:
        return []
    columns = {label: at for at, label in enumerate(schema.labels)}
    found = []
    for feature in schema.definition["features"]:
        places = [columns[label] for label in feature.get("labels", ()) if label in columns]
        if feature["encoding"] == _CYCLIC and len(places) == 2:  # noqa: PLR2004 (a sine and a cosine)
            found.append(_describe_cycle(feature, difference[places], covariance[np.ix_(places, places)]))
        else:
            found += [
                Liking(
                    words=_describe(feature, schema.labels[at]),
                    value=float(difference[at]),
                    half=_NORMAL_QUANTILE * math.sqrt(max(float(covariance[at, at]), 0.0)),
                )
                for at in places
            ]
    found.sort(key=lambda each: -abs(each.value) / (each.half or math.inf))
    return found[:MAX_LIKINGS]


def _describe(feature: Mapping[str, Any], label: str) -> str:
    words = label.replace("_", " ")
    return f"more {words}" if feature["encoding"] in _FROM_LOW_TO_HIGH else words


def _describe_cycle(feature: Mapping[str, Any], difference: Sequence[float] | Array, covariance: Array) -> Liking:
    """The best moment of a cycle and how much better than its mean it is: (s, c) is A = √(s² + c²) at atan2(s, c)."""
    sine, cosine = map(float, difference)
    size, period = math.hypot(sine, cosine), float(feature["period"])
    moment = round(period * math.atan2(sine, cosine) / (2.0 * math.pi)) % round(period)
    toward = np.array([sine, cosine]) / size if size else np.array([0.0, 1.0])
    field = str(feature["source"]).partition(".")[2].replace("_", " ")
    return Liking(
        words=f"{field} around {moment:g}",
        value=size,
        half=_NORMAL_QUANTILE * math.sqrt(max(float(toward @ covariance @ toward), 0.0)),
    )
