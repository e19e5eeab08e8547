"""Processes that serve one port together: started, watched, started again where one ends, and stopped together.

The first is started alone. So what keeps all of them from starting is said once, and ends the command as it ends one
that serves by itself.
"""

import gc
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Self

import structlog

from bandstand.child_process import end_with_parent

_STOPS: Final = (signal.SIGINT, signal.SIGTERM)
_CAUGHT: Final = (*_STOPS, signal.SIGCHLD)
_FIRST_DELAY_S, _MAX_DELAY_S = 0.1, 5.0
_SOUND_S = 10.0
"""A worker that has served for so long did not end because it cannot serve."""

log = structlog.get_logger("bandstand")


@dataclass(slots=True)
class _Worker:
    """A process.

    Attributes:
        number: its place, from 0.
        started: what it writes to once it takes requests; ``None`` when it has.
        failures: how many of its predecessors ended soon, one after the other.
        since: when it took requests, in monotonic seconds.
    """

    number: int
    started: int | None
    failures: int
    since: float | None = None


class WorkerGroup:
    """The processes, and the one that watches them, which has no threads and no loop: a fork copies no lock.

    Args:
        count: how many serve.
        serve: what a worker does, given what to call once it takes requests.
        on_started: called when all take requests for the first time.
    """

    def __init__(
        self,
        count: int,
        serve: Callable[[Callable[[], None]], None],
        *,
        on_started: Callable[[], None],
    ) -> None:
        self._count = count
        self._serve = serve
        self._on_started = on_started
        self._workers: dict[int, _Worker] = {}  # by process
        self._due: dict[int, tuple[float, int]] = {}  # by number: when it is started again, after how many failures
        self._have_started = False
        self._is_stopping = False
        self._code = 0

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT has stopped all in good order; the exit code.

        Raises:
            SystemExit: this process is a worker that has done its part.
        """
        gc.collect()
        gc.freeze()  # what is there now is shared by all for as long as nobody writes to it
        with _Signals() as self._signals:
            self._start(0)
            while self._workers or self._due:
                self._wait()
        return self._code

    # ── one worker ────────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self, number: int, failures: int = 0) -> None:
        parent = os.getpid()
        receiver, sender = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, _CAUGHT)  # what comes meanwhile is for whoever it was sent to
        pid = os.fork()
        if pid == 0:
            self._signals.give_back()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _CAUGHT)
        if pid:
            os.close(sender)
            self._workers[pid] = _Worker(number, receiver, failures)
            return
        os.close(receiver)
        end_with_parent(signal.SIGTERM)
        if os.getppid() == parent:
            self._serve(partial(_write_start, sender))
        raise SystemExit(0)

    def _note_start(self, worker: _Worker) -> None:
        """Look at what a worker wrote: that it takes requests, or nothing at all because it has ended."""
        if worker.started is None:
            return
        if os.read(worker.started, 1):
            worker.since = time.monotonic()
        os.close(worker.started)
        worker.started = None
        if worker.since is None or self._have_started or self._is_stopping:
            return
        if len(self._workers) == 1:
            for number in range(1, self._count):
                self._start(number)
        self._have_started = all(each.since is not None for each in self._workers.values())
        if self._have_started:
            self._on_started()

    def _note_end(self, pid: int, worker: _Worker, status: int) -> None:
        self._note_start(worker)
        del self._workers[pid]
        code = os.waitstatus_to_exitcode(status)
        if self._is_stopping or not self._have_started:
            was_asked = self._is_stopping and worker.since is None and code == -signal.SIGTERM
            self._code = max(self._code, 0 if was_asked else code if code >= 0 else 1)
            self._stop()
            return
        is_sound = worker.since is not None and time.monotonic() - worker.since > _SOUND_S
        failures = 0 if is_sound else worker.failures
        delay = min(_FIRST_DELAY_S * 2**failures, _MAX_DELAY_S)
        self._due[worker.number] = (time.monotonic() + delay, failures + 1)
        log.error("a worker ended and is started again", worker=worker.number, pid=pid, exit_code=code, seconds=delay)

    # ── all of them ───────────────────────────────────────────────────────────────────────────────────────────────

    def _wait(self) -> None:
        """Wait until something happens, and handle it."""
        caught = self._signals.descriptor
        due = min((at for at, _ in self._due.values()), default=None)
        seconds = None if due is None else max(0.0, due - time.monotonic())
        starting = {each.started: each for each in self._workers.values() if each.started is not None}
        readable, _, _ = select.select([caught, *starting], [], [], seconds)
        for descriptor in readable:
            if descriptor != caught:
                self._note_start(starting[descriptor])
        if caught in readable:
            for number in os.read(caught, 1024):
                if number in _STOPS:
                    self._stop(number)
        for pid, worker in list(self._workers.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._note_end(pid, worker, status)
        for number, (at, failures) in list(self._due.items()):
            if at <= time.monotonic():
                del self._due[number]
                self._start(number, failures)

    def _stop(self, again: int | None = None) -> None:
        """Ask all to stop, once; a further signal is passed on, for a second SIGINT means at once."""
        if not self._is_stopping:
            self._is_stopping = True
            self._due.clear()
            again = signal.SIGTERM
        if again is not None:
            for pid in self._workers:
                os.kill(pid, again)


class _Signals:
    """Signals as bytes to read: their numbers come out of the descriptor while the block lasts.

    Attributes:
        descriptor: to wait for, and to read.
    """

    def __init__(self) -> None:
        self.descriptor, self._sender = os.pipe()
        os.set_blocking(self._sender, False)
        self._before = {number: signal.signal(number, _ignore) for number in _CAUGHT}
        signal.set_wakeup_fd(self._sender, warn_on_full_buffer=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def give_back(self) -> None:
        """Let signals do what they did before; idempotent."""
        if self._sender < 0:
            return
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._sender)
        os.close(self.descriptor)
        self._sender = -1


def _write_start(sender: int) -> None:
    os.write(sender, b".")
    os.close(sender)


def _ignore(*_: object) -> None:
    """What Python calls for a signal whose number has been written already."""
