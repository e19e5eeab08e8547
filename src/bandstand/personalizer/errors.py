"""Errors as Personalizer's clients read them: ``{"error": {"code", "message"}}``, never problem+json.

With any other body the SDKs show "Operation returned an invalid status" and no reason.
"""

from collections.abc import Mapping
from typing import ClassVar

from pydantic_core import to_json

from bandstand.api.asgi.access import Headers
from bandstand.api.asgi.foreign_wire import ForeignResponse
from bandstand.api.problems import (
    ClientGoneError,
    ForbiddenError,
    HostRefusedError,
    MethodNotAllowedError,
    NotFoundError,
    NotReadyError,
    RequestTimeoutError,
    TooLargeError,
    UnauthorizedError,
    UnsupportedMediaError,
)
from bandstand.errors import (
    BandstandError,
    DecisionConflictError,
    InvalidRequestError,
    OverloadedError,
    StorageFullError,
    StorageUnavailableError,
    UnknownLoopError,
    UnknownPolicyError,
    UnsupportedByEngineError,
)

CLIENT_REQUEST_ID = b"x-ms-client-request-id"
_MAX_ECHOED = 256
_NO_KEY = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key and to use "
    "the right endpoint."
)
_INTERNAL = (500, "InternalServerError")


class PersonalizerError(BandstandError):
    """A refusal with one of Personalizer's own codes.

    Args:
        status: the HTTP status.
        wire_code: the code.
        message: one sentence for a person, which never echoes input.
    """

    code: ClassVar[str] = "personalizer"

    def __init__(self, status: int, wire_code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.wire_code = wire_code


_CODES: Mapping[type[BandstandError], tuple[int, str]] = {
    InvalidRequestError: (400, "BadRequest"),
    DecisionConflictError: (400, "BadRequest"),
    HostRefusedError: (400, "BadRequest"),
    UnauthorizedError: (401, "401"),
    ForbiddenError: (403, "InvalidApiAccess"),
    NotFoundError: (404, "ResourceNotFound"),
    UnknownLoopError: (404, "ResourceNotFound"),
    UnknownPolicyError: (404, "LearningSettingsNotFound"),
    MethodNotAllowedError: (405, "BadRequest"),
    RequestTimeoutError: (408, "BadRequest"),
    TooLargeError: (413, "PayloadSizeExceeded"),
    UnsupportedMediaError: (415, "BadRequest"),
    OverloadedError: (429, "429"),
    ClientGoneError: (499, "BadRequest"),
    StorageUnavailableError: (503, "OperationNotAllowed"),
    UnsupportedByEngineError: (501, "OperationNotAllowed"),
    StorageFullError: (503, "OperationNotAllowed"),
    NotReadyError: (503, "OperationNotAllowed"),
}


def render_error(error: BandstandError, headers: Headers) -> ForeignResponse:
    """The answer that an error is."""
    status, code = (error.status, error.wire_code) if isinstance(error, PersonalizerError) else _find_code(error)
    message = _NO_KEY if isinstance(error, UnauthorizedError) else error.detail
    answer = build_headers(headers, b"application/json")
    answer.append((b"x-ms-error-code", code.encode()))
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        answer.append((b"retry-after", str(retry_after).encode()))
    if isinstance(error, MethodNotAllowedError):
        answer.append((b"allow", error.allow.encode()))
    return ForeignResponse(status, answer, to_json({"error": {"code": code, "message": message}}))


def _find_code(error: BandstandError) -> tuple[int, str]:
    """Status and code of an error, or of the nearest kind above it that has them."""
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), _INTERNAL)


def build_headers(headers: Headers, content_type: bytes | None = None) -> list[tuple[bytes, bytes]]:
    """Headers of every answer: the caller's own request id, if it sent a valid one."""
    echoed = headers.get(CLIENT_REQUEST_ID, b"")
    answer = [] if content_type is None else [(b"content-type", content_type)]
    if echoed and len(echoed) <= _MAX_ECHOED and echoed.isascii() and echoed.decode("ascii").isprintable():
        answer.append((CLIENT_REQUEST_ID, echoed))
    return answer
