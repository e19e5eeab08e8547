"""Waiting while the ledger, or the judge's process, rests: what was to be done is done as soon as it can be."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from bandstand.errors import OverloadedError, StorageFullError, StorageUnavailableError
from bandstand.judge_worker.process import JudgeProcessNotStartedError

STORAGE_ERRORS: Final = (StorageFullError, StorageUnavailableError, OverloadedError)
"""Errors of a ledger that can do nothing now, and may a moment later."""

_PAUSE_S = 1.0
_LONG_PAUSE_S = 5.0

log = structlog.get_logger("bandstand")

T = TypeVar("T")


async def retry_while_resting(work: Callable[[], Awaitable[T]], waiting: str) -> T:
    """Repeat some work, after a pause each time, as long as the ledger or the judge's process is unavailable.

    Args:
        work: what to do.
        waiting: what waits meanwhile, for the log.

    Raises:
        BandstandError: any other error of the work.
    """
    while True:
        try:
            return await work()
        except (*STORAGE_ERRORS, JudgeProcessNotStartedError) as error:
            await pause(error, waiting)


async def pause(
    error: StorageFullError | StorageUnavailableError | OverloadedError | JudgeProcessNotStartedError, waiting: str
) -> None:
    """Log what waits for which, and let some time pass."""
    if isinstance(error, JudgeProcessNotStartedError):
        log.error("waiting for the judge's process", work=waiting, reason=error.detail)
        await asyncio.sleep(_LONG_PAUSE_S)
    else:
        log.warning("waiting for the ledger", work=waiting, reason=error.detail)
        await asyncio.sleep(_PAUSE_S)
