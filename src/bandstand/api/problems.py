"""Errors on the wire: RFC 9457 problem+json. The only place that knows status codes.

A problem never echoes input: ``errors`` names fields and says what is wrong with them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException

from bandstand import errors
from bandstand.errors import BandstandError, FieldError
from bandstand.evaluate.errors import UnknownEvaluationError
from bandstand.generate import errors as generating
from bandstand.judge.cascade import JudgeOffError
from bandstand.judge_worker.stateless import UnscoredError
from bandstand.prompts.errors import PromptError
from bandstand.simulate import errors as simulating
from bandstand.store.tables import judgements as judging

CONTENT_TYPE = b"application/problem+json"
NOT_UTF8 = "must be UTF-8"
_MAX_ERRORS = 20
_UNKNOWN_FIELD = "extra_forbidden"
_MESSAGES = {
    "string_unicode": NOT_UTF8,
    "string_pattern_mismatch": "must not hold control characters",
    _UNKNOWN_FIELD: "holds a field that is not known here",
}


class UnauthorizedError(BandstandError):
    """No key, or not one of ours."""

    code = "unauthorized"


class ForbiddenError(BandstandError):
    """The key's role, or the page the request comes from, may not do this."""

    code = "forbidden"


class HostRefusedError(BandstandError):
    """A keyless service answers only under names that are known to be its own."""

    code = "host-refused"


class RequestTimeoutError(BandstandError):
    """The request did not come whole in time; the connection is closed."""

    code = "request-timeout"


class TooLargeError(BandstandError):
    """The body is larger than is read."""

    code = "too-large"


class UnsupportedMediaError(BandstandError):
    """The body is not plain ``application/json``."""

    code = "unsupported-media-type"


class NotFoundError(BandstandError):
    """No such route."""

    code = "not-found"


class MethodNotAllowedError(BandstandError):
    """The path knows other methods: ``allow`` names them."""

    code = "method-not-allowed"

    def __init__(self, detail: str, allow: str) -> None:
        super().__init__(detail)
        self.allow = allow


class InternalError(BandstandError):
    """A fault of ours, logged under the request id."""

    code = "internal"


class NotReadyError(BandstandError):
    """Starting, draining, or cut off from the store."""

    code = "not-ready"


class ClientGoneError(BandstandError):
    """The caller hung up before the answer was there; nobody sees this but the log and the metrics."""

    code = "client-gone"


STATUS: dict[type[BandstandError], tuple[int, str]] = {
    errors.InvalidRequestError: (422, "The request is not valid"),
    errors.WrongPolicyError: (422, "The decision was made by another policy"),
    errors.IdempotencyMismatchError: (422, "The Idempotency-Key was used with another body"),
    errors.UnknownPolicyError: (404, "No such policy"),
    errors.UnknownDecisionError: (404, "No such decision"),
    errors.AlreadyRewardedError: (409, "The decision is already rewarded"),
    errors.PromotionRefusedError: (409, "The active policy cannot be changed so"),
    errors.LearningModeError: (409, "Only the baseline serves"),
    errors.UnknownLoopError: (404, "No such loop"),
    errors.LoopRefusedError: (409, "The loop cannot be changed so"),
    errors.DecisionHeldError: (409, "The decision was not activated"),
    errors.DecisionConflictError: (409, "The decision_id names another request"),
    errors.OverloadedError: (503, "Overloaded"),
    errors.StorageUnavailableError: (503, "The store is unavailable"),
    errors.StorageFullError: (507, "The disk is full"),
    errors.UnsupportedByEngineError: (501, "Not with this engine"),
    generating.GatewayError: (502, "The model gateway failed"),
    generating.NotJsonError: (502, "The model did not answer with tips"),
    generating.GatewayUnreachableError: (503, "The model gateway cannot be reached"),
    PromptError: (500, "The prompt cannot be used"),
    generating.UnknownPromptError: (404, "No such prompt"),
    generating.PromptsKeptError: (409, "The prompts were not reloaded"),
    UnknownEvaluationError: (404, "No such evaluation"),
    simulating.UnknownRunError: (404, "No such simulation"),
    JudgeOffError: (409, "Nothing is judged here"),
    judging.RewardPendingError: (409, "The decision waits for a judgement"),
    judging.JudgementExpiredError: (409, "The judgement cannot be changed any more"),
    judging.UnknownJudgementError: (404, "No such judgement"),
    UnscoredError: (502, "The judge could not say"),
    UnauthorizedError: (401, "An API key is needed"),
    ForbiddenError: (403, "Not allowed"),
    HostRefusedError: (400, "Unknown host name"),
    RequestTimeoutError: (408, "The request came too slowly"),
    TooLargeError: (413, "The body is too large"),
    UnsupportedMediaError: (415, "Unsupported media type"),
    NotFoundError: (404, "No such route"),
    MethodNotAllowedError: (405, "Method not allowed"),
    NotReadyError: (503, "Not ready"),
    ClientGoneError: (499, "The caller went away"),
    InternalError: (500, "Internal error"),
}
"""Status and title of every error a caller may see."""


def status_of(error: BandstandError) -> int:
    """The HTTP status of an error."""
    return _find_status(error)[0]


def _find_status(error: BandstandError) -> tuple[int, str]:
    """Status and title of an error, or of the nearest kind above it that has them."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), STATUS[InternalError])


def render_problem(error: BandstandError, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of the problem an error is."""
    status, title = _find_status(error)
    problem: dict[str, object] = {
        "type": f"urn:bandstand:problem:{error.code}",
        "title": title,
        "status": status,
        "detail": error.detail,
        "request_id": request_id,
    }
    if error.errors:
        problem["errors"] = [{"field": field, "message": message} for field, message in error.errors]
    headers = [(b"content-type", CONTENT_TYPE)]
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        headers.append((b"retry-after", str(retry_after).encode()))
    if isinstance(error, UnauthorizedError):
        headers.append((b"www-authenticate", b'Bearer realm="bandstand"'))
    if isinstance(error, MethodNotAllowedError):
        headers.append((b"allow", error.allow.encode()))
    return status, headers, json.dumps(problem).encode()


def from_validation_error(error: ValidationError) -> errors.InvalidRequestError:
    """A failed validation in our words: the fields and pydantic's messages, without the input."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    fields = [FieldError(_format_path(_get_location(fault)), _get_message(fault)) for fault in found[:_MAX_ERRORS]]
    count = len(found)
    detail = f"{count} field{'s' if count > 1 else ''} not valid: {fields[0].field}: {fields[0].message}"
    return errors.InvalidRequestError(detail, fields)


def from_query_errors(faults: Sequence[Any]) -> errors.InvalidRequestError:
    """The framework's validation faults of path and query, in the same form."""
    return from_field_errors(
        *(FieldError(_format_path(fault["loc"][1:]), _get_message(fault)) for fault in faults[:_MAX_ERRORS])
    )


def from_field_errors(*fields: FieldError) -> errors.InvalidRequestError:
    """Faults that we found ourselves, in the same form."""
    return errors.InvalidRequestError(f"{fields[0].field}: {fields[0].message}", fields)


def from_http_exception(error: HTTPException, allow: str) -> BandstandError:
    """The framework's own refusals (no route, no method) in our form."""
    if error.status_code == STATUS[NotFoundError][0]:
        return NotFoundError("no such route")
    if error.status_code == STATUS[MethodNotAllowedError][0]:
        return MethodNotAllowedError("this route knows other methods", allow)
    return errors.InvalidRequestError("the request could not be read")


def _get_location(fault: Mapping[str, Any]) -> tuple[int | str, ...]:
    location: tuple[int | str, ...] = fault["loc"]
    # The name of an unknown field is the caller's own word.
    return location[:-1] if fault["type"] == _UNKNOWN_FIELD else location


def _format_path(location: Iterable[int | str]) -> str:
    return ".".join(str(part) for part in location) or "body"


def _get_message(fault: Mapping[str, Any]) -> str:
    return _MESSAGES.get(fault["type"]) or str(fault["msg"])
