"""A child of the lowest priority ends with its input, or is ended."""

import asyncio
import os
import sys

import pytest

from bandstand import child_process
from bandstand.child_process import close_input, kill, start_idle_child, wait_or_kill

READS = "import sys; sys.stdout.write('up\\n'); sys.stdout.flush(); sys.stdin.read()"
NEVER_ENDS = "import sys, time; sys.stdout.write('up\\n'); sys.stdout.flush(); time.sleep(600)"


async def start_process(code: str) -> asyncio.subprocess.Process:
    process = await start_idle_child([sys.executable, "-c", code], stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 60) == b"up\n"
    return process


async def test_it_has_the_lowest_priority_and_ends_with_its_input() -> None:
    process = await start_process(READS)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
    if sys.platform == "linux":
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
    assert os.getsid(process.pid) == process.pid, "a Ctrl-C is not for it"
    close_input(process)
    close_input(process)
    assert await asyncio.wait_for(process.wait(), 60) == 0
    kill(process)  # it may have ended already


async def test_one_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "STOP_TIMEOUT_S", 0.05)
    process = await start_process(NEVER_ENDS)
    close_input(process)
    assert await wait_or_kill(process) == -9


async def test_one_that_cannot_start_says_so() -> None:
    with pytest.raises(OSError, match="No such file"):
        await start_idle_child(["/nowhere/at-all"], stdout=asyncio.subprocess.DEVNULL)
