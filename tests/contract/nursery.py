"""Servers forked from a process that has imported the service and read its rules: most of what a start costs.

What is forked goes through the command's own ``main``, with its own arguments, environment and log. That
``python -m bandstand serve`` comes to the same is for the tests that start it in a shell, or by its name.

Run as a program it is the nursery: it reads a line of JSON for each order, and answers each with a number.
"""

import functools
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PRELOADED = (
    "bandstand.cli",
    "bandstand.cli.serve",
    "bandstand.api.asgi.logs",
    "bandstand.cli.server",
    "bandstand.wiring.app",
    "pydantic.v1",  # FastAPI looks for models of that kind
)
_RUNS = -1


class ForkedProcess:
    """A command that runs in a process of its own, as far as a test needs to know ``subprocess.Popen``.

    Args:
        words: the arguments of ``bandstand``.
        log: where it writes, anew.
        environment: all of its own.
    """

    def __init__(self, words: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self._returncode: int | None = None
        log.write_bytes(b"")
        self.pid = _send_order({"words": words, "log": str(log), "environment": dict(environment)})

    def poll(self) -> int | None:
        """Its exit code once it has ended; of a signal, its negative number."""
        if self._returncode is None and (code := _send_order({"poll": self.pid})) != _RUNS:
            self._returncode = os.waitstatus_to_exitcode(code)
        return self._returncode

    def wait(self, seconds: float) -> int:
        """Wait for its end.

        Raises:
            TimeoutError: it still runs.
        """
        until = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise TimeoutError(f"process {self.pid} still runs")
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        self.send_signal(signal.SIGKILL)


@functools.cache
def _start_nursery() -> subprocess.Popen[str]:
    """The nursery of this test process, which ends with it."""
    words = [sys.executable, "-P", str(Path(__file__).resolve())]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _send_order(order: dict[str, Any]) -> int:
    nursery = _start_nursery()
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write(json.dumps(order) + "\n")
    nursery.stdin.flush()
    return int(nursery.stdout.readline())


def _run_nursery() -> None:
    for name in _PRELOADED:
        importlib.import_module(name)
    rulebook = importlib.import_module("bandstand.judge.local.rulebook")
    taxonomy = importlib.import_module("bandstand.judge.taxonomy")
    for name in taxonomy.SHIPPED_TAXONOMIES:  # twenty thousand phrases, which the package has in files
        rulebook.load_shipped_rules(taxonomy.shipped_taxonomy(name))
    # A server looks once for garbage among all that it has: what is shared here would have to be copied for that.
    gc.collect()
    gc.freeze()
    running: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        if "poll" in order:
            pid, status = os.waitpid(order["poll"], os.WNOHANG)
            running.discard(pid)
            answer = status if pid else _RUNS
        else:
            answer = os.fork()
            if answer == 0:
                _run_command(**order)
            running.add(answer)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
    for pid in running:  # whoever asked for them is gone
        os.kill(pid, signal.SIGKILL)


def _run_command(words: list[str], log: str, environment: dict[str, str]) -> None:
    """Become the command; its input and output are no longer the nursery's."""
    code: Any = 1
    try:
        nothing, written = os.open(os.devnull, os.O_RDWR), os.open(log, os.O_WRONLY | os.O_APPEND)
        for taken, descriptor in ((nothing, 0), (nothing, 1), (written, 2)):
            os.dup2(taken, descriptor)
        os.close(nothing)
        os.close(written)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["bandstand", *words]
        importlib.import_module("bandstand.cli").main()
    except SystemExit as ended:
        code = ended.code
    finally:
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    _run_nursery()
