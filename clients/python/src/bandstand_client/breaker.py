"""A circuit breaker: calls of a service that does not answer cost nothing."""

import random
import threading
import time
from collections.abc import Callable
from typing import Literal

BreakerState = Literal["closed", "open", "half-open"]

_TRIAL_S = 5.0


class Breaker:
    """Lets calls through until ``failures`` in a row went wrong, then none but one now and then, to try.

    It opens for ``open_s`` seconds, and for twice as long after each trial that failed, up to ``longest_s``; a random
    part of up to half is taken off, so that many processes do not try at once. Any answer closes it.

    Args:
        failures: how many in a row open it.
        open_s: for how long at first, in seconds.
        longest_s: for how long at most.
        clock: seconds that only grow.
        draw: a random number in [0, 1).

    Example:
        >>> from bandstand_client.breaker import Breaker
        >>> breaker = Breaker(failures=2)
        >>> breaker.record_failure(), breaker.record_failure()
        (False, True)
        >>> breaker.admit(), breaker.state
        (False, 'open')
    """

    def __init__(
        self,
        failures: int = 5,
        open_s: float = 1.0,
        longest_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._limit = failures
        self._open_s = open_s
        self._longest_s = longest_s
        self._clock = clock
        self._draw = draw
        self._lock = threading.Lock()
        self._failures = 0
        self._period = 0.0
        self._until: float | None = None
        self._trial_until: float | None = None

    @property
    def state(self) -> BreakerState:
        """``closed`` (calls go through), ``open`` (none does) or ``half-open`` (one is trying).

        Example:
            >>> Breaker().state
            'closed'
        """
        if self._until is None:
            return "closed"
        return "open" if self._trial_until is None else "half-open"

    def admit(self) -> bool:
        """Whether a call may be made now; a trial that never reports back makes way for another after 5 s.

        Example:
            >>> Breaker().admit()
            True
        """
        until = self._until
        if until is None:
            return True
        now = self._clock()
        if now < until:
            return False
        with self._lock:
            if self._until is None:
                return True
            if self._trial_until is not None and now < self._trial_until:
                return False
            self._trial_until = now + _TRIAL_S
            return True

    def reset_after_fork(self) -> None:
        """Take a lock that nobody holds, in a forked process.

        Example:
            >>> Breaker().reset_after_fork()
        """
        self._lock = threading.Lock()

    def record_success(self) -> bool:
        """The service answered; whether that closed it.

        Example:
            >>> breaker = Breaker(failures=1)
            >>> breaker.record_failure(), breaker.record_success()
            (True, True)
        """
        if self._until is None and not self._failures:
            return False
        with self._lock:
            was_open = self._until is not None
            self._failures = 0
            self._until = self._trial_until = None
            return was_open

    def record_failure(self, at_least_s: float = 0.0) -> bool:
        """The service did not answer, or not well; whether that opened it.

        Args:
            at_least_s: how long the service asked to be left alone.

        Example:
            >>> Breaker(failures=1).record_failure(at_least_s=5.0)
            True
        """
        with self._lock:
            self._failures += 1
            if self._until is None:
                if self._failures < self._limit:
                    return False
                self._period = self._open_s
            elif self._trial_until is not None:
                self._period = min(2 * self._period, self._longest_s)
            else:  # a call that began before it opened
                return False
            wait = self._period * (1 - self._draw() / 2)
            self._until = self._clock() + max(wait, min(at_least_s, self._longest_s))
            self._trial_until = None
            return True
