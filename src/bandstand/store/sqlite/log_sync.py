"""Syncs of the write-ahead log, beside the event loop: what was committed before one is on the disk after it.

A commit under ``synchronous=NORMAL`` writes its frames to the log and returns; ``fdatasync`` on any descriptor of that
file then hardens all of them. So the loop commits, one thread syncs, and whoever waits hears of it in order; while a
sync is under way the next one gathers. Why a descriptor of our own is safe: ``docs/adr/0036-commits-on-the-loop.md``.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

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
        """Have everything that was committed so far synced, then ``callback`` called."""
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
        try:
            _flush(self._descriptor)
        except OSError as error:
            self.failure = error
            raise

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
            error: BaseException | None = None
            try:
                self.sync()
            except OSError as failure:
                error = failure
            self._loop.call_soon_threadsafe(self._finish, waiting, error)


def _sync_folder(folder: Path) -> None:
    """Harden the names in a folder: a log that was synced must be found again."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
