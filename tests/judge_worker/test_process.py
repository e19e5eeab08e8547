"""The judge's process at its start and its end: whoever stops waiting is let go, and leaves none behind."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bandstand.judge_worker.process import JudgeProcess, JudgeProcessNotStartedError, PendingQuestion
from bandstand.judge_worker.protocol import CallQuestion
from tests.llm.given import request_of
from tests.store.given import wait_until_settled


class Starting:
    """A process that says that it is ready when it is told to."""

    pid = 2**22 + 1  # nobody's
    stdin = None
    returncode = None

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.killed = False
        self.stdout = self

    async def readline(self) -> bytes:
        await self.ready.wait()
        self.ready.clear()
        return b"{}\n"

    def kill(self) -> None:
        self.killed = True

    async def wait(self) -> int:
        return -9


@pytest.mark.parametrize("ticks", range(6))
async def test_a_stop_that_meets_the_start_is_not_lost(ticks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Starting()

    async def start_recorded(*_: Any, **__: Any) -> Starting:
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start_recorded)
    child = JudgeProcess(["judge"], {}, timeout_s=1)

    async def worker() -> None:
        await child.start()
        await asyncio.Event().wait()

    working = asyncio.create_task(worker())
    for _ in range(5):
        await asyncio.sleep(0)
    process.ready.set()
    for _ in range(ticks):
        await asyncio.sleep(0)
    working.cancel()
    await asyncio.wait([working], timeout=5)
    assert working.cancelled()
    assert process.killed or child.pid == process.pid


async def test_a_start_that_is_cancelled_leaves_no_process_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[asyncio.subprocess.Process] = []
    real = asyncio.create_subprocess_exec

    async def record_process(*words: Any, **more: Any) -> asyncio.subprocess.Process:
        made.append(await real(*words, **more))
        return made[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", record_process)
    child = JudgeProcess([sys.executable, "-c", "import time; time.sleep(600)"], os.environ, timeout_s=1)
    starting = asyncio.create_task(child.start())
    async with asyncio.timeout(60):
        while not made:  # noqa: ASYNC110 (a process has no event for its start)
            await asyncio.sleep(0.005)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    assert starting.cancelled()
    assert made[0].returncode == -9
    await child.close()


async def test_a_process_that_ends_at_its_start_is_told_with_its_exit_code() -> None:
    child = JudgeProcess([sys.executable, "-c", "raise SystemExit(3)"], os.environ, timeout_s=1)
    with pytest.raises(JudgeProcessNotStartedError, match="exit code 3"):
        await child.start()
    nobody = JudgeProcess(["/nowhere/at-all"], os.environ, timeout_s=1)
    with pytest.raises(JudgeProcessNotStartedError, match="does not start"):
        await nobody.start()


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """What the odd judge's process was asked."""
    made = tmp_path / "asked"
    made.touch()
    return made


@pytest.fixture
async def odd(asked: Path) -> AsyncIterator[JudgeProcess]:
    """The odd judge's process, which has little time to say its last words."""
    command = [sys.executable, str(Path(__file__).with_name("odd_judge.py")), str(asked)]
    child = JudgeProcess(command, os.environ, timeout_s=0.1)
    await child.start()
    yield child
    await child.close()


async def call(child: JudgeProcess, word: str) -> PendingQuestion:
    return await child.send_question(CallQuestion(request_of([{"role": "user", "content": word}]), tries=1))


async def test_for_want_of_a_last_word_no_process_is_ended_that_answers_others(odd: JudgeProcess, asked: Path) -> None:
    mute, fine = await call(odd, "mute"), await call(odd, "fine")
    await asyncio.wait_for(fine.answer, 60)
    await wait_until_settled(lambda: "mute" in asked.read_text())
    odd.cancel(mute)
    assert await odd.final_usage(mute) is None
    again = await call(odd, "fine")
    assert again.process is fine.process
    assert (await asyncio.wait_for(again.answer, 60))["reply"]["text"] == "fine"
    assert odd.deaths == 0


async def test_a_process_that_says_nothing_at_all_is_ended_once_it_was_let_go(odd: JudgeProcess, asked: Path) -> None:
    mute = await call(odd, "mute")
    await wait_until_settled(lambda: "mute" in asked.read_text())
    odd.cancel(mute)
    assert await odd.final_usage(mute) is None
    await wait_until_settled(lambda: odd.pid is None)
    assert mute.process.returncode == -signal.SIGKILL


async def test_a_death_that_nobody_waits_for_is_no_complaint_of_the_event_loop(odd: JudgeProcess) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    await call(odd, "mute")
    assert odd.pid is not None
    os.kill(odd.pid, signal.SIGKILL)
    await wait_until_settled(lambda: odd.pid is None)
    gc.collect()
    assert (odd.deaths, complaints) == (1, [])
