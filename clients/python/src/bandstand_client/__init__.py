"""A client of Bandstand that never makes a product wait.

    from bandstand_client import Bandstand

    client = Bandstand("http://127.0.0.1:8000", "s3cret")
    decision = client.score("ada", ["tea", "coffee"], context={"hour_of_day": 9})
    show(decision.pick)
    decision.react("done", dwell=45)

:class:`Bandstand` is for threads, :class:`AsyncBandstand` for event loops; :mod:`bandstand_client.testing` has a
service in memory for a product's own tests.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bandstand_client.breaker import Breaker
from bandstand_client.candidates import Candidate, HasId
from bandstand_client.client import Bandstand
from bandstand_client.core import Counts
from bandstand_client.decision import Decision, DecisionRef
from bandstand_client.errors import (
    BandstandError,
    BrokenOffError,
    CircuitOpenError,
    DeadlineError,
    FieldFault,
    NoAnswerError,
    OutboxClosedError,
    OutboxError,
    OutboxFullError,
    ProblemError,
    UnexpectedAnswerError,
    UnreachableError,
)
from bandstand_client.events import Event
from bandstand_client.retry import Retry
from bandstand_client.version import __version__

if TYPE_CHECKING:
    from bandstand_client.aio import AsyncBandstand
    from bandstand_client.aio_decision import AsyncDecision, AsyncDecisionRef
    from bandstand_client.aio_outbox import AsyncOutbox
    from bandstand_client.failures import (
        GatewayError,
        GatewayNotJsonError,
        GatewayUnreachableError,
        InternalError,
        NotReadyError,
        OverloadedError,
        PromptError,
        StorageFullError,
        StorageUnavailableError,
        UnscoredError,
        UnsupportedByEngineError,
    )
    from bandstand_client.learning_answers import RankedCandidate, Rewarded, TurnTaken
    from bandstand_client.outbox import Outbox, OutboxCounts
    from bandstand_client.refusals import (
        AlreadyRewardedError,
        ClientGoneError,
        DecisionConflictError,
        DecisionHeldError,
        ForbiddenError,
        HostRefusedError,
        IdempotencyMismatchError,
        InvalidRequestError,
        JudgementExpiredError,
        JudgeOffError,
        LearningModeError,
        LoopRefusedError,
        MethodNotAllowedError,
        NotFoundError,
        PromotionRefusedError,
        PromptsKeptError,
        RequestTimeoutError,
        RewardPendingError,
        TooLargeError,
        UnauthorizedError,
        UnknownDecisionError,
        UnknownEvaluationError,
        UnknownJudgementError,
        UnknownLoopError,
        UnknownPolicyError,
        UnknownPromptError,
        UnknownSimulationError,
        UnsupportedMediaTypeError,
        WrongPolicyError,
    )

__all__ = [
    "AlreadyRewardedError",
    "AsyncBandstand",
    "AsyncDecision",
    "AsyncDecisionRef",
    "AsyncOutbox",
    "Bandstand",
    "BandstandError",
    "Breaker",
    "BrokenOffError",
    "Candidate",
    "CircuitOpenError",
    "ClientGoneError",
    "Counts",
    "DeadlineError",
    "Decision",
    "DecisionConflictError",
    "DecisionHeldError",
    "DecisionRef",
    "Event",
    "FieldFault",
    "ForbiddenError",
    "GatewayError",
    "GatewayNotJsonError",
    "GatewayUnreachableError",
    "HasId",
    "HostRefusedError",
    "IdempotencyMismatchError",
    "InternalError",
    "InvalidRequestError",
    "JudgeOffError",
    "JudgementExpiredError",
    "LearningModeError",
    "LoopRefusedError",
    "MethodNotAllowedError",
    "NoAnswerError",
    "NotFoundError",
    "NotReadyError",
    "Outbox",
    "OutboxClosedError",
    "OutboxCounts",
    "OutboxError",
    "OutboxFullError",
    "OverloadedError",
    "ProblemError",
    "PromotionRefusedError",
    "PromptError",
    "PromptsKeptError",
    "RankedCandidate",
    "RequestTimeoutError",
    "Retry",
    "RewardPendingError",
    "Rewarded",
    "StorageFullError",
    "StorageUnavailableError",
    "TooLargeError",
    "TurnTaken",
    "UnauthorizedError",
    "UnexpectedAnswerError",
    "UnknownDecisionError",
    "UnknownEvaluationError",
    "UnknownJudgementError",
    "UnknownLoopError",
    "UnknownPolicyError",
    "UnknownPromptError",
    "UnknownSimulationError",
    "UnreachableError",
    "UnscoredError",
    "UnsupportedByEngineError",
    "UnsupportedMediaTypeError",
    "WrongPolicyError",
    "__version__",
]

# Slow to import, and not needed by every product.
_LAZY = {
    "aio": ("AsyncBandstand",),
    "aio_decision": ("AsyncDecision", "AsyncDecisionRef"),
    "learning_answers": ("RankedCandidate", "Rewarded", "TurnTaken"),
    "aio_outbox": ("AsyncOutbox",),
    "outbox": ("Outbox", "OutboxCounts"),
    "failures": (
        "GatewayError",
        "GatewayNotJsonError",
        "GatewayUnreachableError",
        "InternalError",
        "NotReadyError",
        "OverloadedError",
        "PromptError",
        "StorageFullError",
        "StorageUnavailableError",
        "UnscoredError",
        "UnsupportedByEngineError",
    ),
    "refusals": (
        "AlreadyRewardedError",
        "ClientGoneError",
        "DecisionConflictError",
        "DecisionHeldError",
        "ForbiddenError",
        "HostRefusedError",
        "IdempotencyMismatchError",
        "InvalidRequestError",
        "JudgementExpiredError",
        "JudgeOffError",
        "LearningModeError",
        "LoopRefusedError",
        "MethodNotAllowedError",
        "NotFoundError",
        "PromotionRefusedError",
        "RequestTimeoutError",
        "PromptsKeptError",
        "RewardPendingError",
        "TooLargeError",
        "UnauthorizedError",
        "UnknownDecisionError",
        "UnknownJudgementError",
        "UnknownLoopError",
        "UnknownPolicyError",
        "UnknownPromptError",
        "UnknownSimulationError",
        "UnknownEvaluationError",
        "UnsupportedMediaTypeError",
        "WrongPolicyError",
    ),
}
_MODULES = {name: module for module, names in _LAZY.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
