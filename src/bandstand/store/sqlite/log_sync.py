"""Syncs of the write-ahead log, beside the event loop: what was committed before one is on the disk after it.

A commit under ``synchronous=NORMAL`` writes its frames to the log and returns; ``fdatasync`` on any descriptor of that
file then hardens all of them. So the loop commits, one thread syncs, and waiters are notified in order; while a sync is
under way, the next group gathers. Why a descriptor of our own is safe: ``docs/adr/0036-commits-on-the-loop.md``.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

_QUICK_S = 60e-6
"""A sync that takes less is done by the loop itself: waking a thread would take longer. A memory-backed disk is so."""
_WEIGHT = 0.25  # of the newest sync in that average: one slow one sends the next to the thread

SyncedCallback = Callable[[BaseException | None], None]
"""Called on the event loop after a sync, with what it raised."""

_flush = getattr(os, "fdatasync", os.fsync)


class LogSync:
    """The one who syncs a log; all methods but :meth:`sync` are for the event loop's thread.

    Args:
        path: the log's file, which must be there.

    Attributes:
        failure: what a sync raised. After one that failed nobody knows what is on the disk: there is no second try.
    """

    def __init__(self, path: Path) -> None:
        self.failure: OSError | None = None
        self._loop = asyncio.get_running_loop()
        self._waiting: list[SyncedCallback] = []
        self._busy = False
        self._usual_s = 1.0  # what a sync takes, as a moving average; slow until it is known better
        self._requests: SimpleQueue[list[SyncedCallback] | None] = SimpleQueue()
        self._descriptor = os.open(path, os.O_RDWR)
        _sync_folder(path.parent)
        self._thread = threading.Thread(target=self._run, name="ledger-sync", daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for a sync."""
        return not self._busy

    def call_after(self, callback: SyncedCallback) -> None:
        """Sync everything that was committed so far, then call ``callback``."""
        if not self._busy and self._usual_s < _QUICK_S:
            callback(self._try_sync())
            return
        self._waiting.append(callback)
        if not self._busy:
            self._busy = True
            self._send()

    def sync(self) -> None:
        """Sync on the calling thread.

        Raises:
            OSError: this sync failed, or an earlier one had.
        """
        if self.failure is not None:
            raise self.failure
        started = time.perf_counter()
        try:
            _flush(self._descriptor)
        except OSError as error:
            self.failure = error
            raise
        self._usual_s += _WEIGHT * (time.perf_counter() - started - self._usual_s)

    async def close(self) -> None:
        """Stop the thread; nobody may be waiting."""
        self._requests.put(None)
        await asyncio.to_thread(self._thread.join)
        os.close(self._descriptor)

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._requests.put(waiting)

    def _finish(self, waiting: list[SyncedCallback], error: BaseException | None) -> None:
        if self._waiting:
            self._send()  # first, so that the disk works while the answers go out
        else:
            self._busy = False
        for callback in waiting:
            callback(error)

    def _run(self) -> None:
        while (waiting := self._requests.get()) is not None:
            self._loop.call_soon_threadsafe(self._finish, waiting, self._try_sync())

    def _try_sync(self) -> BaseException | None:
        try:
            self.sync()
        except OSError as failure:
            return failure
        return None


def _sync_folder(folder: Path) -> None:
    """Sync the names in a folder: a log that was synced must be found again."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
