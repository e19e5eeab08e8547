"""A child process that gets only what nobody else wants of the processor, and is to end when its input does."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Final

STOP_TIMEOUT_S: Final = 5.0
"""Seconds that a child has to end by itself."""

_LOWEST_PRIORITY = 19
_PR_SET_PDEATHSIG = 1


def build_python_command(*words: str) -> list[str]:
    """The command line of this package, run by this Python."""
    return [sys.executable, "-m", "bandstand", *words]


async def start_idle_child(
    command: Sequence[str],
    *,
    stdout: int,
    stderr: int | None = None,
    environment: Mapping[str, str] | None = None,
    max_line_bytes: int = 65_536,
) -> asyncio.subprocess.Process:
    """Start a child of the lowest priority, with a pipe for its input.

    Args:
        command: what to run.
        stdout: such as ``asyncio.subprocess.PIPE``.
        stderr: the same; this process's if left out.
        environment: of the child; this process's if left out.
        max_line_bytes: of a line that is read from it.

    Raises:
        OSError: it does not start.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env=environment,
        limit=max_line_bytes,
        start_new_session=True,  # a Ctrl-C at the service's terminal is for the service
    )
    _set_lowest_priority(process.pid)
    return process


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """For a child: get a signal when its parent, or the thread there that started it, ends, whatever is under way.

    On Linux. On other systems, and if the parent died before this call, the end of its input tells the child.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def close_input(process: asyncio.subprocess.Process) -> None:
    """Let a child know that it should end."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


def kill(process: asyncio.subprocess.Process) -> None:
    """End a child at once; it may have ended already."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()


async def wait_or_kill(process: asyncio.subprocess.Process) -> int:
    """Wait for a child that should end by itself; after a while it is killed. Returns its exit code.

    To kill one that has just ended would collect its exit code, and asyncio would look for it in vain.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_TIMEOUT_S):
            return await process.wait()
    kill(process)
    return await process.wait()


def _set_lowest_priority(pid: int) -> None:
    with contextlib.suppress(OSError):  # it may be gone already
        os.setpriority(os.PRIO_PROCESS, pid, _LOWEST_PRIORITY)
        if sys.platform == "linux":  # there, even the nicest keeps a core for a few milliseconds once it has it
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
