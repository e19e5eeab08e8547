"""The process in which turns are judged, as the service sees it: of the lowest priority, fed by a pipe.

Questions go in and answers come out in any order, as :mod:`bandstand.judge_worker.protocol` has them. It ends when its
input does: when it is closed here, and when the service dies. If it dies with questions in it, the next question starts
another.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import structlog

from bandstand.child_process import close_input, kill, start_idle_child, wait_or_kill
from bandstand.errors import BandstandError
from bandstand.judge.verdict import Judged, Unscored, Verdict
from bandstand.judge_worker.protocol import (
    MAX_LINE_BYTES,
    Answer,
    Question,
    QuestionFailed,
    TurnQuestion,
    encode_cancellation,
    encode_question,
    parse_answer,
)
from bandstand.llm.chat import TokenUsage

_START_TIMEOUT_S = 60.0

log = structlog.get_logger("bandstand")


class JudgeProcessDiedError(BandstandError):
    """The process ended, or was ended because it took too long, with this turn in it."""

    code = "judge-child-died"


class JudgeProcessNotStartedError(BandstandError):
    """The process did not come up; no turn was in it."""

    code = "judge-child-not-started"


class TurnFailedError(BandstandError):
    """The judge failed on this turn by a fault of its own."""

    code = "turn-failed"


class PendingQuestion(NamedTuple):
    """A question that is in the process.

    Attributes:
        number: its own.
        process: that it was handed to.
        answer: what the process says to it, as it came.
        answers_before: how many answers, to any question, had come when it was asked.
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
            JudgeProcessNotStartedError: it does not come up.
        """
        await self._ensure_started()

    async def judge(self, turn: TurnQuestion) -> tuple[Judged, TokenUsage]:
        """Judge a turn in the process, and return the verdict and its cost.

        Raises:
            JudgeProcessNotStartedError: the process does not come up.
            JudgeProcessDiedError: it ended with this turn in it.
            TurnFailedError: the judge itself failed.
        """
        question = await self.send_question(turn)
        try:
            answer = await self.wait_for_answer(question)
        finally:
            question.answer.cancel()
        if isinstance(answer.result, Verdict | Unscored):
            return answer.result, answer.usage
        raise TurnFailedError(answer.result.error if isinstance(answer.result, QuestionFailed) else "no verdict")

    async def send_question(self, question: Question) -> PendingQuestion:
        """Hand a question to the process.

        Raises:
            JudgeProcessNotStartedError: it does not come up.
        """
        process = await self._ensure_started()
        self._number += 1
        pending = PendingQuestion(self._number, process, asyncio.get_running_loop().create_future(), self._answer_count)
        self._pending[pending.number] = pending.answer
        pending.answer.add_done_callback(lambda _: self._pending.pop(pending.number, None))
        _write_line(process, encode_question(pending.number, question))
        return pending

    async def wait_for_answer(self, question: PendingQuestion) -> Answer:
        """Wait for the answer; it may be waited for again, should this wait be cancelled.

        Raises:
            JudgeProcessDiedError: the process ended with the question in it, or was ended because it hangs.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return parse_answer(await asyncio.shield(question.answer))
        except TimeoutError:
            self._stop_hung(question.process)
            raise JudgeProcessDiedError("the judge took too long") from None

    def cancel(self, question: PendingQuestion) -> None:
        """Cancel a call of the LLM; :meth:`final_usage` returns what it has cost so far."""
        _write_line(question.process, encode_cancellation(question.number))

    async def final_usage(self, question: PendingQuestion) -> TokenUsage | None:
        """Wait until a call that was cancelled says what it has cost; ``None`` if the process died or forgot it.

        Nobody needs the answer, so for want of it a process that answers others is left alone. One that has said
        nothing at all since the call was made is ended: where all who ask leave before the patience is over, nobody
        else would notice that it hangs.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return parse_answer(await question.answer).usage
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
            close_input(process)
            await wait_or_kill(process)
            await listening

    async def _ensure_started(self) -> asyncio.subprocess.Process:
        async with self._start_lock:
            if self._process is None:
                self._process = await self._start_process()
                self._listener = asyncio.create_task(self._listen(self._process))
            return self._process

    async def _start_process(self) -> asyncio.subprocess.Process:
        try:
            process = await start_idle_child(
                self._command,
                stdout=asyncio.subprocess.PIPE,
                environment=self._environment,
                max_line_bytes=MAX_LINE_BYTES,
            )
        except OSError as error:
            raise JudgeProcessNotStartedError(f"the judge's process does not start: {error.strerror}") from error
        ready = b""
        try:
            if process.stdout is not None:
                async with asyncio.timeout(_START_TIMEOUT_S):  # wait_for loses a cancellation that meets the answer
                    ready = await process.stdout.readline()
        except TimeoutError:
            kill(process)
        except asyncio.CancelledError:
            kill(process)
            await process.wait()
            raise
        if not ready:
            code = await wait_or_kill(process)
            raise JudgeProcessNotStartedError(f"the judge's process ended at its start, with exit code {code}")
        return process

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is not None:
            with contextlib.suppress(ValueError, ConnectionError):  # a line beyond all measure is no answer of ours
                while line := await process.stdout.readline():
                    document = json.loads(line)
                    self._answer_count += 1
                    future = self._pending.get(document["id"])
                    if future is not None and not future.done():
                        future.set_result(document)
        code = await wait_or_kill(process)  # whatever it does now, nobody would hear of it
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
        kill(process)


def _write_line(process: asyncio.subprocess.Process, line: bytes) -> None:
    if process.stdin is not None:
        process.stdin.write(line)
