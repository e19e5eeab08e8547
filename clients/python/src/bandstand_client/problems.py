"""From an answer to the error that it is; ``docs/errors.md`` of the service says what to do about each."""

import json
from collections.abc import Mapping
from typing import Any

from bandstand_client import failures, refusals
from bandstand_client.errors import FieldFault, ProblemError

_PREFIX = "urn:bandstand:problem:"

PROBLEMS: Mapping[str, type[ProblemError]] = {
    kind.code: kind
    for kind in (
        refusals.HostRefusedError,
        refusals.UnauthorizedError,
        refusals.ForbiddenError,
        refusals.NotFoundError,
        refusals.MethodNotAllowedError,
        refusals.RequestTimeoutError,
        refusals.TooLargeError,
        refusals.UnsupportedMediaTypeError,
        refusals.InvalidRequestError,
        refusals.UnknownPolicyError,
        refusals.UnknownDecisionError,
        refusals.DecisionConflictError,
        refusals.DecisionHeldError,
        refusals.PromotionRefusedError,
        refusals.AlreadyRewardedError,
        refusals.RewardPendingError,
        refusals.UnknownJudgementError,
        refusals.JudgementExpiredError,
        refusals.WrongPolicyError,
        refusals.IdempotencyMismatchError,
        refusals.UnknownPromptError,
        refusals.PromptsKeptError,
        refusals.JudgeOffError,
        refusals.UnknownSimulationError,
        refusals.UnknownEvaluationError,
        refusals.LearningModeError,
        refusals.UnknownLoopError,
        refusals.LoopRefusedError,
        refusals.ClientGoneError,
        failures.InternalError,
        failures.PromptError,
        failures.GatewayError,
        failures.GatewayNotJsonError,
        failures.UnscoredError,
        failures.GatewayUnreachableError,
        failures.OverloadedError,
        failures.StorageUnavailableError,
        failures.NotReadyError,
        failures.StorageFullError,
        failures.UnsupportedByEngineError,
    )
}
"""The class of each code."""


def parse_problem(status: int, content: bytes, retry_after_s: float = 0.0) -> ProblemError:
    """Make the error that an answer is.

    A code that this client does not know, or an answer that is no problem at all (a proxy's page), is a plain
    :class:`ProblemError`.

    Example:
        >>> parse_problem(503, b'{"type": "urn:bandstand:problem:overloaded", "detail": "Too much is waiting."}')
        OverloadedError('overloaded: Too much is waiting.')
        >>> parse_problem(502, b"<html>Bad Gateway</html>")
        ProblemError('the answer was 502, and no problem that Bandstand knows')
    """
    try:
        problem = json.loads(content)
    except ValueError:
        problem = None
    kind = problem.get("type") if isinstance(problem, dict) else None
    if not isinstance(problem, dict) or not isinstance(kind, str) or not kind.startswith(_PREFIX):
        detail = f"the answer was {status}, and no problem that Bandstand knows"
        return ProblemError(detail, status=status, retry_after_s=retry_after_s)
    code = kind[len(_PREFIX) :]
    return PROBLEMS.get(code, ProblemError)(
        str(problem.get("detail", "")),
        status=status,
        code=code,
        request_id=str(problem.get("request_id", "")),
        errors=tuple(_parse_faults(problem.get("errors"))),
        retry_after_s=retry_after_s,
    )


def _parse_faults(faults: Any) -> list[FieldFault]:
    if not isinstance(faults, list):
        return []
    return [
        FieldFault(str(fault.get("field", "")), str(fault.get("message", "")))
        for fault in faults
        if isinstance(fault, dict)
    ]
