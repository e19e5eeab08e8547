"""The service as a process of its own, on a port of its own, which a test may kill and start again."""

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

_SECONDS = 120.0
COMMAND = shlex.split(os.environ.get("BANDSTAND_COMMAND", f"{shlex.quote(sys.executable)} -m bandstand"))
"""What starts the service: the client's tests may run where it is not installed, if this says where it is."""


def find_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A service over a state directory.

    Attributes:
        url: where it is, also after it was killed and started again.
    """

    def __init__(self, state_dir: Path, **settings: str) -> None:
        self.port = find_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._words = [*COMMAND, "serve", "--port", str(self.port), "--state-dir", str(state_dir)]
        self._environment = {**os.environ, **settings}
        self._log = state_dir.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it takes events."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._words, stderr=log, stdout=log, env=self._environment)
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until it takes events."""
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            try:
                httpx.get(f"{self.url}/ready", trust_env=False).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(self._log.read_text("utf-8"))

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_SECONDS)
            self._process = None


@contextmanager
def start_server(state_dir: Path, **settings: str) -> Iterator[Server]:
    """A service; killed at the end."""
    server = Server(state_dir, **settings)
    server.start()
    try:
        yield server
    finally:
        server.kill()
