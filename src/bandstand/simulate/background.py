"""Runs that a service has played for it: one at a time, each by a child process of the lowest priority.

The child is the command line's own: ``bandstand simulate --resume RUN --supervised``. It ends, keeping what is done,
when its standard input does: when it is stopped here, and when the service dies.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from bandstand.bandit.catalogue import Catalogue
from bandstand.child_process import build_python_command, close_input, start_idle_child, wait_or_kill
from bandstand.errors import BandstandError, FieldError, InvalidRequestError, OverloadedError
from bandstand.simulate.errors import UnknownRunError
from bandstand.simulate.judges.judge_prompt import with_prompt
from bandstand.simulate.plan import Plan
from bandstand.simulate.run.runner import require_policies
from bandstand.store.tables.simulations import SimulationRun, Simulations

MAX_WAITING = 20
MAX_DECISIONS: Mapping[str, int] = {"rule": 20_000_000, "llm": 20_000}
"""By judge: an hour's work or two either way."""

MAX_EVENTS = 1_000_000

_PAUSE_S = 5.0
_MAX_REASON_CHARS = 300

log = structlog.get_logger("bandstand")


class BackgroundRuns:
    """The simulations of one service.

    Args:
        simulations: where runs are kept.
        state_dir: handed to the children.
        catalogue: the configured policies.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        simulations: Simulations,
        state_dir: Path,
        catalogue: Catalogue,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._simulations = simulations
        self._state_dir = state_dir
        self._catalogue = catalogue
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
        """Stop the child, which keeps what is done, and leave the rest as interrupted."""
        if self._player is not None:
            async with self._starting:  # no child may be started that nobody would stop
                self._player.cancel()
            await asyncio.gather(self._player, return_exceptions=True)
        if self._child is not None:
            close_input(self._child[1])
            await wait_or_kill(self._child[1])
        await self._interrupt_all()

    async def start(self, document: Mapping[str, Any], client: str) -> SimulationRun:
        """Queue a run.

        Args:
            document: the fields of a `Plan`, and ``judge`` as ``rule`` or ``llm``.
            client: name of the API key.

        Raises:
            InvalidRequestError: it is no plan, or too large a one.
            UnknownPolicyError: a policy is not configured.
            OverloadedError: too many runs wait.
        """
        names = [self._catalogue.get_policy(name).name for name in document["policies"]]
        judge = {"kind": document.get("judge", "rule")}
        plan = with_prompt(Plan.from_document({**document, "policies": names, "judge": judge}))
        _require_size(plan)
        plan = require_policies(plan, self._catalogue.policies)
        queued = await asyncio.to_thread(self._enqueue_run, plan, client)
        self._wakeup.set()
        return queued

    async def get(self, run: int) -> SimulationRun:
        """One run with its summary.

        Raises:
            UnknownRunError: there is none of that number.
        """
        found = await asyncio.to_thread(self._simulations.get, run, self._clock())
        if found is None:
            raise UnknownRunError("no such simulation")
        return found

    async def list_page(self, *, before: int | None, limit: int) -> list[SimulationRun]:
        """Runs, newest first, without their summaries."""
        return await asyncio.to_thread(self._simulations.list_page, before=before, limit=limit, now=self._clock())

    async def cancel(self, run: int) -> SimulationRun:
        """End a run that waits or is played; one that has ended stays as it is.

        Raises:
            UnknownRunError: there is none of that number.
        """
        await self.get(run)
        await asyncio.to_thread(self._simulations.cancel, run, self._clock())
        self._close_child_input(run)
        return await self.get(run)

    async def delete(self, run: int) -> None:
        """End a run and forget all about it.

        Raises:
            UnknownRunError: there is none of that number.
        """
        gone = await asyncio.to_thread(self._simulations.delete, run)
        self._close_child_input(run)
        if not gone:
            raise UnknownRunError("no such simulation")

    async def _interrupt_all(self) -> None:
        """Mark what nobody plays any more; a broken file is no reason not to serve."""
        if self._simulations.path.exists():
            try:
                await asyncio.to_thread(self._simulations.interrupt_all, self._clock())
            except BandstandError as error:
                log.warning("simulations cannot be used", reason=error.detail)

    def _enqueue_run(self, plan: Plan, client: str) -> SimulationRun:
        if len(self._simulations.list_queued()) >= MAX_WAITING:
            raise OverloadedError(f"{MAX_WAITING} simulations wait already")
        now = self._clock()
        run = self._simulations.create(plan.to_json(), plan.total, origin="service", client=client, now=now)
        found = self._simulations.get(run, now)
        if found is None:
            raise UnknownRunError("no such simulation")
        return found

    async def _run_queue(self) -> None:
        """Play what waits, one after the other, for ever."""
        while True:
            self._wakeup.clear()
            try:
                waiting = (
                    await asyncio.to_thread(self._simulations.list_queued) if self._simulations.path.exists() else []
                )
                for run in waiting:
                    await self._run_child(run)
            except BandstandError as error:
                log.warning("simulations stand still", reason=error.detail)
                await asyncio.sleep(_PAUSE_S)
            else:
                await self._wakeup.wait()

    async def _run_child(self, run: int) -> None:
        async with self._starting:
            child = await self._start_child(run)
            self._child = run, child
        why = await _read_last_line(child)
        self._child = None
        if await asyncio.to_thread(self._simulations.fail, run, why, self._clock()):
            log.error("simulation failed", simulation=run, reason=why)

    async def _start_child(self, run: int) -> asyncio.subprocess.Process:
        words = ["simulate", "--resume", str(run), "--supervised", "--state-dir", str(self._state_dir)]
        return await start_idle_child(
            build_python_command(*words), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )

    def _close_child_input(self, run: int) -> None:
        """Let the child of a run know at once, rather than at its next write."""
        if self._child is not None and self._child[0] == run:
            close_input(self._child[1])


def _require_size(plan: Plan) -> None:
    """Refuse what would keep the queue from moving.

    Raises:
        InvalidRequestError: it is too much for a service; the command line plays it.
    """
    most = MAX_DECISIONS[plan.judge.kind]
    kept = {"none": 0, "sample": plan.total // plan.seeds, "all": plan.total}[plan.events]
    faults = [
        FieldError(field, f"a service plays up to {allowed:,} {what}; the command line plays more")
        for field, what, asked, allowed in (
            ("seeds", f"decisions with the judge {plan.judge.kind}", plan.total, most),
            ("events", "decisions whose events are kept", kept, MAX_EVENTS),
        )
        if asked > allowed
    ]
    if faults:
        raise InvalidRequestError(faults[0].message, faults)


async def _read_last_line(child: asyncio.subprocess.Process) -> str:
    """Wait for a child that is ending, and give the last line it wrote, or else how it ended."""
    said = b"" if child.stderr is None else await child.stderr.read()
    code = await child.wait()
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:_MAX_REASON_CHARS] if lines else f"its process ended with exit code {code}"
