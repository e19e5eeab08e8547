"""A circuit breaker: calls to a provider stop while it keeps failing (Nygard, *Release It!*)."""

import time
from collections.abc import Callable
from typing import Literal

from bandstand.llm.chat import ChatClient, ChatReply, ChatRequest
from bandstand.llm.errors import ChatError, ChatMalformedError, ChatStatusError, CircuitOpenError

_FIRST_SERVER_ERROR = 500
_PROBE_S = 1.0


class CircuitBreaker:
    """``closed`` until ``threshold`` failures in a row; then ``open`` for ``rest_s``; then one probe (``half_open``).

    The probe's success closes it, its failure opens it for another ``rest_s``. While the probe is under way every other
    call is refused.

    Args:
        threshold: failures in a row that open it.
        rest_s: seconds it stays open.
        clock: monotonic seconds.
    """

    def __init__(
        self, *, threshold: int = 5, rest_s: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if threshold < 1 or rest_s <= 0:
            raise ValueError("A breaker needs a threshold of 1 or more and a rest above 0.")
        self._threshold = threshold
        self._rest_s = rest_s
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False
        self._ticket = 0

    @property
    def state(self) -> Literal["closed", "open", "half_open"]:
        """What the next call would meet; ``half_open``: it would be the probe, or another one is."""
        if self._opened_at is None:
            return "closed"
        return "half_open" if self._remaining_s() <= 0 else "open"

    def acquire_ticket(self) -> int:
        """Ask to make a call.

        Returns:
            A ticket to hand back to exactly one of the three methods below. News from a call that began before the
            last change of state is old news and changes nothing.

        Raises:
            CircuitOpenError: the provider is being left alone.
        """
        if self._opened_at is not None:
            remaining = self._remaining_s()
            if remaining > 0 or self._probing:
                raise CircuitOpenError(retry_after_s=max(remaining, _PROBE_S))
            self._probing = True
            self._ticket += 1
        return self._ticket

    def record_success(self, ticket: int) -> None:
        """The provider answered."""
        if ticket == self._ticket:
            self._failures = 0
            if self._probing:
                self._opened_at = None
                self._end_probe()

    def record_failure(self, ticket: int) -> None:
        """The provider did not answer, or said that it is broken."""
        if ticket == self._ticket:
            self._failures += 1
            if self._probing or self._failures >= self._threshold:
                self._opened_at = self._clock()
                self._end_probe()

    def record_abandoned(self, ticket: int) -> None:
        """The call ended without saying anything about the provider: cancelled, or never sent."""
        if ticket == self._ticket and self._probing:
            self._end_probe()

    def _end_probe(self) -> None:
        self._probing = False
        self._ticket += 1

    def _remaining_s(self) -> float:
        return self._opened_at + self._rest_s - self._clock() if self._opened_at is not None else 0.0


class BreakerClient:
    """Asks ``inner`` as long as ``breaker`` lets it.

    An unreachable provider, a call that ran out of time, a 5xx, and a 200 with something else than an answer are
    failures of the provider; any other answer, a 400 or a 429 too, shows that it is alive.

    Args:
        inner: the client to ask.
        breaker: shared by every client of the same provider.
    """

    def __init__(self, inner: ChatClient, breaker: CircuitBreaker) -> None:
        self._inner = inner
        self._breaker = breaker

    @property
    def model(self) -> str:
        """The model this client asks."""
        return self._inner.model

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Ask for one answer; see :class:`bandstand.llm.chat.ChatClient`.

        Raises:
            CircuitOpenError: the provider is being left alone; nothing was sent.
            ChatError: the call failed.
        """
        ticket = self._breaker.acquire_ticket()
        try:
            reply = await self._inner.complete(request)
        except ChatError as error:
            if _is_provider_failure(error):
                self._breaker.record_failure(ticket)
            else:
                self._breaker.record_success(ticket)
            raise
        except BaseException:
            self._breaker.record_abandoned(ticket)
            raise
        self._breaker.record_success(ticket)
        return reply


def _is_provider_failure(error: ChatError) -> bool:
    if isinstance(error, ChatStatusError):
        return error.status >= _FIRST_SERVER_ERROR
    return isinstance(error, ChatMalformedError) or not error.reached
