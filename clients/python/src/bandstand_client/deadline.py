"""A deadline that goes down to every read of a socket."""

import time


class Deadline(float):
    """A moment by which a call has ended; as a number, the seconds that were left when it was made.

    It is a float, so that it passes through an HTTP library as a timeout. Where it arrives at a socket,
    :meth:`compute_remaining` says what is left of it by then: an answer that trickles in, byte after byte, is over in
    time too.

    Example:
        >>> from bandstand_client.deadline import Deadline
        >>> Deadline(5.0).compute_remaining() <= 5.0
        True
    """

    __slots__ = ("_ends",)

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._ends = time.monotonic() + seconds

    def compute_remaining(self) -> float:
        """The seconds that are left; 0 or less once it is past."""
        return self._ends - time.monotonic()


def compute_remaining(timeout: float | None) -> float | None:
    """What is left of a timeout now, if it is a deadline; else the timeout."""
    return timeout.compute_remaining() if isinstance(timeout, Deadline) else timeout
