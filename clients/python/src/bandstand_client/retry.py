"""When a call is made again, and how long it waits before."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Retry:
    """Exponential backoff with full jitter, inside the one deadline that a call has.

    Before try n + 1 it waits a random time between 0 and min(``longest_s``, ``first_s`` · 2ⁿ⁻¹), or as long as the
    service asked for (``Retry-After``), whichever is longer. A wait that would pass the deadline is not begun.

    Attributes:
        tries: how often a call is made at most.
        first_s: the longest first wait, in seconds.
        longest_s: the longest wait.
        draw: a random number between two numbers.

    Example:
        >>> from bandstand_client import Retry
        >>> Retry(tries=2).compute_wait(1, 0.0, remaining_s=0.25) <= 0.02
        True
        >>> Retry(tries=2).compute_wait(2, 0.0, remaining_s=0.25) is None  # both tries are made
        True
        >>> Retry().compute_wait(1, 5.0, remaining_s=0.25) is None  # five seconds are not left
        True
    """

    tries: int = 4
    first_s: float = 0.02
    longest_s: float = 2.0
    draw: Callable[[float, float], float] = field(default=random.uniform, repr=False)

    def compute_wait(self, tried: int, retry_after_s: float, remaining_s: float) -> float | None:
        """The seconds to wait after ``tried`` tries, or None to give up.

        Example:
            >>> Retry(first_s=0.0).compute_wait(1, retry_after_s=0.1, remaining_s=0.25)
            0.1
        """
        if tried >= self.tries:
            return None
        jitter = self.draw(0.0, min(self.longest_s, self.first_s * 2.0 ** (tried - 1)))
        wait = max(jitter, retry_after_s)
        return wait if wait < remaining_s else None


def parse_retry_after(value: str | None, now: Callable[[], float]) -> float:
    """The seconds that a ``Retry-After`` header asks for, as a number or as a date; 0 where it asks for nothing."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now())
    except (TypeError, ValueError):
        return 0.0
