"""The words of the two calls that a product makes all day, and what a fallback says in place of an answer."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bandstand_client.errors import BandstandError

if TYPE_CHECKING:
    from bandstand_client.learning_answers import RankedCandidate

Action = Literal["done", "snooze", "dismiss"]
FallbackReason = Literal["circuit-open", "deadline", "unreachable", "broken-off", "overloaded", "failed", "unlogged"]

_PREFIXES = ("fallback-", "unlogged-")


class Scored(NamedTuple):
    """What became of a ``score``, before it is given the product's own candidate."""

    id: str
    picked: int
    propensity: float | None = None
    score: float | None = None
    policy: str | None = None
    exploring: bool = False
    ranking: "tuple[RankedCandidate, ...]" = ()
    fallback: FallbackReason | None = None
    error: BandstandError | None = None
    extra: Mapping[str, Any] = MappingProxyType({})


def find_withheld_reason(decision_id: str) -> Literal["fallback", "unlogged"] | None:
    """Why rewards of a decision go nowhere, as its id says, also after it went through a page; None where they count.

    Example:
        >>> find_withheld_reason("fallback-0197"), find_withheld_reason("0197")
        ('fallback', None)
    """
    if not decision_id.startswith(_PREFIXES):
        return None
    return "fallback" if decision_id.startswith(_PREFIXES[0]) else "unlogged"
