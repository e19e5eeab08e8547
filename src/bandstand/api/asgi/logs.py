"""The log: one JSON object a line on stderr, from us and from every library alike.

A log names events, routes, callers and codes, and never what somebody wrote: of an exception it shows the types and the
places, not its message and not local variables, both of which may hold a user's words; of a library's record it shows
the first line of the template, not the arguments.
"""

import json
import logging
import os
import select
import sys
from collections.abc import Iterator
from traceback import walk_tb
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from bandstand.errors import BandstandError

_MAX_FRAMES = 30


def configure_logging(level: str) -> None:
    """Send all logging to stderr as JSON lines.

    Args:
        level: the least severe of our own messages that are written; libraries' start at warnings.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(_Stderr())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_logger_name,
                structlog.stdlib.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                _truncate_event,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _redact_exception,
                structlog.processors.JSONRenderer(),
            ],
            use_get_message=False,
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("bandstand").setLevel(level.upper())


class _Stderr:
    """The present ``sys.stderr``: if it is replaced, the log follows.

    A line that it does not take at once (a disk that is full, a pipe that nobody reads, a terminal that was halted) is
    lost, and counted: nobody waits for the log.
    """

    def __init__(self) -> None:
        self._lost = 0

    def write(self, text: str) -> None:
        stream = sys.stderr
        if stream is None:
            return
        try:
            descriptor = stream.fileno()
        except (OSError, ValueError):  # no file at all: somebody's buffer
            stream.write(text)
            return
        if self._lost:
            note = json.dumps({"event": "log lines lost", "lines": self._lost, "level": "warning"})
            if not _write_at_once(descriptor, f"{note}\n".encode()):
                self._lost += 1
                return
            self._lost = 0
        self._lost += not _write_at_once(descriptor, text.encode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        """Nothing is held back."""


def _write_at_once(descriptor: int, data: bytes) -> bool:
    """Write all of it without waiting; whether that could be done."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    try:
        while data:
            if not poll.poll(0):
                return False
            data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]  # what fits where there is room at all
    except OSError:
        return False
    return True


def _truncate_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """What asyncio, for one, writes below the first line are reprs of whatever was at hand."""
    event["event"] = str(event["event"]).partition("\n")[0]
    event.pop("stack_info", None)
    return event


def _redact_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace an exception by where it came from."""
    given = event.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else sys.exc_info()[1] if given is True else given
    if isinstance(error, BaseException):
        event["exception"] = list(_iter_causes(error))
    return event


def _iter_causes(error: BaseException | None) -> Iterator[dict[str, Any]]:
    """An exception and what caused it, the newest first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        described: dict[str, Any] = {"type": f"{type(error).__module__}.{type(error).__qualname__}"}
        if isinstance(error, BandstandError):
            described["detail"] = error.detail  # safe to show, by its own promise
        described["frames"] = [
            f"{frame.f_globals.get('__name__')}:{line} {frame.f_code.co_qualname}"
            for frame, line in walk_tb(error.__traceback__)
        ][-_MAX_FRAMES:]
        if isinstance(error, BaseExceptionGroup):
            described["exceptions"] = [part for inner in error.exceptions for part in _iter_causes(inner)]
        yield described
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
