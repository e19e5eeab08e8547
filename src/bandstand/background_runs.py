"""Runs that a service has played for it: one at a time, each by a child process of the lowest priority.

The child is the command line's own. It ends, keeping what is done, when its standard input does: when it is stopped
here, and when the service dies.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from bandstand.child_process import build_python_command, close_input, start_idle_child, wait_or_kill
from bandstand.errors import BandstandError, OverloadedError
from bandstand.store.run_protocol import RunStore
from bandstand.store.tables.run_table import RunRecord

MAX_WAITING = 20

_PAUSE_S = 5.0
_MAX_REASON_CHARS = 300

log = structlog.get_logger("bandstand")


@dataclass(frozen=True, slots=True)
class RunKind:
    """What kind of runs a queue holds.

    Attributes:
        noun: what one is called.
        unknown: raised if no run has the number.
        build_arguments: the words of the ``bandstand`` command that plays the run of a number.
        environment: of the child, for what no list of processes may show; this process's if ``None``.
    """

    noun: str
    unknown: type[BandstandError]
    build_arguments: Callable[[int], Sequence[str]]
    environment: Mapping[str, str] | None = field(default=None, repr=False)


class RunQueue:
    """The runs of one kind of one service.

    Args:
        runs: where they are kept.
        kind: what they are, and what plays them; also an attribute.
        clock: seconds since the epoch.
    """

    def __init__(self, runs: RunStore, kind: RunKind, *, clock: Callable[[], float] = time.time) -> None:
        self._runs = runs
        self.kind = kind
        self._clock = clock
        self._child: tuple[int, asyncio.subprocess.Process] | None = None
        self._starting = asyncio.Lock()
        self._wakeup = asyncio.Event()
        self._player: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Mark what an earlier service left behind as interrupted, and be ready to play."""
        await self._interrupt_all()
        self._player = asyncio.create_task(self._run_queue())

    async def close(self) -> None:
        """Stop the child, which keeps what is done, and mark the other runs as interrupted."""
        if self._player is not None:
            async with self._starting:  # no child may be started that nobody would stop
                self._player.cancel()
            await asyncio.gather(self._player, return_exceptions=True)
        if self._child is not None:
            close_input(self._child[1])
            await wait_or_kill(self._child[1])
        await self._interrupt_all()

    async def enqueue(self, plan: str, total: int, client: str) -> RunRecord:
        """Let a run wait for its turn.

        Args:
            plan: JSON, for the child.
            total: its steps, as far as they are known.
            client: name of the API key.

        Raises:
            OverloadedError: too many runs wait.
        """
        queued = await asyncio.to_thread(self._create_run, plan, total, client)
        self._wakeup.set()
        return queued

    async def get(self, run: int) -> RunRecord:
        """One run with its summary.

        Raises:
            BandstandError: the kind's own, if there is none of that number.
        """
        return self._require(await asyncio.to_thread(self._runs.get, run, self._clock()))

    async def list_page(self, *, before: int | None, limit: int) -> list[RunRecord]:
        """Runs, newest first, without their summaries."""
        return await asyncio.to_thread(self._runs.list_page, before=before, limit=limit, now=self._clock())

    async def cancel(self, run: int) -> RunRecord:
        """End a run that waits or is played; one that has ended stays as it is.

        Raises:
            BandstandError: the kind's own, if there is none of that number.
        """
        await self.get(run)
        await asyncio.to_thread(self._runs.cancel, run, self._clock())
        self._close_child_input(run)
        return await self.get(run)

    async def delete(self, run: int) -> None:
        """End a run and forget all about it.

        Raises:
            BandstandError: the kind's own, if there is none of that number.
        """
        gone = await asyncio.to_thread(self._runs.delete, run)
        self._close_child_input(run)
        if not gone:
            raise self.kind.unknown(f"no such {self.kind.noun}")

    def _require(self, found: RunRecord | None) -> RunRecord:
        if found is None:
            raise self.kind.unknown(f"no such {self.kind.noun}")
        return found

    async def _interrupt_all(self) -> None:
        """Mark what nobody plays any more; a broken file is no reason not to serve."""
        if self._runs.exists:
            try:
                await asyncio.to_thread(self._runs.interrupt_all, self._clock())
            except BandstandError as error:
                log.warning("runs cannot be used", kind=self.kind.noun, reason=error.detail)

    def _create_run(self, plan: str, total: int, client: str) -> RunRecord:
        if len(self._runs.list_queued()) >= MAX_WAITING:
            raise OverloadedError(f"{MAX_WAITING} {self.kind.noun}s wait already")
        now = self._clock()
        run = self._runs.create(plan, total, origin="service", client=client, now=now)
        return self._require(self._runs.get(run, now))

    async def _run_queue(self) -> None:
        """Play waiting runs, one after the other, for ever."""
        while True:
            self._wakeup.clear()
            try:
                waiting = await asyncio.to_thread(self._runs.list_queued) if self._runs.exists else []
                for run in waiting:
                    await self._run_child(run)
            except BandstandError as error:
                log.warning("runs stand still", kind=self.kind.noun, reason=error.detail)
                await asyncio.sleep(_PAUSE_S)
            else:
                await self._wakeup.wait()

    async def _run_child(self, run: int) -> None:
        async with self._starting:
            child = await self._start_child(run)
            self._child = run, child
        why = await _read_last_line(child)
        self._child = None
        if await asyncio.to_thread(self._runs.fail, run, why, self._clock()):
            log.error("run failed", kind=self.kind.noun, run=run, reason=why)

    async def _start_child(self, run: int) -> asyncio.subprocess.Process:
        return await start_idle_child(
            build_python_command(*self.kind.build_arguments(run)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            environment=self.kind.environment,
        )

    def _close_child_input(self, run: int) -> None:
        """Let the child of a run know at once, rather than at its next write."""
        if self._child is not None and self._child[0] == run:
            close_input(self._child[1])


async def _read_last_line(child: asyncio.subprocess.Process) -> str:
    """Wait for a child that is ending, and give the last line it wrote, or else how it ended."""
    said = b"" if child.stderr is None else await child.stderr.read()
    code = await child.wait()
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:_MAX_REASON_CHARS] if lines else f"its process ended with exit code {code}"
