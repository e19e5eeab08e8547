"""An open HTTP load: requests leave at their own times, whether or not earlier ones have been answered.

Latencies count from the time at which a request was due, so that a server which stalls is not spared the requests that
it kept from being sent.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterator
from typing import cast

from load import Burst

_LENGTH = b"content-length: "


class _Line(asyncio.Protocol):
    """One connection; it goes back to the idle ones with every answer."""

    def __init__(self, idle: deque["_Line"], burst: Burst) -> None:
        self._idle = idle
        self._burst = burst
        self._buffer = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # TCP always is
        self._idle.append(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        at = self._buffer.find(_LENGTH)
        if head < 0 or at < 0:
            return
        length = int(self._buffer[at + len(_LENGTH) : self._buffer.index(b"\r", at)])
        if len(self._buffer) < head + 4 + length:
            return
        self._burst.latencies.append(time.perf_counter() - self._due)
        if not self._buffer.startswith(b"HTTP/1.1 200"):
            self._burst.failures += 1
        self._buffer = b""
        self._idle.append(self)

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def close(self) -> None:
        self._transport.close()


async def drive_open(
    port: int, requests: Iterator[bytes], *, rate: float, seconds: float, connections: int = 256, seed: int = 0
) -> Burst:
    """Send requests at random times (a Poisson process of ``rate`` a second) for some seconds, then wait for the rest.

    A request that finds no idle connection waits for one, and its latency with it.
    """
    loop = asyncio.get_running_loop()
    rng = random.Random(seed)
    burst = Burst()
    idle: deque[_Line] = deque()
    lines = [
        (await loop.create_connection(lambda: _Line(idle, burst), "127.0.0.1", port))[1] for _ in range(connections)
    ]
    sent, started = 0, time.perf_counter()
    due = started
    while (due := due + rng.expovariate(rate)) < started + seconds:
        # The loop's timers are a millisecond coarse: the last stretch is spun.
        while (early := due - time.perf_counter()) > 0:  # noqa: ASYNC110 (what is awaited is a time)
            await asyncio.sleep(early - 0.001 if early > 0.002 else 0)  # noqa: PLR2004 (two of those milliseconds)
        while not idle:  # noqa: ASYNC110 (rare: there are more connections than requests under way)
            await asyncio.sleep(0)
        idle.popleft().send(next(requests), due)
        sent += 1
    while len(burst.latencies) < sent:  # noqa: ASYNC110 (answers are counted, not awaited one by one)
        await asyncio.sleep(0.001)
    burst.seconds = time.perf_counter() - started
    for line in lines:
        line.close()
    return burst
