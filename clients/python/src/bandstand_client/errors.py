"""What the client raises: one root, and a class for each problem that the service knows.

Three kinds stand under the root. A :class:`ProblemError` is an answer: the service refused, in its own words. A
:class:`NoAnswerError` is the want of one. The rest is about the client itself.

No error holds the request, and with it the key: what went wrong below is told in words.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class BandstandError(Exception):
    """The root of everything that the client raises.

    Example:
        >>> from bandstand_client import BandstandError
        >>> try:
        ...     client.decision("no-such-decision").reward(1.0)
        ... except BandstandError as error:
        ...     print(error)
        unknown-decision: no such decision of this user
    """


@dataclass(frozen=True)
class FieldFault:
    """One field of a request that the service refused, and why.

    Example:
        >>> from bandstand_client import FieldFault
        >>> FieldFault("context.hour_of_day", "Input should be less than or equal to 23").field
        'context.hour_of_day'
    """

    field: str
    message: str


class ProblemError(BandstandError):
    """The service answered with a problem (RFC 9457); nothing was logged, taught or changed.

    Attributes:
        code: what the problem's type ends in, such as ``overloaded``; empty where a proxy answered in its place.
        status: of the HTTP answer.
        detail: the problem's own words.
        request_id: under which the service's log has it.
        errors: the fields at fault.
        retry_after_s: how long the service asked to be left alone, in seconds; 0 where it did not.

    Example:
        >>> from bandstand_client import ProblemError
        >>> try:
        ...     client.score("ada", ["tea"], context={"hour_of_day": 99})
        ... except ProblemError as error:
        ...     print(error.code, error.status, error.errors[0].field)
        invalid-request 422 context.hour_of_day
    """

    code: str = ""

    def __init__(
        self,
        detail: str,
        *,
        status: int = 0,
        code: str | None = None,
        request_id: str = "",
        errors: Sequence[FieldFault] = (),
        retry_after_s: float = 0.0,
    ) -> None:
        if code is not None:
            self.code = code
        super().__init__(f"{self.code}: {detail}" if self.code else detail)
        self.detail = detail
        self.status = status
        self.request_id = request_id
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s


class NoAnswerError(BandstandError):
    """No answer came. What was asked may have happened, unless it is an :class:`UnreachableError`.

    Attributes:
        outcome: the word for it in events and fallbacks.

    Example:
        >>> from bandstand_client import NoAnswerError
        >>> with fake.failing("broken-off"):
        ...     try:
        ...         fake_client.health()
        ...     except NoAnswerError as error:
        ...         print(error.outcome)
        broken-off
    """

    outcome: str = "broken-off"


class UnreachableError(NoAnswerError):
    """There was no connection, so the call did not happen.

    Example:
        >>> with fake.failing("unreachable"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.errors.UnreachableError: ConnectError: nobody listens
    """

    outcome = "unreachable"


class BrokenOffError(NoAnswerError):
    """The connection broke before the whole answer was there; the call may have happened.

    Example:
        >>> with fake.failing("broken-off"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.errors.BrokenOffError: ReadError: the connection was closed
    """

    outcome = "broken-off"


class DeadlineError(NoAnswerError):
    """The call's deadline passed; it may have happened, or happen yet.

    Example:
        >>> with fake.failing("deadline"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.errors.DeadlineError: ReadTimeout: no answer came in time
    """

    outcome = "deadline"


class CircuitOpenError(NoAnswerError):
    """The service failed so often in a row that the client leaves it alone for a while; nothing was sent.

    Example:
        >>> from bandstand_client import Breaker
        >>> from bandstand_client.testing import FakeBandstand
        >>> broken = FakeBandstand()
        >>> product = broken.build_client(breaker=Breaker(failures=1))
        >>> with broken.failing("unreachable"):
        ...     decision = product.score("ada", ["tea", "coffee"])
        >>> product.decision("1").reward(0.5)
        Traceback (most recent call last):
            ...
        bandstand_client.errors.CircuitOpenError: the service did not answer lately, and was not asked
    """

    outcome = "circuit-open"


class UnexpectedAnswerError(BandstandError):
    """Something answered that is no Bandstand, or one whose answers the client does not understand.

    Example:
        >>> with fake.answering(200, b"<html>Welcome to the hotel</html>"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.errors.UnexpectedAnswerError: GET /health answered 200 with something that is not JSON
    """


class OutboxError(BandstandError):
    """An outbox cannot do what it is asked: its file cannot be written, or is something else.

    Example:
        >>> from bandstand_client import OutboxError
        >>> issubclass(OutboxError, BandstandError)
        True
    """


class OutboxFullError(OutboxError):
    """An outbox holds as much as it may; the reward was not accepted.

    Example:
        >>> with fake_client.outbox(capacity=0) as outbox:
        ...     outbox.reward("some-decision", 1.0)
        Traceback (most recent call last):
            ...
        bandstand_client.errors.OutboxFullError: 0 rewards are waiting already
    """


class OutboxClosedError(OutboxError):
    """An outbox takes no more; the reward was not accepted.

    Example:
        >>> with fake_client.outbox() as outbox:
        ...     pass
        >>> outbox.reward("some-decision", 1.0)
        Traceback (most recent call last):
            ...
        bandstand_client.errors.OutboxClosedError: the outbox is closed
    """
