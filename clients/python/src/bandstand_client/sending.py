"""How a thread drives a call."""

import time
from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

import httpx

from bandstand_client.outcome import Attempt, Failure, Outcome, Reply, Steps, name_failure

T = TypeVar("T")


def drive(steps: Steps[T], get_transport: Callable[[], httpx.BaseTransport]) -> T:
    """Make a call to its end, in this thread."""
    outcome: Outcome | None = None
    try:
        while True:
            step = steps.send(outcome)
            if isinstance(step, Attempt):
                outcome = send_attempt(get_transport(), step)
            else:
                time.sleep(step)
                outcome = None
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def send_attempt(transport: httpx.BaseTransport, attempt: Attempt) -> Outcome:
    """Send a request and say what became of it, without the library's exception, which would hold the key."""
    if attempt.deadline.compute_remaining() <= 0:
        return Failure("deadline", "no time was left")
    try:
        response = transport.handle_request(attempt.request)
        with closing(response):
            content = response.read()
    except (httpx.HTTPError, OSError) as error:
        return name_failure(error)
    return Reply(response.status_code, content, response.headers.get("retry-after"))
