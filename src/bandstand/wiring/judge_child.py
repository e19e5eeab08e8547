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
from bandstand.judge.deployed import Judges
from bandstand.judge.turn import Turn
from bandstand.llm.gateway import GatewayFault
from bandstand.llm.middleware.usage import tallied
from bandstand.wiring.judges import judges_over
from bandstand.wiring.llm_clients import Connection, open_connection

_LINE = 16 * 1024 * 1024
_LET_GO: Final[dict[str, Any]] = {"fault": {"code": "let-go"}}

log = structlog.get_logger("bandstand")


async def work(settings: Settings) -> None:
    """Judge what comes on standard input until it ends; what is under way then is let go.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    async with open_connection(settings) as connection:
        judges = judges_over(settings, None if connection is None else connection.client())
        reader = asyncio.StreamReader(limit=_LINE)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        _say({"ready": True})
        under_way: dict[int, asyncio.Task[None]] = {}
        while line := await reader.readline():
            asked = json.loads(line)
            if "let_go" in asked:
                if asked["let_go"] in under_way:
                    under_way[asked["let_go"]].cancel()
                continue
            task = asyncio.create_task(_answer(judges, connection, asked))
            under_way[asked["id"]] = task
            task.add_done_callback(partial(_ended, under_way, asked))
        left = list(under_way.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _ended(under_way: dict[int, asyncio.Task[None]], asked: dict[str, Any], task: asyncio.Task[None]) -> None:
    del under_way[asked["id"]]
    if "call" in asked and task.cancelled():  # before its first step, or it would have said so itself
        _say({"id": asked["id"], **_LET_GO, "spent": [0, 0]})


async def _answer(judges: Judges, connection: Connection | None, asked: dict[str, Any]) -> None:
    with tallied() as tally:
        try:
            if connection is not None and "call" in asked:
                answer = await _called(connection, **asked["call"])
            else:
                judge = judges.under(asked["taxonomy"])
                judged = await judge.judge(Turn(*asked["turn"]), allow_llm=asked["allow_llm"])
                answer = {"judged": judged.as_json()}
        except Exception as error:  # noqa: BLE001 (whatever it is, the service must hear of it)
            log.error("question not answered", error=type(error).__name__)  # noqa: TRY400 (a traceback may show the turn)
            answer = {"failed": type(error).__name__}
    _say({"id": asked["id"], **answer, "spent": [tally.prompt_tokens, tally.completion_tokens]})


async def _called(connection: Connection, *, seconds: float, tries: int, **call: Any) -> dict[str, Any]:
    try:
        return {"reply": asdict(await connection.client(tries).complete(**call, deadline=time.monotonic() + seconds))}
    except asyncio.CancelledError:
        return _LET_GO
    except BandstandError as error:
        if not isinstance(error, GatewayFault):
            raise
        return {"fault": {"code": error.code, "detail": error.detail, **_fault(error)}}


def _fault(error: GatewayFault) -> dict[str, Any]:
    names = ("reached", "retryable", "retry_after_s", "sent")
    return {name: getattr(error, name) for name in names}


def _say(answer: dict[str, Any]) -> None:
    line = json.dumps(answer, separators=(",", ":")) + "\n"
    try:
        sys.stdout.write(line)
        sys.stdout.flush()
    except BrokenPipeError:  # the service has gone; our input ends too, and what is left to say is for nobody
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
