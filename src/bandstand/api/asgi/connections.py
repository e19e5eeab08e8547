"""The connections of a server: how long a request may take to arrive, and how many may stay silent.

A connection costs a descriptor, and a process has a bounded number of them. So a connection that has sent nothing, or
half of a request, is *watched*: it is closed at a deadline, or when there are too many like it. The longest watched go
first. A whole request ends the watch; what it asks for is no business of this module.
"""

import asyncio
import resource
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

IDLE_SECONDS: Final = 75
"""Longer than the usual client or proxy keeps an idle connection, so that the client is the one who closes it."""
HEAD_SECONDS: Final = 10.0
"""From the first byte of a request to the end of its headers."""
BODY_SECONDS: Final = 30.0
"""From the end of the headers to the end of the body, which is 1 MiB at most."""
STALLED_SECONDS: Final = 60.0
"""That an answer may wait for its reader to take more of it."""
STOP_SECONDS: Final = 1.0
"""What is left of each of these once the server stops."""

_MAX_DESCRIPTORS = 16_384
_MAX_RESERVE = 256
"""Descriptors for the rest of the process: the ledger, its readers, documents, the judge's process, the gateway."""
_TICK_SECONDS = 1.0
_QUIET_SECONDS = 10.0

log = structlog.get_logger("bandstand.server")


class Timekeeper(Protocol):
    """What of an event loop is needed here."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> object:
        """Call a function once, after a number of seconds."""


class WatchedConnection(Protocol):
    """A connection that can be closed."""

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request of which nothing has come."""

    def expire(self) -> float | None:
        """End, with an answer if one is due; or say how many more seconds it has, because the delay is not its own."""

    def drop(self) -> None:
        """End at once."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections a server holds.

    Attributes:
        total: at once; beyond that an idle one is closed, else the new one.
        watched: of those, how many may have sent nothing whole; beyond that the longest watched is closed.
    """

    total: int
    watched: int

    @classmethod
    def from_descriptors(cls, descriptors: int) -> "ConnectionLimits":
        """The limit for a process that may open this many files."""
        total = max(8, descriptors - min(_MAX_RESERVE, descriptors // 4))
        return cls(total=total, watched=max(4, total // 2))


def raise_descriptor_limit() -> int:
    """Let this process open as many files as it may, within reason; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return _MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(soft, _MAX_DESCRIPTORS)


class ConnectionWatch:
    """Watches the connections of one server. All methods are for the event loop's thread.

    Args:
        limits: how many there may be.
        loop: the running event loop, if left out.
    """

    def __init__(self, limits: ConnectionLimits, loop: Timekeeper | None = None) -> None:
        self._limits = limits
        self._loop = loop
        self._deadlines: dict[WatchedConnection, float] = {}  # the longest watched first
        self._ticking = False
        self._stopping = False
        self._closed: dict[str, int] = {}  # by reason, since the last line of the log
        self._logged_at = float("-inf")

    @property
    def count(self) -> int:
        """Connections that are watched."""
        return len(self._deadlines)

    def admit(self, connection: WatchedConnection, connections: Iterable[WatchedConnection], count: int) -> None:
        """Accept a new connection, which has sent nothing so far; make room for it if there is none.

        Args:
            connection: the new one.
            connections: all, this one included.
            count: of all.
        """
        self.watch(connection, IDLE_SECONDS)
        if len(self._deadlines) > self._limits.watched:
            self._drop(next(iter(self._deadlines)), "too many that sent nothing whole")
        elif count > self._limits.total:
            idle = next((each for each in connections if each.is_idle and each is not connection), connection)
            self._drop(idle, "too many connections")

    def watch(self, connection: WatchedConnection, seconds: float) -> None:
        """Set a connection's deadline to a number of seconds from now; it keeps its place among the watched."""
        loop = self._get_loop()
        self._deadlines[connection] = loop.time() + (min(seconds, STOP_SECONDS) if self._stopping else seconds)
        if not self._ticking:
            self._ticking = True
            loop.call_later(_TICK_SECONDS, self._tick)

    def release(self, connection: WatchedConnection) -> None:
        """End the watch: the connection has done its part, or is gone."""
        self._deadlines.pop(connection, None)

    def hurry(self) -> None:
        """The server stops: nobody who is watched has long any more."""
        self._stopping = True
        for connection, deadline in self._deadlines.items():
            self._deadlines[connection] = min(deadline, self._get_loop().time() + STOP_SECONDS)
        self._logged_at = float("-inf")
        self._write_log(self._get_loop().time())

    def _get_loop(self) -> Timekeeper:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _tick(self) -> None:
        loop = self._get_loop()
        now = loop.time()
        for connection in [each for each, deadline in self._deadlines.items() if deadline <= now]:
            more = connection.expire()
            if more is None:
                self._deadlines.pop(connection, None)
                self._count("too slow")
            else:
                self.watch(connection, more)
        self._write_log(now)
        self._ticking = bool(self._deadlines or self._closed)
        if self._ticking:
            loop.call_later(_TICK_SECONDS, self._tick)

    def _drop(self, connection: WatchedConnection, reason: str) -> None:
        self._deadlines.pop(connection, None)
        connection.drop()
        self._count(reason)

    def _count(self, reason: str) -> None:
        self._closed[reason] = self._closed.get(reason, 0) + 1

    def _write_log(self, now: float) -> None:
        """Write one line for many connections, so that an attacker cannot fill the log either."""
        if self._closed and now - self._logged_at >= _QUIET_SECONDS:
            log.warning("connections closed", reasons=self._closed, limit=self._limits.total)
            self._closed, self._logged_at = {}, now
