"""The judge's process, from the inside: one line of JSON a question comes in, one goes out, until the input ends.

It says ``{"ready": true}`` once, and then, in any order:

- to ``{"id", "turn": [query_t, answer_t, query_t1], "taxonomy", "allow_llm"}``, a turn: ``{"id", "judged", "spent"}``;
- to ``{"id", "call": {messages, max_tokens, temperature, schema, tries, seconds}}``, a call of the LLM for somebody who
  waits: ``{"id", "reply", "spent"}`` or ``{"id", "fault", "spent"}``;
- to any question that it fails over itself: ``{"id", "failed"}`` with the name of the fault.

``{"let_go": id}`` cancels a call, begun or not; its answer is a fault then. ``spent`` has the tokens read and written
by all tries.
"""

import asyncio
import json
import os
import sys
import time
from dataclasses import asdict
from functools import partial
from typing import Any, Final

import structlog

from bandstand.config.settings import Settings
from bandstand.errors import BandstandError
from bandstand.judge.deployed import JudgeRegistry
from bandstand.judge.turn import Turn
from bandstand.llm.gateway import GatewayFault
from bandstand.llm.middleware.usage import track_usage
from bandstand.wiring.judges import build_judges
from bandstand.wiring.llm_clients import LlmConnection, open_connection

_MAX_LINE_BYTES = 16 * 1024 * 1024
_CANCELLED: Final[dict[str, Any]] = {"fault": {"code": "let-go"}}

log = structlog.get_logger("bandstand")


async def run_judge_process(settings: Settings) -> None:
    """Judge what comes on standard input until it ends; what is under way then is let go.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    async with open_connection(settings) as connection:
        judges = build_judges(settings, None if connection is None else connection.build_client())
        reader = asyncio.StreamReader(limit=_MAX_LINE_BYTES)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        _write_line({"ready": True})
        under_way: dict[int, asyncio.Task[None]] = {}
        while line := await reader.readline():
            question = json.loads(line)
            if "let_go" in question:
                if question["let_go"] in under_way:
                    under_way[question["let_go"]].cancel()
                continue
            task = asyncio.create_task(_handle_question(judges, connection, question))
            under_way[question["id"]] = task
            task.add_done_callback(partial(_finish_task, under_way, question))
        left = list(under_way.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _finish_task(under_way: dict[int, asyncio.Task[None]], question: dict[str, Any], task: asyncio.Task[None]) -> None:
    del under_way[question["id"]]
    if "call" in question and task.cancelled():  # before its first step, or it would have said so itself
        _write_line({"id": question["id"], **_CANCELLED, "spent": [0, 0]})


async def _handle_question(judges: JudgeRegistry, connection: LlmConnection | None, question: dict[str, Any]) -> None:
    with track_usage() as tally:
        try:
            if connection is not None and "call" in question:
                answer = await _make_call(connection, **question["call"])
            else:
                judge = judges.get_judge(question["taxonomy"])
                judged = await judge.judge(Turn(*question["turn"]), allow_llm=question["allow_llm"])
                answer = {"judged": judged.as_json()}
        except Exception as error:  # noqa: BLE001 (whatever it is, the service must hear of it)
            log.error("question not answered", error=type(error).__name__)  # noqa: TRY400 (a traceback may show the turn)
            answer = {"failed": type(error).__name__}
    _write_line({"id": question["id"], **answer, "spent": [tally.prompt_tokens, tally.completion_tokens]})


async def _make_call(connection: LlmConnection, *, seconds: float, tries: int, **call: Any) -> dict[str, Any]:
    try:
        return {
            "reply": asdict(await connection.build_client(tries).complete(**call, deadline=time.monotonic() + seconds))
        }
    except asyncio.CancelledError:
        return _CANCELLED
    except BandstandError as error:
        if not isinstance(error, GatewayFault):
            raise
        return {"fault": {"code": error.code, "detail": error.detail, **_build_fault(error)}}


def _build_fault(error: GatewayFault) -> dict[str, Any]:
    names = ("reached", "retryable", "retry_after_s", "sent")
    return {name: getattr(error, name) for name in names}


def _write_line(answer: dict[str, Any]) -> None:
    line = json.dumps(answer, separators=(",", ":")) + "\n"
    try:
        sys.stdout.write(line)
        sys.stdout.flush()
    except BrokenPipeError:  # the service has gone; our input ends too, and what is left to say is for nobody
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
