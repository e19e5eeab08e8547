"""The judge's process, from the inside: one line of JSON a turn comes in, one goes out, until the input ends.

In: ``{"id", "turn": [query_t, answer_t, query_t1], "taxonomy", "allow_llm"}``. Out: ``{"ready": true}`` once, then
``{"id", "judged"}``, or ``{"id", "failed"}`` with the name of the fault; in any order.
"""

import asyncio
import contextlib
import json
import sys
from typing import Any

import structlog

from bandstand.judge.judges import Judges
from bandstand.judge.turn import Turn
from bandstand.judging.building import open_judges
from bandstand.settings import Settings

_LINE = 16 * 1024 * 1024

log = structlog.get_logger("bandstand")


async def work(settings: Settings) -> None:
    """Judge what comes on standard input until it ends; turns under way then are let go.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    async with open_judges(settings) as judges:
        reader = asyncio.StreamReader(limit=_LINE)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        _say({"ready": True})
        under_way: set[asyncio.Task[None]] = set()
        while line := await reader.readline():
            task = asyncio.create_task(_answer(judges, json.loads(line)))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _answer(judges: Judges, asked: dict[str, Any]) -> None:
    try:
        judge = judges.under(asked["taxonomy"])
        judged = await judge.judge(Turn(*asked["turn"]), allow_llm=asked["allow_llm"])
    except Exception as error:  # noqa: BLE001 (whatever it is, the service must hear of it)
        log.error("turn not judged", error=type(error).__name__)  # noqa: TRY400 (a traceback may show the turn)
        _say({"id": asked["id"], "failed": type(error).__name__})
    else:
        _say({"id": asked["id"], "judged": judged.as_json()})


def _say(answer: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the service has gone; our input ends too
        sys.stdout.write(json.dumps(answer, separators=(",", ":")) + "\n")
        sys.stdout.flush()
