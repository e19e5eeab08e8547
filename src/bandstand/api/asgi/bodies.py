"""Reading a JSON body within its limits."""

from collections.abc import Mapping

from starlette.types import Receive

from bandstand.api.problems import TooLargeError, UnsupportedMediaError, from_field_errors
from bandstand.errors import FieldError

MAX_BODY = 1024 * 1024
_MAX_DIGITS = 20


def validate_body_headers(headers: Mapping[bytes, bytes]) -> None:
    """Look at what the headers say of a body that is to be JSON.

    Raises:
        UnsupportedMediaError: not ``application/json``, or encoded.
        TooLargeError: over 1 MiB.
    """
    content_type = headers.get(b"content-type", b"")
    if content_type != b"application/json" and not _is_json(content_type):
        message = "send application/json, in UTF-8"
        raise UnsupportedMediaError(message)
    if b"content-encoding" in headers:
        message = "send the body without a Content-Encoding"
        raise UnsupportedMediaError(message)
    if len(length := headers.get(b"content-length", b"")) > 6:  # noqa: PLR2004 (under a million needs no closer look)
        _require_size(int(length) if length.isdigit() and len(length) <= _MAX_DIGITS else MAX_BODY + 1)


async def give_json_body(body: bytes, headers: Mapping[bytes, bytes]) -> bytes:
    """Check a body that has arrived whole by the same rules.

    Raises:
        UnsupportedMediaError: not ``application/json``, or encoded.
    """
    validate_body_headers(headers)
    return body


async def read_json_body(receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
    """The body's bytes.

    Raises:
        UnsupportedMediaError: not ``application/json``, or encoded.
        TooLargeError: over 1 MiB.
        InvalidRequestError: the caller went away in the middle of it.
    """
    validate_body_headers(headers)
    event = await receive()
    body: bytes = event.get("body", b"")
    if event.get("more_body"):
        parts = [body]
        size = len(body)
        while event.get("more_body"):
            event = await receive()
            parts.append(event.get("body", b""))
            size += len(parts[-1])
            _require_size(size)
        body = b"".join(parts)
    if event["type"] == "http.disconnect":  # what came so far may happen to be JSON
        raise from_field_errors(FieldError("body", "ended early"))
    _require_size(len(body))
    return body


def _is_json(content_type: bytes) -> bool:
    kind, _, parameters = content_type.partition(b";")
    charset = parameters.strip().lower().replace(b'"', b"")
    return kind.strip().lower() == b"application/json" and charset in (b"", b"charset=utf-8", b"charset=utf8")


def _require_size(size: int) -> None:
    if size > MAX_BODY:
        message = "a body may have up to 1 MiB"
        raise TooLargeError(message)
