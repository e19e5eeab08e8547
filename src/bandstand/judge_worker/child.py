"""The inside of the judge's process: questions come in on standard input, answers go out on standard output."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from bandstand.judge_worker.protocol import (
    MAX_LINE_BYTES,
    READY,
    Answer,
    AnswerResult,
    CallCancelled,
    CallQuestion,
    Question,
    QuestionFailed,
    encode_answer,
    parse_line,
)
from bandstand.llm.chat import TokenUsage
from bandstand.llm.errors import ChatError
from bandstand.llm.middleware.usage import track_usage

log = structlog.get_logger("bandstand")

FindAnswer = Callable[[Question], Awaitable[AnswerResult]]
"""Finds the answer to a question; what it raises is an answer too."""


async def answer_questions(find_answer: FindAnswer) -> None:
    """Answer what comes on standard input until it ends; what is under way then is cancelled."""
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _write_line(READY)
    under_way: dict[int, asyncio.Task[None]] = {}
    while line := await reader.readline():
        number, question = parse_line(line)
        if question is not None:
            task = asyncio.create_task(_answer_question(number, question, find_answer))
            under_way[number] = task
            task.add_done_callback(partial(_finish_question, under_way, number, question))
        elif number in under_way:
            under_way[number].cancel()
    left = list(under_way.values())
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _answer_question(number: int, question: Question, find_answer: FindAnswer) -> None:
    result: AnswerResult
    with track_usage() as tally:
        try:
            result = await find_answer(question)
        except asyncio.CancelledError:
            if not isinstance(question, CallQuestion):
                raise
            result = CallCancelled()
        except ChatError as error:
            result = error
        except Exception as error:  # noqa: BLE001 (whatever it is, the service must hear of it)
            log.error("question not answered", error=type(error).__name__)  # noqa: TRY400 (a traceback may show the turn)
            result = QuestionFailed(type(error).__name__)
    _write_line(encode_answer(number, Answer(result, tally.usage)))


def _finish_question(
    under_way: dict[int, asyncio.Task[None]], number: int, question: Question, task: asyncio.Task[None]
) -> None:
    del under_way[number]
    if isinstance(question, CallQuestion) and task.cancelled():  # before its first step, or it would have said so
        _write_line(encode_answer(number, Answer(CallCancelled(), TokenUsage())))


def _write_line(line: bytes) -> None:
    try:
        sys.stdout.buffer.write(line)
        sys.stdout.flush()
    except BrokenPipeError:  # the service has gone; our input ends too, and what is left to say is for nobody
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
