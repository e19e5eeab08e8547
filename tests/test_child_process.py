"""A child of the lowest priority ends with its input, or is ended."""

import asyncio
import os
import sys
from pathlib import Path

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


PARENT = """
import asyncio, sys
from bandstand.child_process import start_idle_child

async def start() -> None:
    process = await start_idle_child([sys.executable, "-c", sys.argv[1]], stdout=asyncio.subprocess.PIPE)
    assert await process.stdout.readline() == b"up\\n"
    print(process.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(start())
"""


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"  # ended, whether or not somebody has asked how


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the end of its input has to tell it")
async def test_a_parent_that_is_killed_leaves_no_child_behind_that_hangs() -> None:
    hangs = f"from bandstand.child_process import end_with_parent; end_with_parent(); {NEVER_ENDS}"
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, hangs), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await asyncio.wait_for(parent.stdout.readline(), 60))
    assert is_alive(child)
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(60):
        while is_alive(child):  # noqa: ASYNC110 (it is nobody's child now)
            await asyncio.sleep(0.01)
