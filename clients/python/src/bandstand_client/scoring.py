"""From the answer of a ``/score`` to what the product is told."""

from typing import TYPE_CHECKING, Any

from bandstand_client.call import build_parser
from bandstand_client.errors import BandstandError, BrokenOffError, NoAnswerError, ProblemError, UnreachableError
from bandstand_client.learning import FallbackReason, Scored

if TYPE_CHECKING:
    from bandstand_client.learning_answers import RankedCandidate

_SCORE_FIELDS = frozenset({"tip_id", "score", "policy", "decision_id", "propensity", "exploring", "ranking"})
_TOO_SLOW, _TOO_MANY, _BROKEN, _UNAVAILABLE = 408, 429, 500, 503


def parse_scored(answer: Any, ids: list[str], asked_id: str) -> Scored:
    """Read what was picked.

    Raises:
        KeyError, TypeError, ValueError: it is no answer to what was asked.
    """
    picked = ids.index(answer["tip_id"])
    decision_id = answer["decision_id"]
    if decision_id not in {asked_id, None}:
        raise ValueError("another decision than was asked for")
    ranking = answer.get("ranking") or ()
    return Scored(
        id=asked_id if decision_id is not None else f"unlogged-{asked_id}",
        picked=picked,
        propensity=float(answer["propensity"]),
        score=float(answer["score"]),
        policy=str(answer["policy"]),
        exploring=bool(answer["exploring"]),
        ranking=_parse_ranking(ranking) if ranking else (),
        fallback=None if decision_id is not None else "unlogged",
        error=None,
        extra={name: value for name, value in answer.items() if name not in _SCORE_FIELDS},
    )


def _parse_ranking(ranking: Any) -> "tuple[RankedCandidate, ...]":
    from bandstand_client.learning_answers import RankedCandidate

    return tuple(map(build_parser(RankedCandidate), ranking))


def find_fallback_reason(error: BandstandError) -> FallbackReason | None:
    """What to call a score without an answer; None where the caller must hear of it."""
    if isinstance(error, UnreachableError):
        return "unreachable"
    if isinstance(error, BrokenOffError):
        return "broken-off"
    if isinstance(error, NoAnswerError):
        return "deadline"
    if isinstance(error, ProblemError):
        if error.status in {_UNAVAILABLE, _TOO_MANY}:
            return "overloaded"
        return "failed" if error.status >= _BROKEN or error.status == _TOO_SLOW else None
    return "failed"
