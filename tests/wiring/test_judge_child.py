"""The judge's process, asked over its pipes: turns, calls of the LLM, what it lets go, and how it ends."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from bandstand.config.settings import Settings
from bandstand.testing.scripted_llm_server import ScriptedAnswer, ScriptedRequest, ScriptedServer
from bandstand.wiring.judge_worker import build_environment
from tests.store.given import wait_until_settled

SAID = json.dumps({"rationale": "x", "label": "neg_confusion", "confidence": 0.9})
CALL = {"max_tokens": 100, "temperature": None, "schema": None, "tries": 3, "seconds": 60}


class Process:
    """The process, and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def send_line(self, **line: Any) -> None:
        self.tell_at_once([line])

    def tell_at_once(self, lines: list[dict[str, Any]]) -> None:
        """In one write, which is one read too."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    def call(self, number: int, message: str, **changed: Any) -> None:
        messages = [{"role": "user", "content": message}]
        self.send_line(id=number, call={**CALL, "messages": messages, **changed})

    async def read_line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 60)
        answer: dict[str, Any] = json.loads(line)
        return answer


@asynccontextmanager
async def run_child(
    state_dir: Path, script: ScriptedAnswer | Callable[[ScriptedRequest], ScriptedAnswer]
) -> AsyncIterator[tuple[Process, ScriptedServer]]:
    async with ScriptedServer(script) as server:
        given = Settings(state_dir=state_dir, judge="llm", judge_model="tiny", judge_url=server.url, log_level="error")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bandstand", "judge-turns"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **build_environment(given)},
        )
        made = Process(process)
        try:
            assert await made.read_line() == {"ready": True}
            yield made, server
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


class Script:
    """What the model answers, which a test may change under the process that all of them share."""

    def __init__(self) -> None:
        self.answer: Callable[[ScriptedRequest], ScriptedAnswer] = lambda _: ScriptedAnswer(SAID)

    def __call__(self, request: ScriptedRequest) -> ScriptedAnswer:
        return self.answer(request)


class Shared(NamedTuple):
    """The process that the tests share, and its model."""

    process: Process
    server: ScriptedServer
    script: Script


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shared]:
    script = Script()
    async with run_child(tmp_path_factory.mktemp("judge"), script) as (process, server):
        yield Shared(process, server, script)


@pytest.mark.asyncio(loop_scope="module")
async def test_turns_and_calls_are_answered_in_any_order(shared: Shared) -> None:
    process, server, script = shared
    before = len(server.requests)
    script.answer = lambda request: ScriptedAnswer(SAID, delay_s=1.0 if request.message_texts[-1] == "slow" else 0.0)
    process.call(1, "slow")
    process.send_line(id=2, turn=["q", "a", "hm?", ""], taxonomy="followup-v1", allow_llm=True)
    process.send_line(id=3, turn=["q", "a", "hm?", ""], taxonomy="nobody's", allow_llm=True)
    found = {answer["id"]: answer for answer in [await process.read_line() for _ in range(3)]}
    assert found[1]["reply"]["text"] == SAID
    assert found[1]["spent"] == [found[1]["reply"]["prompt_tokens"], found[1]["reply"]["completion_tokens"]]
    assert (found[2]["judged"]["label"], found[2]["judged"]["tier"]) == ("neg_confusion", "llm")
    assert found[2]["spent"] == [found[2]["judged"]["usage"][name] for name in ("prompt_tokens", "completion_tokens")]
    assert found[3] == {"id": 3, "failed": "InvalidRequestError", "spent": [0, 0]}
    assert len(server.requests) == before + 2


@pytest.mark.asyncio(loop_scope="module")
async def test_every_try_is_paid_for_of_a_call_and_of_a_turn(shared: Shared) -> None:
    process, _, script = shared
    answers = iter([ScriptedAnswer(status=503), ScriptedAnswer(send_bytes=0), ScriptedAnswer(SAID)] * 2)
    script.answer = lambda _: next(answers)
    process.call(11, "hello")
    found = await process.read_line()
    assert found["spent"][1] > 100, "the one that broke off may have been written to its end"
    process.send_line(id=12, turn=["q", "a", "pardon?", ""], taxonomy="followup-v1", allow_llm=True)
    found = await process.read_line()
    assert found["spent"][1] > 2_048 > found["judged"]["usage"]["completion_tokens"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_call_is_tried_as_often_as_it_says(shared: Shared) -> None:
    process, server, script = shared
    before = len(server.requests)
    script.answer = lambda _: ScriptedAnswer("c4n4ry", status=503)
    process.call(21, "hello", tries=1)
    found = await process.read_line()
    told = {name: found["fault"][name] for name in ("code", "reached", "retryable", "sent")}
    assert told == {"code": "llm-status", "reached": True, "retryable": True, "sent": False}
    assert found["spent"] == [0, 0]
    assert "c4n4ry" not in json.dumps(found)
    assert len(server.requests) == before + 1


@pytest.mark.asyncio(loop_scope="module")
async def test_a_call_that_is_let_go_is_hung_up_and_says_what_it_may_have_cost(shared: Shared) -> None:
    process, server, script = shared
    before, hung_up = len(server.requests), server.disconnects
    script.answer = lambda _: ScriptedAnswer(SAID, delay_s=600)
    process.call(31, "hello")
    await wait_until_settled(lambda: len(server.requests) == before + 1)
    process.send_line(let_go=99)
    process.send_line(let_go=31)
    found = await process.read_line()
    assert (found["id"], found["fault"]) == (31, {"code": "let-go"})
    assert found["spent"][1] == 100
    await wait_until_settled(lambda: server.disconnects == hung_up + 1)


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_let_go_before_it_has_begun_is_answered_too_and_has_cost_nothing(shared: Shared) -> None:
    process, server, script = shared
    before = len(server.requests)
    script.answer = lambda _: ScriptedAnswer(SAID)
    call = {**CALL, "messages": [{"role": "user", "content": "hello"}]}
    process.tell_at_once([{"id": 41, "call": call}, {"let_go": 41}])
    assert await process.read_line() == {"id": 41, "fault": {"code": "let-go"}, "spent": [0, 0]}
    process.call(42, "hello")
    assert (await process.read_line())["reply"]["text"] == SAID
    assert len(server.requests) == before + 1


async def test_it_ends_with_its_input_in_silence(tmp_path: Path) -> None:
    async with run_child(tmp_path, ScriptedAnswer(SAID, delay_s=600)) as (process, server):
        process.call(1, "hello")
        await wait_until_settled(lambda: len(server.requests) == 1)
        inside = process.process
        assert inside.stdin is not None
        assert inside.stdout is not None
        assert inside.stderr is not None
        inside.stdout._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 (as when the service is killed)
        inside.stdin.close()
        said = await asyncio.wait_for(inside.stderr.read(), 60)
        assert (said, await inside.wait()) == (b"", 0)
