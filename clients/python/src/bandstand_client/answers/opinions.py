"""What the judge said when it was asked.

Written by ``tools/write_client.py`` from the service's ``openapi.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bandstand_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class TurnJudgement(Answer):
    """A verdict, and what the gate would make of it.

    Attributes:
        label: null where there is no verdict.
        confidence: after calibration; 0 where there is no verdict.
        reward: what it would teach.
        should_update: whether it would teach.
        unscored: why there is no verdict.
        target: what the message speaks of; null where the tier does not say.
        withheld: why it would not teach; empty where it would.
        prompt: the prompt that the LLM was asked with, and its hash.

    Example:
        >>> client.judge("Remind me to call mum.", "Done. Anything else?", "no").withheld
        ''
    """

    label: str | None = None
    confidence: float
    rationale: str
    reward: float
    should_update: bool
    unscored: (
        Literal[
            "timeout",
            "unavailable",
            "rejected",
            "circuit_open",
            "over_budget",
            "refusal",
            "truncated",
            "empty",
            "bad_json",
            "unknown_label",
            "bad_confidence",
            "no_signal",
            "unknown_target",
            "internal",
        ]
        | None
    ) = None
    target: Literal["behaviour", "content", "quoted", "historical", "other_person", "none"] | None = None
    withheld: Literal["", "unscored", "below_tau", "never_updates", "off_target"]
    taxonomy: str
    tier: str
    model: str
    prompt: str | None = None
    gate: Literal["hard", "soft"]
    tau: float
    calibration: str | None = None


@dataclass(frozen=True, kw_only=True)
class TurnJudgements(Answer):
    """The judgements.

    Attributes:
        judgements: in the order of the turns.

    Example:
        >>> client.judge("Remind me to call mum.", "Done. Anything else?", "no").taxonomy
        'followup-v1'
    """

    judgements: tuple[TurnJudgement, ...]


@dataclass(frozen=True, kw_only=True)
class FeedbackClassification(Answer):
    """Whether the message corrects the reply.

    Example:
        >>> client.classify_feedback("No, that's wrong.", "Paris is in Italy.").kind
        'explicit_rejection'
    """

    is_correction: bool
    kind: Literal["explicit_rejection", "alternative_request", "repetition", "self_correction", "neutral"]
    confidence: float
    reasoning: str
    tier: str
    model: str


@dataclass(frozen=True, kw_only=True)
class Arbitration(Answer):
    """The intent.

    Attributes:
        intent_id: null where nothing could be decided.
        triggered: whether the LLM was worth asking.

    Example:
        >>> client.arbitrate("home", "light, please").intent_id is None
        True
    """

    intent_id: str | None = None
    intent_name: str | None = None
    score: float
    reasoning: str
    duration_ms: float
    tokens_used: int
    triggered: bool
    trigger_reason: Literal["", "disabled", "rule_semantic_conflict", "gray_zone", "multi_intent"]
