"""A closed-loop HTTP load: a number of connections, each sending its next request when it has its answer.

Bytes in, bytes out: the requests are made beforehand and answers are only cut out by their content-length, so that one
core of load can drive one core of server.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

_LENGTH = b"content-length: "


@dataclass
class Burst:
    """What one burst saw.

    Attributes:
        seconds: from the first request to the last answer.
        latencies: of each request, in seconds.
        failures: answers that were not 200.
        bodies: the answers' bodies, if kept.
        cpu: processor seconds that the server took meanwhile, if noted.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: int = 0
    bodies: list[bytes] = field(default_factory=list)
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Requests answered a second."""
        return len(self.latencies) / self.seconds

    @property
    def cpu_each(self) -> float:
        """Processor seconds a request."""
        return self.cpu / len(self.latencies)

    def quantile(self, q: float) -> float:
        """A latency quantile, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], burst: Burst, deadline: float, *, keep: bool) -> None:
        self._requests = requests
        self._burst = burst
        self._deadline = deadline
        self._keep = keep
        self._buffer = b""
        self._started = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # TCP always is
        self._send()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(b"\r\n\r\n")
        at = buffer.find(_LENGTH)
        if head < 0 or at < 0:
            self._buffer = buffer
            return
        length = int(buffer[at + len(_LENGTH) : buffer.index(b"\r", at)])
        if len(buffer) < head + 4 + length:
            self._buffer = buffer
            return
        self._buffer = b""
        burst = self._burst
        burst.latencies.append(time.perf_counter() - self._started)
        if not buffer.startswith(b"HTTP/1.1 200"):
            burst.failures += 1
        if self._keep:
            burst.bodies.append(buffer[head + 4 :])
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))

    def _send(self) -> None:
        self._started = time.perf_counter()
        request = next(self._requests, None) if self._started < self._deadline else None
        if request is None:
            self.done.set_result(None)
            self._transport.close()
        else:
            self._transport.write(request)


async def drive(port: int, requests: Iterator[bytes], *, connections: int, seconds: float, keep: bool = False) -> Burst:
    """Send requests for some seconds, or until there are none left."""
    loop = asyncio.get_running_loop()
    burst = Burst()
    started = time.perf_counter()
    made = [
        await loop.create_connection(
            lambda: _Connection(requests, burst, started + seconds, keep=keep), "127.0.0.1", port
        )
        for _ in range(connections)
    ]
    await asyncio.gather(*(connection.done for _, connection in made))
    burst.seconds = time.perf_counter() - started
    return burst


def post(path: str, body: bytes, headers: tuple[str, ...] = ()) -> bytes:
    """The bytes of a POST with a JSON body."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json", *headers]
    head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""])
    return head.encode() + body
