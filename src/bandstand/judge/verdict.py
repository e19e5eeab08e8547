"""Verdicts: how a tier says a user took an answer, or why it cannot say; never what that is worth."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal, Self, get_args

VERSION: Final = 1
"""Of the JSON form; a later version must still read this one."""

Target = Literal["behaviour", "content", "quoted", "historical", "other_person", "none"]
"""What a message speaks of; see :data:`TARGET_MEANINGS`."""

TARGETS: Final[tuple[Target, ...]] = get_args(Target)

TARGET_MEANINGS: Final[Mapping[Target, str]] = {
    "behaviour": "what was chosen, or how the answer was: its manner, length, form or tone, or the answer as a whole",
    "content": "whether what the answer says is right, or what it leaves out",
    "quoted": "something that the user quotes, translates or asks about",
    "historical": "something another day, or an earlier answer",
    "other_person": "what somebody else thinks, says or likes",
    "none": "none of these: the user goes on, asks, answers, supposes or says nothing of it",
}
"""One phrase each, for people and prompts."""

_SLACK: Final = 1e-6


class UnscoredReason(StrEnum):
    """Why a turn has no verdict."""

    TIMEOUT = "timeout"
    """The deadline over all tries passed."""
    UNAVAILABLE = "unavailable"
    """The last try still met a connection fault, 408, 409, 429 or 5xx."""
    REJECTED = "rejected"
    """The provider refused the request itself, such as 400 or 401; trying again would not help."""
    CIRCUIT_OPEN = "circuit_open"
    """Too many calls failed just now, so none was made."""
    OVER_BUDGET = "over_budget"
    """The day's tokens or money are spent, so no call was made."""
    REFUSAL = "refusal"
    """The model declined to judge."""
    TRUNCATED = "truncated"
    """The reply ended for want of room, again with more room."""
    EMPTY = "empty"
    """The reply held nothing."""
    BAD_JSON = "bad_json"
    """The reply was not the JSON asked for."""
    UNKNOWN_LABEL = "unknown_label"
    """The reply named a label that the taxonomy does not have."""
    BAD_CONFIDENCE = "bad_confidence"
    """The reply's confidence was no number in [0, 1]."""
    NO_SIGNAL = "no_signal"
    """The message says nothing: it is empty, or an emoji of no known meaning."""
    UNKNOWN_TARGET = "unknown_target"
    """The reply named a target that there is not."""
    INTERNAL = "internal"
    """The judge itself failed; the log says where."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a judgement cost: LLM calls, tokens, and money in US dollars (None if no price is known)."""

    llm_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a user took an answer, as one tier saw it; immutable, and stored as given.

    Attributes:
        taxonomy: whose labels these are.
        label: the one chosen.
        confidence: in [0, 1], that the label is right; as the tier states it, uncalibrated unless it says otherwise.
        rationale: one line for people; may quote the turn, so it is deleted with it.
        tier: "rules", "classifier", "local", "llm" or "person".
        model: what exactly judged: a rule set, weights or a model, with its hash or version.
        probabilities: of every label, where the tier has them; they sum to 1.
        rule: the rule that fired, if one did.
        target: what the message speaks of; None if the tier does not say.
        about: whether the turn said what was chosen; only then does the target decide whether the verdict teaches.
        prompt_hash: of the prompt, where there was one.
        raw: the reply as it came, where there was one; deleted with the turn.
        usage: what it cost.

    Raises:
        ValueError: a confidence or probability is out of range, or the probabilities do not sum to 1.
    """

    taxonomy: str
    label: str
    confidence: float
    rationale: str
    tier: str
    model: str
    probabilities: tuple[tuple[str, float], ...] = ()
    rule: str | None = None
    target: Target | None = None
    about: bool = False
    prompt_hash: str | None = None
    raw: str | None = None
    usage: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        # A NaN fails every comparison, so these are written to hold only for numbers in range.
        if not 0 <= self.confidence <= 1:
            raise ValueError("a confidence must be a number from 0 to 1")
        probabilities = [p for _, p in self.probabilities]
        if not all(0 <= p <= 1 for p in probabilities):
            raise ValueError("a probability must be a number from 0 to 1")
        if probabilities and not math.isclose(sum(probabilities), 1, abs_tol=_SLACK):
            raise ValueError("the probabilities of all labels must sum to 1")

    def as_json(self) -> dict[str, Any]:
        """Return a JSON object that :meth:`from_json` reads back equal."""
        return {"version": VERSION, "scored": True, **asdict(self), "probabilities": dict(self.probabilities)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`as_json` wrote."""
        fields = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
        fields["probabilities"] = tuple(document.get("probabilities", {}).items())
        fields["usage"] = Usage(**document.get("usage", {}))
        return cls(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unscored:
    """No verdict, and why; it teaches nothing and is never mistaken for a neutral one.

    Attributes:
        taxonomy: whose labels were asked for.
        reason: why there is no verdict.
        tier: the tier that failed.
        model: what exactly failed.
        prompt_hash: of the prompt, where there was one.
        raw: the reply as it came, where there was one; deleted with the turn.
        usage: what the attempt cost.
    """

    taxonomy: str
    reason: UnscoredReason
    tier: str
    model: str
    prompt_hash: str | None = None
    raw: str | None = None
    usage: Usage = field(default_factory=Usage)

    def as_json(self) -> dict[str, Any]:
        """Return a JSON object that :meth:`from_json` reads back equal."""
        return {"version": VERSION, "scored": False, **asdict(self), "reason": self.reason.value}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`as_json` wrote."""
        fields = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
        fields["reason"] = UnscoredReason(document["reason"])
        fields["usage"] = Usage(**document.get("usage", {}))
        return cls(**fields)


Judged = Verdict | Unscored
"""What every tier answers with."""


def parse_judged(document: Mapping[str, Any]) -> Judged:
    """Read a stored verdict or the reason why there is none.

    Raises:
        ValueError: it was written by a later version.
    """
    if document.get("version") != VERSION:
        raise ValueError(f"a verdict of version {VERSION} was expected")
    return Verdict.from_json(document) if document["scored"] else Unscored.from_json(document)
