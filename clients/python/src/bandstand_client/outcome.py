"""What becomes of a request: an answer as it came, or why there is none."""

from collections.abc import Generator, Mapping
from typing import Literal, NamedTuple, TypeVar

import httpx

from bandstand_client.deadline import Deadline
from bandstand_client.errors import (
    BandstandError,
    BrokenOffError,
    DeadlineError,
    NoAnswerError,
    ProblemError,
    UnreachableError,
)

T = TypeVar("T")


class Reply(NamedTuple):
    """An answer as it came."""

    status: int
    content: bytes
    retry_after: str | None


class Failure(NamedTuple):
    """Why there is none."""

    kind: Literal["unreachable", "broken-off", "deadline"]
    text: str


class Attempt(NamedTuple):
    """A request to be sent, and by when its answer is there."""

    request: httpx.Request
    deadline: Deadline


Outcome = Reply | Failure
Steps = Generator[Attempt | float, Outcome | None, T]
"""A call as it is driven: see :mod:`bandstand_client.core`."""

ERRORS: Mapping[str, type[NoAnswerError]] = {
    "unreachable": UnreachableError,
    "broken-off": BrokenOffError,
    "deadline": DeadlineError,
}


def name_outcome(error: BandstandError) -> str:
    """One word for how a call ended."""
    if isinstance(error, NoAnswerError):
        return error.outcome
    if isinstance(error, ProblemError):
        return error.code or f"status-{error.status}"
    return "unexpected-answer"


def name_failure(error: Exception) -> Failure:
    """What an HTTP library's exception means, in words; the exception itself holds the request, and goes no further."""
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    if isinstance(error, (httpx.TimeoutException, TimeoutError)):
        return Failure("deadline", text)
    if isinstance(error, (httpx.ConnectError, httpx.UnsupportedProtocol)):
        return Failure("unreachable", text)
    return Failure("broken-off", text)
