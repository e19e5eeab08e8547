"""The process in which turns are judged, as the service sees it: of the lowest priority, fed by a pipe.

One line of JSON a question goes in, one comes out, in any order: turns to judge, and calls of the LLM for somebody who
waits (:mod:`bandstand.wiring.judge_child` has the form). It ends when its input does: when it is closed here, and when
the service dies. Who dies while questions are in it is started again for the next one.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import structlog

from bandstand.errors import BandstandError
from bandstand.judge.verdict import Judged, judged_from_json
from bandstand.store.tables.judgements import Texts

_NICEST = 19
_LINE = 16 * 1024 * 1024
_START_S = 60.0
_STOP_S = 5.0

log = structlog.get_logger("bandstand")


class ChildDiedError(BandstandError):
    """The process ended, or was ended because it took too long, with this turn in it."""

    code = "judge-child-died"


class ChildNotStartedError(BandstandError):
    """The process did not come up; no turn was in it."""

    code = "judge-child-not-started"


class TurnFailedError(BandstandError):
    """The judge met a fault of its own over this turn."""

    code = "turn-failed"


class Spent(NamedTuple):
    """Tokens that a question has cost: read and written, by all tries of all calls."""

    prompt_tokens: int
    completion_tokens: int


class Asked(NamedTuple):
    """A question that is in the process.

    Attributes:
        number: its own.
        process: that it was handed to.
        answer: what the process says to it.
        heard: answers to all questions that had come when it was asked.
    """

    number: int
    process: asyncio.subprocess.Process
    answer: "asyncio.Future[dict[str, Any]]"
    heard: int


class JudgeChild:
    """A child process, started when it is first needed.

    Args:
        command: what to run.
        environment: of the process, secrets included: nothing of them is on its command line.
        patience_s: seconds that one question may take; then the process is taken to hang, and is killed.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, patience_s: float) -> None:
        self.deaths = 0
        self._command = tuple(command)
        self._environment = dict(environment)
        self._patience_s = patience_s
        self._starting = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._heard = 0

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process, unless it runs.

        Raises:
            ChildNotStartedError: it does not come up.
        """
        await self._started()

    async def judge(self, texts: Texts, taxonomy: str, *, allow_llm: bool) -> tuple[Judged, Spent]:
        """Have a turn judged, and learn what that has cost.

        Raises:
            ChildNotStartedError: the process does not come up.
            ChildDiedError: it ended with this turn in it.
            TurnFailedError: the judge itself failed.
        """
        asked = await self.ask({"turn": texts, "taxonomy": taxonomy, "allow_llm": allow_llm})
        try:
            answer = await self.answer(asked)
        finally:
            asked.answer.cancel()
        if "failed" in answer:
            raise TurnFailedError(str(answer["failed"]))
        return judged_from_json(answer["judged"]), Spent(*answer["spent"])

    async def ask(self, question: Mapping[str, object]) -> Asked:
        """Hand a question to the process.

        Raises:
            ChildNotStartedError: it does not come up.
        """
        process = await self._started()
        self._number += 1
        asked = Asked(self._number, process, asyncio.get_running_loop().create_future(), self._heard)
        self._asked[asked.number] = asked.answer
        asked.answer.add_done_callback(lambda _: self._asked.pop(asked.number, None))
        _write(process, {"id": asked.number, **question})
        return asked

    async def answer(self, asked: Asked) -> dict[str, Any]:
        """Wait for the answer; it may be waited for again, should this wait be cancelled.

        Raises:
            ChildDiedError: the process ended with the question in it, or was ended because it hangs.
        """
        try:
            async with asyncio.timeout(self._patience_s):
                return await asyncio.shield(asked.answer)
        except TimeoutError:
            self._end(asked.process)
            raise ChildDiedError("the judge took too long") from None

    def let_go(self, asked: Asked) -> None:
        """Have a call of the LLM cancelled; :meth:`last_word` says what it has cost so far."""
        _write(asked.process, {"let_go": asked.number})

    async def last_word(self, asked: Asked) -> dict[str, Any] | None:
        """Wait for the answer to a call that was let go; ``None`` if the process died or has forgotten it.

        Nobody needs the answer, so for want of it a process that answers others is left alone. One that has said
        nothing at all since the call was made is ended: where all who ask leave before the patience is over, nobody
        else would notice that it hangs.
        """
        try:
            async with asyncio.timeout(self._patience_s):
                return await asked.answer
        except TimeoutError:
            if self._heard == asked.heard:
                self._end(asked.process)
            return None
        except ChildDiedError:
            return None
        finally:
            asked.answer.cancel()

    async def close(self) -> None:
        """End the process; turns in it are lost to it, and wait in the ledger."""
        async with self._starting:
            process, listening = self._process, self._listening
            if process is None or listening is None:
                return
            if process.stdin is not None:
                process.stdin.close()
            await _ended(process)
            await listening

    async def _started(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._process is None:
                self._process = await self._start()
                self._listening = asyncio.create_task(self._listen(self._process))
            return self._process

    async def _start(self) -> asyncio.subprocess.Process:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=self._environment,
                limit=_LINE,
                start_new_session=True,  # a Ctrl-C at the service's terminal is for the service
            )
        except OSError as error:
            raise ChildNotStartedError(f"the judge's process does not start: {error.strerror}") from error
        _give_way(process.pid)
        ready = b""
        try:
            if process.stdout is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_START_S):  # wait_for loses a cancellation that meets the answer
                        ready = await process.stdout.readline()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        if not ready:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            code = await process.wait()
            raise ChildNotStartedError(f"the judge's process ended at its start, with exit code {code}")
        return process

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is not None:
            with contextlib.suppress(ValueError, ConnectionError):  # a line beyond all measure is no answer of ours
                while line := await process.stdout.readline():
                    answer = json.loads(line)
                    self._heard += 1
                    future = self._asked.get(answer["id"])
                    if future is not None and not future.done():
                        future.set_result(answer)
        code = await _ended(process)  # whatever it does now, nobody would hear of it
        self._process = None
        asked, self._asked = self._asked, {}
        if asked:
            self.deaths += 1
            log.error("the judge's process died", exit_code=code, under_way=len(asked))
        for future in asked.values():
            if not future.done():
                future.set_exception(ChildDiedError("the judge's process died"))
                future.exception()  # seen: whoever asked may have gone, and asyncio would complain of that

    def _end(self, process: asyncio.subprocess.Process) -> None:
        log.error("the judge's process hangs and is ended", seconds=self._patience_s)
        with contextlib.suppress(ProcessLookupError):
            process.kill()


async def _ended(process: asyncio.subprocess.Process) -> int:
    """Wait for a process that should end by itself; after a while it is killed.

    To kill one that has just ended would collect its exit code, and asyncio would look for it in vain.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STOP_S):
            return await process.wait()
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    return await process.wait()


def _write(process: asyncio.subprocess.Process, line: Mapping[str, object]) -> None:
    if process.stdin is not None:
        process.stdin.write(json.dumps(line).encode() + b"\n")


def python_command(*words: str) -> list[str]:
    """The command line's own, run by this Python."""
    return [sys.executable, "-m", "bandstand", *words]


def _give_way(pid: int) -> None:
    with contextlib.suppress(OSError):  # it may be gone already
        os.setpriority(os.PRIO_PROCESS, pid, _NICEST)
        if sys.platform == "linux":  # there, even the nicest keeps a core for a few milliseconds once it has it
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
