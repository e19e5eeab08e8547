"""The one error root: everything Bandstand refuses to do, and why, with no word about HTTP.

``api/problems.py`` is the only place that knows which status code each of these becomes.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple


class FieldError(NamedTuple):
    """One field of a request and what is wrong with it; never the offending value itself."""

    field: str
    message: str


class BandstandError(Exception):
    """Root of every error a caller may see; ``detail`` is safe to show and never echoes input.

    Args:
        detail: one sentence for a person.
        errors: the fields at fault, where fields are at fault.
    """

    code: ClassVar[str] = "error"

    def __init__(self, detail: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)


class InvalidRequestError(BandstandError):
    """The request does not say something that can be acted on."""

    code = "invalid-request"


class ConfigurationError(BandstandError):
    """A setting, schema or policy definition is wrong; ends start-up with ``detail`` on one line."""

    code = "configuration"


class UnknownPolicyError(BandstandError):
    """No policy of that name is configured."""

    code = "unknown-policy"


class UnknownDecisionError(BandstandError):
    """No such decision, or not this user's."""

    code = "unknown-decision"


class WrongPolicyError(BandstandError):
    """A reward named one policy and a decision made by another."""

    code = "wrong-policy"


class AlreadyRewardedError(BandstandError):
    """The decision already has a reward, and this is a different one."""

    code = "already-rewarded"


class DecisionHeldError(BandstandError):
    """The decision was held back and never activated, so that nobody can have said anything about it."""

    code = "decision-held"


class DecisionConflictError(BandstandError):
    """The caller's ``decision_id`` already names another request."""

    code = "decision-conflict"


class IdempotencyMismatchError(BandstandError):
    """The ``Idempotency-Key`` was used before with another body."""

    code = "idempotency-mismatch"


class PromotionRefusedError(BandstandError):
    """Which policy is active is not for a promotion or a demotion to change now."""

    code = "promotion-refused"


class LearningModeError(BandstandError):
    """The loop's learning mode lets only the baseline serve."""

    code = "learning-mode"


class UnknownLoopError(BandstandError):
    """No loop of that name."""

    code = "unknown-loop"


class LoopRefusedError(BandstandError):
    """A loop cannot be made, changed or deleted so."""

    code = "loop-refused"


class OverloadedError(BandstandError):
    """A bounded queue is full; try again after ``retry_after`` seconds."""

    code = "overloaded"
    retry_after: ClassVar[int] = 1


class StorageUnavailableError(BandstandError):
    """The store cannot take or give data now (closing, or its disk answers with errors)."""

    code = "storage-unavailable"
    retry_after: ClassVar[int] = 5


class UnsupportedByEngineError(BandstandError):
    """What keeps this deployment's state cannot do it; a state directory can."""

    code = "unsupported-by-engine"


class StorageFullError(BandstandError):
    """The disk is full; nothing acknowledged is lost and nothing new is taken."""

    code = "storage-full"
