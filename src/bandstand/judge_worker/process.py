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
from bandstand.judge.verdict import Judged, parse_judged
from bandstand.store.tables.judgements import TurnTexts

_LOWEST_PRIORITY = 19
_MAX_LINE_BYTES = 16 * 1024 * 1024
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 5.0

log = structlog.get_logger("bandstand")


class JudgeProcessDiedError(BandstandError):
    """The process ended, or was ended because it took too long, with this turn in it."""

    code = "judge-child-died"


class JudgeProcessNotStartedError(BandstandError):
    """The process did not come up; no turn was in it."""

    code = "judge-child-not-started"


class TurnFailedError(BandstandError):
    """The judge met a fault of its own over this turn."""

    code = "turn-failed"


class TokenUsage(NamedTuple):
    """Tokens that a question has cost: read and written, by all tries of all calls."""

    prompt_tokens: int
    completion_tokens: int


class PendingQuestion(NamedTuple):
    """A question that is in the process.

    Attributes:
        number: its own.
        process: that it was handed to.
        answer: what the process says to it.
        answers_before: answers to all questions that had come when it was asked.
    """

    number: int
    process: asyncio.subprocess.Process
    answer: "asyncio.Future[dict[str, Any]]"
    answers_before: int


class JudgeProcess:
    """A child process, started when it is first needed.

    Args:
        command: what to run.
        environment: of the process, secrets included: nothing of them is on its command line.
        timeout_s: seconds that one question may take; then the process is taken to hang, and is killed.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, timeout_s: float) -> None:
        self.deaths = 0
        self._command = tuple(command)
        self._environment = dict(environment)
        self._timeout_s = timeout_s
        self._start_lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._listener: asyncio.Task[None] | None = None
        self._pending: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._answer_count = 0

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process, unless it runs.

        Raises:
            ChildNotStartedError: it does not come up.
        """
        await self._ensure_started()

    async def judge(self, texts: TurnTexts, taxonomy: str, *, allow_llm: bool) -> tuple[Judged, TokenUsage]:
        """Have a turn judged, and learn what that has cost.

        Raises:
            ChildNotStartedError: the process does not come up.
            ChildDiedError: it ended with this turn in it.
            TurnFailedError: the judge itself failed.
        """
        question = await self.send_question({"turn": texts, "taxonomy": taxonomy, "allow_llm": allow_llm})
        try:
            answer = await self.wait_for_answer(question)
        finally:
            question.answer.cancel()
        if "failed" in answer:
            raise TurnFailedError(str(answer["failed"]))
        return parse_judged(answer["judged"]), TokenUsage(*answer["spent"])

    async def send_question(self, question: Mapping[str, object]) -> PendingQuestion:
        """Hand a question to the process.

        Raises:
            ChildNotStartedError: it does not come up.
        """
        process = await self._ensure_started()
        self._number += 1
        pending = PendingQuestion(self._number, process, asyncio.get_running_loop().create_future(), self._answer_count)
        self._pending[pending.number] = pending.answer
        pending.answer.add_done_callback(lambda _: self._pending.pop(pending.number, None))
        _write_line(process, {"id": pending.number, **question})
        return pending

    async def wait_for_answer(self, question: PendingQuestion) -> dict[str, Any]:
        """Wait for the answer; it may be waited for again, should this wait be cancelled.

        Raises:
            ChildDiedError: the process ended with the question in it, or was ended because it hangs.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(question.answer)
        except TimeoutError:
            self._stop_hung(question.process)
            raise JudgeProcessDiedError("the judge took too long") from None

    def cancel(self, question: PendingQuestion) -> None:
        """Have a call of the LLM cancelled; :meth:`final_usage` says what it has cost so far."""
        _write_line(question.process, {"let_go": question.number})

    async def final_usage(self, question: PendingQuestion) -> dict[str, Any] | None:
        """Wait for the answer to a call that was let go; ``None`` if the process died or has forgotten it.

        Nobody needs the answer, so for want of it a process that answers others is left alone. One that has said
        nothing at all since the call was made is ended: where all who ask leave before the patience is over, nobody
        else would notice that it hangs.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await question.answer
        except TimeoutError:
            if self._answer_count == question.answers_before:
                self._stop_hung(question.process)
            return None
        except JudgeProcessDiedError:
            return None
        finally:
            question.answer.cancel()

    async def close(self) -> None:
        """End the process; turns in it are lost to it, and wait in the ledger."""
        async with self._start_lock:
            process, listening = self._process, self._listener
            if process is None or listening is None:
                return
            if process.stdin is not None:
                process.stdin.close()
            await _wait_or_kill(process)
            await listening

    async def _ensure_started(self) -> asyncio.subprocess.Process:
        async with self._start_lock:
            if self._process is None:
                self._process = await self._start_process()
                self._listener = asyncio.create_task(self._listen(self._process))
            return self._process

    async def _start_process(self) -> asyncio.subprocess.Process:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=self._environment,
                limit=_MAX_LINE_BYTES,
                start_new_session=True,  # a Ctrl-C at the service's terminal is for the service
            )
        except OSError as error:
            raise JudgeProcessNotStartedError(f"the judge's process does not start: {error.strerror}") from error
        _set_lowest_priority(process.pid)
        ready = b""
        try:
            if process.stdout is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_START_TIMEOUT_S):  # wait_for loses a cancellation that meets the answer
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
            raise JudgeProcessNotStartedError(f"the judge's process ended at its start, with exit code {code}")
        return process

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is not None:
            with contextlib.suppress(ValueError, ConnectionError):  # a line beyond all measure is no answer of ours
                while line := await process.stdout.readline():
                    answer = json.loads(line)
                    self._answer_count += 1
                    future = self._pending.get(answer["id"])
                    if future is not None and not future.done():
                        future.set_result(answer)
        code = await _wait_or_kill(process)  # whatever it does now, nobody would hear of it
        self._process = None
        pending, self._pending = self._pending, {}
        if pending:
            self.deaths += 1
            log.error("the judge's process died", exit_code=code, under_way=len(pending))
        for future in pending.values():
            if not future.done():
                future.set_exception(JudgeProcessDiedError("the judge's process died"))
                future.exception()  # seen: whoever asked may have gone, and asyncio would complain of that

    def _stop_hung(self, process: asyncio.subprocess.Process) -> None:
        log.error("the judge's process hangs and is ended", seconds=self._timeout_s)
        with contextlib.suppress(ProcessLookupError):
            process.kill()


async def _wait_or_kill(process: asyncio.subprocess.Process) -> int:
    """Wait for a process that should end by itself; after a while it is killed.

    To kill one that has just ended would collect its exit code, and asyncio would look for it in vain.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            return await process.wait()
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    return await process.wait()


def _write_line(process: asyncio.subprocess.Process, message: Mapping[str, object]) -> None:
    if process.stdin is not None:
        process.stdin.write(json.dumps(message).encode() + b"\n")


def build_python_command(*words: str) -> list[str]:
    """The command line's own, run by this Python."""
    return [sys.executable, "-m", "bandstand", *words]


def _set_lowest_priority(pid: int) -> None:
    with contextlib.suppress(OSError):  # it may be gone already
        os.setpriority(os.PRIO_PROCESS, pid, _LOWEST_PRIORITY)
        if sys.platform == "linux":  # there, even the nicest keeps a core for a few milliseconds once it has it
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
