"""A server process under measurement: pinned to one core, its processor time by thread from the kernel's scheduler."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

HERE = Path(__file__).parent
SERVER_CORE, LOAD_CORE = 0, 1
_THREAD_SECONDS = re.compile(r'^bandstand_thread_cpu_seconds_total\{thread="([^"]+)"\} (\S+)$', re.MULTILINE)


class Server:
    """A server process on core 0.

    Args:
        key: an API key that may read ``/metrics``, which name the threads; without, they are not named.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str], port: int, *, key: str | None = None) -> None:
        self.port = port
        self._key = key
        self._process = subprocess.Popen(
            arguments, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        pin(self._process.pid, SERVER_CORE)
        for _ in range(200):
            time.sleep(0.05)
            try:
                httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)
            except httpx.TransportError:
                continue
            return
        raise RuntimeError(f"no answer from {arguments}")

    @property
    def pid(self) -> int:
        """Of the server's process."""
        return self._process.pid

    def memory(self) -> int:
        """Resident bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        return 0

    def cpu(self) -> float:
        """Processor seconds used so far, all threads that live."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:  # it has just ended
                continue
        return total / 1e9

    def cpu_by_thread(self) -> dict[str, float]:
        """Processor seconds by the names that the service gives its threads; empty of any other server."""
        if self._key is None:
            return {}
        headers = {"x-api-key": self._key}
        text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", headers=headers, trust_env=False).text
        return {name: float(seconds) for name, seconds in _THREAD_SECONDS.findall(text)}

    def kill(self) -> None:
        """End it as a power cut would end it, but for the kernel's caches."""
        self._process.kill()
        self._process.wait(30)

    def stop(self) -> None:
        """Terminate and wait."""
        self._process.terminate()
        self._process.wait(60)


def pin(pid: int, core: int) -> None:
    """Keep a process, and the threads it will make, on one core."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(pid, {core})


def find_free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_rival(app: str, state: Path, python: str = sys.executable) -> Server:
    """One of the apps in ``rivals/`` under the same server and settings."""
    port = find_free_port()
    code = (
        f"import uvicorn, sys; sys.path.insert(0, {str(HERE / 'rivals')!r}); "
        f"uvicorn.run({app!r}, port={port}, loop='uvloop', http='httptools', access_log=False, "
        "log_level='error', server_header=False)"
    )
    return Server([python, "-c", code], {"STATE_DIR": str(state)}, port)


def start_bandstand(state: Path, key: str, **environment: str) -> Server:
    """The service with everything on: keys, request ids, ledger, metrics."""
    port = find_free_port()
    command = [sys.executable, "-m", "bandstand", "serve", "--port", str(port), "--state-dir", str(state)]
    return Server(command, {"API_KEYS": f"bench:admin:{key}", **environment}, port, key=key)
