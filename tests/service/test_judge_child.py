"""The judge's process at its start and its end: whoever stops waiting is let go, and leaves none behind."""

import asyncio
import os
import sys
from typing import Any

import pytest

from bandstand.service.judge_child import ChildNotStartedError, JudgeChild


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

    async def started(*_: Any, **__: Any) -> Starting:
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    child = JudgeChild(["judge"], {}, patience_s=1)

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

    async def noted(*words: Any, **more: Any) -> asyncio.subprocess.Process:
        made.append(await real(*words, **more))
        return made[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    child = JudgeChild([sys.executable, "-c", "import time; time.sleep(600)"], os.environ, patience_s=1)
    starting = asyncio.create_task(child.start())
    async with asyncio.timeout(20):
        while not made:  # noqa: ASYNC110 (a process has no event for its start)
            await asyncio.sleep(0.005)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    assert starting.cancelled()
    assert made[0].returncode == -9
    await child.close()


async def test_a_process_that_ends_at_its_start_is_told_with_its_exit_code() -> None:
    child = JudgeChild([sys.executable, "-c", "raise SystemExit(3)"], os.environ, patience_s=1)
    with pytest.raises(ChildNotStartedError, match="exit code 3"):
        await child.start()
    nobody = JudgeChild(["/nowhere/at-all"], os.environ, patience_s=1)
    with pytest.raises(ChildNotStartedError, match="does not start"):
        await nobody.start()
