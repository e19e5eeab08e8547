"""``bandstand serve`` as a process of its own, and a client that knows exactly what it was answered."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from tests.contract.nursery import ForkedProcess

_GREETING = re.compile(r"^bandstand \S+ serves http://127\.0\.0\.1:(\d+) with its state in .*$", re.MULTILINE)
_SECONDS = 180.0


class Server:
    """A running service.

    Args:
        wrapper: what runs the command, such as a shell with limits; nothing does if left out.
        flags: of the command, beside its port and its state directory.

    Attributes:
        port: where it listens, on loopback.
        url: its address.
    """

    def __init__(
        self, state_dir: Path, log: Path, wrapper: Sequence[str] = (), flags: Sequence[str] = (), **settings: str
    ) -> None:
        words = ["serve", "--port", "0", "--state-dir", str(state_dir), *flags]
        self._log = log
        self._process: ForkedProcess | subprocess.Popen[bytes]
        if wrapper:
            command = [*wrapper, sys.executable, "-m", "bandstand", *words]
            with log.open("wb") as stderr:
                self._process = subprocess.Popen(command, stderr=stderr, env=os.environ | settings)
        else:
            self._process = ForkedProcess(words, log, os.environ | settings)
        self.port = self._port()
        self.url = f"http://127.0.0.1:{self.port}"

    def _port(self) -> int:
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            if greeting := _GREETING.search(self.logged()):
                return int(greeting[1])
            if self._process.poll() is not None:
                break
            time.sleep(0.01)
        self.kill()
        raise AssertionError(self.logged())

    def logged(self) -> str:
        """What it has written to stderr so far."""
        return self._log.read_text(encoding="utf-8")

    def list_children(self) -> list[int]:
        """The numbers of the processes that it has started."""
        pid = self._process.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def terminate(self) -> int:
        """Ask it to stop as an operator does; the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_SECONDS)

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        self._process.kill()
        self._process.wait(_SECONDS)


@contextmanager
def start_server(
    state_dir: Path, wrapper: Sequence[str] = (), flags: Sequence[str] = (), **settings: str
) -> Iterator[Server]:
    """A service over a state directory; killed at the end if it still runs."""
    server = Server(state_dir, state_dir.with_suffix(".log"), wrapper, flags, **settings)
    try:
        yield server
    finally:
        server.kill()


class Connection:
    """One kept-alive connection. What it returns was acknowledged; where it raises, nobody knows."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send_request(
        self, method: str, target: str | bytes, body: object = None, headers: tuple[str, ...] = ()
    ) -> tuple[int, Any]:
        """Status and JSON of an answer.

        Raises:
            OSError, EOFError: the service went away before the whole answer had come.
        """
        content = b"" if body is None else json.dumps(body).encode()
        path = target if isinstance(target, bytes) else target.encode()
        typed = ["content-type: application/json"] if content else []
        lines = ["host: 127.0.0.1", f"content-length: {len(content)}", *typed, *headers, "", ""]
        head = b"%s %s HTTP/1.1\r\n" % (method.encode(), path) + "\r\n".join(lines).encode()
        status, _, answer = await self.send_bytes(head + content)
        return status, json.loads(answer) if answer else None

    async def send_bytes(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body that answer just these bytes."""
        self._writer.write(request)
        await self._writer.drain()
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return int(head[0].split()[1]), headers, body

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


@asynccontextmanager
async def connect_to(port: int) -> AsyncIterator[Connection]:
    """A connection to the service on that port."""
    connection = Connection(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield connection
    finally:
        connection.close()
