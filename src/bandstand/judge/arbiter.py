"""The arbiter: whether to ask an LLM, and what is decided without it. Contract A7.

It compares what a rule says with what a semantic search or text model says of the same message; it knows nothing of
where the two come from, so it serves intents of any kind.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, NamedTuple, Self

from bandstand.definition import describe_unknown, is_number
from bandstand.errors import FieldError, InvalidRequestError

TriggerReason = Literal["", "disabled", "rule_semantic_conflict", "gray_zone", "multi_intent"]

THRESHOLDS: Final = ("conflict_threshold", "min_trigger_threshold", "gray_zone_threshold", "multi_intent_threshold")
"""The settings a single request may override."""

_DIGITS: Final = 12
"""Differences are compared to so many decimals: 0.7 − 0.5 is no less than 0.2, though floating point says so."""


class RuleSignal(NamedTuple):
    """What a rule says: an intent's id and how sure the rule is, in [0, 1].

    Attributes:
        rule_id: the intent.
        score: how sure.
        name: the intent's name, if known.
        description: what it means, if known.
    """

    rule_id: str
    score: float
    name: str = ""
    description: str = ""


class IntentCandidate(NamedTuple):
    """An intent that the message may have, with its semantic score in [0, 1]."""

    id: str
    name: str
    description: str
    score: float


class Trigger(NamedTuple):
    """Whether to ask the LLM, and why."""

    triggered: bool
    reason: TriggerReason


@dataclass(frozen=True, slots=True)
class ArbiterSettings:
    """When to ask, and how long to wait.

    Attributes:
        llm_judge_enabled: whether the LLM may be asked at all.
        conflict_threshold: rule and semantic search disagree at scores closer than this.
        min_trigger_threshold: below this score the LLM is never asked.
        gray_zone_threshold: below this the best score is not good enough alone.
        multi_intent_threshold: the two best candidates are closer than this.
        llm_judge_timeout_ms: the deadline.
    """

    llm_judge_enabled: bool = True
    conflict_threshold: float = 0.2
    min_trigger_threshold: float = 0.2
    gray_zone_threshold: float = 0.6
    multi_intent_threshold: float = 0.1
    llm_judge_timeout_ms: int = 2_000

    def with_overrides(self, config: Mapping[str, Any]) -> Self:
        """Return these settings with a request's own thresholds; nothing else can be overridden.

        Raises:
            InvalidRequestError: a key is no threshold, or its value no number from 0 to 1; names each.
        """
        faults = [
            FieldError(f"config.{key}", describe_unknown(key, THRESHOLDS)) for key in config if key not in THRESHOLDS
        ]
        faults += [
            FieldError(f"config.{key}", "must be a number from 0 to 1")
            for key, value in config.items()
            if key in THRESHOLDS and not (is_number(value) and 0 <= value <= 1)
        ]
        if faults:
            raise InvalidRequestError("config may hold thresholds only", faults)
        return type(self)(**{**asdict(self), **config})

    @classmethod
    def list_names(cls) -> tuple[str, ...]:
        """Return the names of all settings."""
        return tuple(field.name for field in fields(cls))


@dataclass(frozen=True, slots=True, kw_only=True)
class Arbitration:
    """What was decided.

    Attributes:
        intent_id: the intent; None if nothing could be decided.
        intent_name: its name.
        score: how sure, in [0, 1].
        reasoning: one line for people; never the text of an exception.
        duration_ms: what the LLM took.
        tokens_used: what the LLM read and wrote.
        triggered: whether the LLM was asked.
        trigger_reason: why; empty if it was not.
    """

    intent_id: str | None
    intent_name: str | None
    score: float
    reasoning: str
    duration_ms: float
    tokens_used: int
    triggered: bool
    trigger_reason: TriggerReason

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def should_trigger(
    rule: RuleSignal | None, semantic: Sequence[IntentCandidate], settings: ArbiterSettings | None = None
) -> Trigger:
    """Decide whether to ask the LLM; the checks and their order are contract A7's.

    Args:
        rule: what the rules say, if anything.
        semantic: the candidates, best first.
        settings: the defaults if left out.

    >>> should_trigger(RuleSignal("refund", 0.7), [IntentCandidate("cancel", "Cancel", "", 0.6)])
    Trigger(triggered=True, reason='rule_semantic_conflict')
    """
    settings = settings or ArbiterSettings()
    if not settings.llm_judge_enabled:
        return Trigger(triggered=False, reason="disabled")
    by_rule = rule.score if rule else 0.0
    by_meaning = semantic[0].score if semantic else 0.0
    if (
        rule
        and by_rule > 0
        and by_meaning > 0
        and rule.rule_id != semantic[0].id
        and _is_within(by_rule, by_meaning, settings.conflict_threshold)
    ):
        return Trigger(triggered=True, reason="rule_semantic_conflict")
    if settings.min_trigger_threshold < max(by_rule, by_meaning) < settings.gray_zone_threshold:
        return Trigger(triggered=True, reason="gray_zone")
    if len(semantic) > 1 and _is_within(semantic[0].score, semantic[1].score, settings.multi_intent_threshold):
        return Trigger(triggered=True, reason="multi_intent")
    return Trigger(triggered=False, reason="")


def merge_candidates(rule: RuleSignal | None, semantic: Sequence[IntentCandidate]) -> list[IntentCandidate]:
    """Return every intent that may be chosen: the rule's first, if it is not among the semantic candidates.

    Args:
        rule: what the rules say, if anything.
        semantic: the candidates, best first.
    """
    if rule is None or any(candidate.id == rule.rule_id for candidate in semantic):
        return list(semantic)
    return [IntentCandidate(rule.rule_id, rule.name or rule.rule_id, rule.description, rule.score), *semantic]


def not_triggered(
    rule: RuleSignal | None, semantic: Sequence[IntentCandidate], reason: TriggerReason = ""
) -> Arbitration:
    """Decide without the LLM: the intent with the higher score, the rule's if they are equal.

    None if there is no candidate.

    Args:
        rule: what the rules say, if anything.
        semantic: the candidates, best first.
        reason: from :func:`should_trigger`.
    """
    names = {candidate.id: candidate.name for candidate in merge_candidates(rule, semantic)}
    if rule and (not semantic or rule.score >= semantic[0].score):
        intent_id, score, reasoning = rule.rule_id, rule.score, "the rule's score is the higher"
    elif semantic:
        intent_id, score, reasoning = semantic[0].id, semantic[0].score, "the best candidate's score is the higher"
    else:
        return _build_arbitration(None, None, 0.0, "no rule and no candidate", reason=reason)
    return _build_arbitration(intent_id, names.get(intent_id, intent_id), score, reasoning, reason=reason)


def decided(
    semantic: Sequence[IntentCandidate],
    intent_id: object,
    score: object,
    reasoning: str,
    *,
    reason: TriggerReason,
    duration_ms: float,
    tokens_used: int,
) -> Arbitration:
    """Check the LLM's choice: an id that is no candidate's, or a score out of range, decides nothing.

    Args:
        semantic: the candidates it was given.
        intent_id: the id it chose.
        score: the score it gave.
        reasoning: why, in its words.
        reason: why it was asked.
        duration_ms: what it took.
        tokens_used: what it read and wrote.
    """
    names = {candidate.id: candidate.name for candidate in semantic}
    if not isinstance(intent_id, str) or intent_id not in names or not (is_number(score) and 0 <= score <= 1):
        return undecided(reason, "the model chose none of the candidates", duration_ms, tokens_used)
    return _build_arbitration(
        intent_id,
        names[intent_id],
        float(score),
        reasoning,
        reason=reason,
        triggered=True,
        duration_ms=duration_ms,
        tokens_used=tokens_used,
    )


def undecided(reason: TriggerReason, why: str, duration_ms: float, tokens_used: int = 0) -> Arbitration:
    """Return the outcome of an LLM that failed: no intent, score 0, and the service continues.

    Args:
        reason: why it was asked.
        why: what failed, in words of ours; never the text of an exception.
        duration_ms: what it took.
        tokens_used: what it read and wrote.
    """
    return _build_arbitration(
        None, None, 0.0, why, reason=reason, triggered=True, duration_ms=duration_ms, tokens_used=tokens_used
    )


def _is_within(a: float, b: float, threshold: float) -> bool:
    return round(math.fabs(a - b), _DIGITS) < threshold


def _build_arbitration(
    intent_id: str | None,
    intent_name: str | None,
    score: float,
    reasoning: str,
    *,
    reason: TriggerReason,
    triggered: bool = False,
    duration_ms: float = 0.0,
    tokens_used: int = 0,
) -> Arbitration:
    return Arbitration(
        intent_id=intent_id,
        intent_name=intent_name,
        score=score,
        reasoning=reasoning,
        duration_ms=duration_ms,
        tokens_used=tokens_used,
        triggered=triggered,
        trigger_reason=reason,
    )
