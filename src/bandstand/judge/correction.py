"""Corrections: whether a user's message corrects the assistant's previous reply, and how. Contract A6."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

from bandstand.errors import ConfigurationError
from bandstand.judge.gate import TAU
from bandstand.judge.taxonomy import shipped_taxonomy
from bandstand.judge.turn import CORRECTION_LIMITS, CutTurn, Turn
from bandstand.judge.verdict import Verdict

TAXONOMY: Final = shipped_taxonomy("correction-v1")


@dataclass(frozen=True, slots=True)
class Correction:
    """How a message corrects a reply.

    Attributes:
        is_correction: whether it speaks against the reply.
        kind: a label of ``correction-v1``.
        confidence: in [0, 1].
        reasoning: one line for people.
    """

    is_correction: bool
    kind: str
    confidence: float
    reasoning: str

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def build_correction_turn(message: str, previous_reply: str) -> CutTurn:
    """Return a user's message and the reply before it, cut to 1,000 and 500 code points, as a tier takes them."""
    return Turn("", previous_reply, message).cut(CORRECTION_LIMITS)


def build_correction(kind: str, confidence: float, reasoning: str, threshold: float = TAU) -> Correction:
    """Judge what a tier said by the contract's rules.

    The confidence is clamped to [0, 1]. A correction below the threshold becomes ``neutral`` and none; what is no
    correction keeps its kind at any confidence. Users who correct themselves correct nobody else.

    Args:
        kind: a label of ``correction-v1``.
        confidence: any number.
        reasoning: one line for people.
        threshold: per request.

    Raises:
        ConfigurationError: the kind is unknown.
        ValueError: the confidence is NaN, which is no confidence.
    """
    if math.isnan(confidence):
        raise ValueError("NaN is no confidence")
    confidence = min(max(confidence, 0.0), 1.0)
    corrects = TAXONOMY.label(kind).polarity == "negative"
    if corrects and confidence < threshold:
        return Correction(is_correction=False, kind=TAXONOMY.neutral.name, confidence=confidence, reasoning=reasoning)
    return Correction(is_correction=corrects, kind=kind, confidence=confidence, reasoning=reasoning)


def build_empty_correction() -> Correction:
    """Return what a message that says nothing is: no correction, and surely none."""
    return Correction(
        is_correction=False, kind=TAXONOMY.neutral.name, confidence=1.0, reasoning="the message says nothing"
    )


def to_correction(verdict: Verdict, threshold: float = TAU) -> Correction:
    """Judge a verdict under ``correction-v1`` by the contract's rules; see :func:`build_correction`.

    Raises:
        ConfigurationError: the verdict was given under another taxonomy.
    """
    if verdict.taxonomy != TAXONOMY.name:
        raise ConfigurationError(f"a verdict under {verdict.taxonomy} says nothing about corrections")
    return build_correction(verdict.label, verdict.confidence, verdict.rationale, threshold)
