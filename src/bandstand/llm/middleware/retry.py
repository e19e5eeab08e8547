"""Retries of transient failures: exponential backoff with jitter, ``Retry-After``, one deadline over all tries."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bandstand.llm.chat import ChatClient, ChatReply, ChatRequest
from bandstand.llm.errors import ChatError, CircuitOpenError


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after the k-th failed try, k from 0: ``first_s · 2^k · (1 + u/2)``, at most ``longest_s``.

    The jitter ``u`` in [0, 1) spreads callers that failed together; it only ever lengthens the wait.

    Attributes:
        tries: the most calls made for one request, at least 1.
        first_s: the shortest wait after the first failure, in seconds.
        longest_s: no wait of ours is longer, in seconds; a provider may ask for more.
    """

    tries: int = 3
    first_s: float = 1.0
    longest_s: float = 30.0

    def __post_init__(self) -> None:
        if self.tries < 1 or self.first_s < 0 or self.longest_s < self.first_s:
            raise ValueError("A backoff needs one try or more and 0 <= first_s <= longest_s.")

    def wait_s(self, failures: int, u: float, retry_after_s: float | None = None) -> float:
        """Seconds to wait after ``failures`` failed tries; never less than the provider asks for."""
        own: float = min(self.first_s * 2.0 ** (failures - 1) * (1 + u / 2), self.longest_s)
        return max(own, retry_after_s or 0.0)


class RetryingClient:
    """Asks ``inner`` until it answers, it fails for good, the tries are used up, or no time is left to wait.

    Args:
        inner: the client to ask; its deadline is the caller's.
        backoff: how often, and how long in between.
        rng: draws the jitter, uniform in [0, 1).
        clock: monotonic seconds, the scale of every deadline.
        sleep: waits a number of seconds.
    """

    def __init__(
        self,
        inner: ChatClient,
        *,
        backoff: Backoff | None = None,
        rng: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._inner = inner
        self._backoff = backoff or Backoff()
        self._rng = rng
        self._clock = clock
        self._sleep = sleep

    @property
    def model(self) -> str:
        """The model this client asks."""
        return self._inner.model

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Ask for one answer; see :class:`bandstand.llm.chat.ChatClient`.

        Raises:
            ChatError: the last error that a try met; a breaker that opened between two tries hides none. It is raised
                at once where waiting would only meet the deadline.
        """
        failures = 0
        met: ChatError | None = None
        while True:
            try:
                return await self._inner.complete(request)
            except CircuitOpenError as error:
                raise met or error from None
            except ChatError as error:
                met = error
                failures += 1
                if not error.retryable or failures == self._backoff.tries:
                    raise
                wait = self._backoff.wait_s(failures, self._rng(), error.retry_after_s)
                if self._clock() + wait >= request.deadline:
                    raise
            await self._sleep(wait)
