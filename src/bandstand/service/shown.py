"""What was shown: decisions found by words of their contents, by candidate, by user and by time."""

from collections.abc import Sequence
from dataclasses import dataclass

from bandstand.errors import FieldError, InvalidRequestError
from bandstand.service.context import format_time
from bandstand.store.records import LAST_SEQ, first_seq_at, to_time
from bandstand.store.tables.console_queries import ConsoleSource
from bandstand.store.tables.shown import (
    MAX_SEARCHED,
    Among,
    DecisionPage,
    DecisionSearch,
    FoundCandidate,
    FoundDecision,
    split_words,
)
from bandstand.times import parse_bound

MAX_WORDS = 10
MAX_TEXT = 500
"""Characters of what is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuestion:
    """A search as the caller wrote it; an empty text does not narrow it.

    Attributes:
        words: all of them stand in one candidate's content.
        candidate_id: an id of a candidate.
        among: ``picked``, or ``offered`` for any candidate of a request.
        user_id: whom a decision was for.
        since: ISO 8601.
        until: the same; what was decided at that time is not found.
    """

    words: str = ""
    candidate_id: str = ""
    among: Among = "picked"
    user_id: str = ""
    since: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedCandidate:
    """A candidate that fits; no content where the request left it out, or the caller may not see it."""

    tip_id: str
    content: str | None
    source: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedDecision:
    """A decision that fits.

    Attributes:
        held: it was held back and never shown.
        matches: the candidates that fit, the first ten of them.
        reward: the value of the newest reward; ``None`` if none came.
        applied: whether it taught, and was not taken back since; ``None`` if none came.
        reason: why not.
    """

    decision_id: str
    user_id: str
    ts: str
    policy: str
    tip_id: str
    content: str | None
    source: str | None
    propensity: float
    exploring: bool
    held: bool
    reward: float | None
    applied: bool | None
    reason: str | None
    matches: Sequence[MatchedCandidate]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionMatches:
    """A page of decisions that fit, newest first.

    Attributes:
        next: the ``before`` of the next page; ``None`` if there is no further decision to look at.
        searched: how many were looked at for this page.
        reached: when the oldest of these was made; ``None`` for none.
        content_withheld: contents were left out, for the caller may not see them.
    """

    decisions: Sequence[MatchedDecision]
    next: int | None
    searched: int
    reached: str | None
    content_withheld: bool


async def find_decisions(
    sight: ConsoleSource,
    question: SearchQuestion,
    *,
    before: int = LAST_SEQ,
    limit: int = 50,
    scanned: int = MAX_SEARCHED,
    shows_content: bool = True,
) -> DecisionMatches:
    """Decisions that fit, newest first, among a bounded number of them.

    Args:
        sight: the ledger.
        question: what to look for.
        before: ``next`` of the previous page.
        limit: how many.
        scanned: among how many decisions.
        shows_content: with contents.

    Raises:
        InvalidRequestError: the question cannot be asked so.
    """
    found = await sight.search_decisions(parse_question(question), before, limit, scanned)
    return build_matches(found, shows_content=shows_content)


def build_matches(found: DecisionPage, *, shows_content: bool = True) -> DecisionMatches:
    """A page of the ledger, as it is answered."""
    return DecisionMatches(
        decisions=[_to_match(each, shows_content=shows_content) for each in found.decisions],
        next=found.next,
        searched=found.searched,
        reached=None if found.reached is None else format_time(to_time(found.reached)),
        content_withheld=not shows_content,
    )


def parse_question(question: SearchQuestion) -> DecisionSearch:
    """Parse a search into what to look for in the ledger.

    Raises:
        InvalidRequestError: the question cannot be asked so.
    """
    words = split_words(question.words)
    faults = [
        FieldError(name, f"at most {MAX_TEXT} characters")
        for name in ("words", "candidate_id", "user_id")
        if len(getattr(question, name)) > MAX_TEXT
    ]
    if len(words) > MAX_WORDS:
        faults.append(FieldError("words", f"at most {MAX_WORDS} words"))
    since, until = _parse_time("since", question.since, faults), _parse_time("until", question.until, faults)
    if faults:
        raise InvalidRequestError(f"{faults[0].field}: {faults[0].message}", faults)
    return DecisionSearch(
        words=words,
        candidate_id=question.candidate_id or None,
        among=question.among,
        user_id=question.user_id or None,
        since=0 if since is None else first_seq_at(since),
        until=LAST_SEQ if until is None else first_seq_at(until),
    )


def _parse_time(name: str, text: str, faults: list[FieldError]) -> float | None:
    if not text:
        return None
    try:
        return parse_bound(text)
    except ValueError as error:
        faults.append(FieldError(name, str(error)))
        return None


def _to_match(found: FoundDecision, *, shows_content: bool) -> MatchedDecision:
    shown = _to_matched_candidate(found.shown, shows_content=shows_content)
    return MatchedDecision(
        decision_id=found.decision_id,
        user_id=found.user_id,
        ts=format_time(found.ts),
        policy=found.policy,
        tip_id=shown.tip_id,
        content=shown.content,
        source=shown.source,
        propensity=found.propensity,
        exploring=found.exploring,
        held=found.held,
        reward=found.reward,
        applied=found.applied,
        reason=found.reason,
        matches=[_to_matched_candidate(each, shows_content=shows_content) for each in found.matches],
    )


def _to_matched_candidate(found: FoundCandidate, *, shows_content: bool) -> MatchedCandidate:
    return MatchedCandidate(tip_id=found.tip_id, content=found.content if shows_content else None, source=found.source)
