"""What the Python client costs: CPU a call over raw httpx, its import, and a call while the service is left alone.

    python benchmarks/client.py [--calls N] [--rounds N]

Both clients speak to the same stub, which answers at once, in a process of its own; each figure is CPU of this process
alone, as the median of rounds that take turns. A bound is met or not; a loaded machine shows more than a quiet one.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import httpx
from bandstand_client import AsyncBandstand, Bandstand, Breaker

CANDIDATES = [
    {"id": f"tip-{number}", "content": "Drink tea.", "source": "task", "features": {"priority": 1 + number % 4}}
    for number in range(10)
]
CONTEXT = {"hour_of_day": 9, "day_of_week": 0}
STUB = """
import asyncio, re
ID = re.compile(rb'"decision_id": ?"([^"]+)"')
async def answer(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            length = int(re.search(rb"content-length: (\\d+)", head.lower())[1])
            decision = ID.search(await reader.readexactly(length))[1]
            body = (b'{"tip_id":"tip-3","score":0.5,"policy":"linucb-v2","decision_id":"' + decision +
                    b'","propensity":0.99,"exploring":false}')
            writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n%s"
                         % (len(body), body))
    except asyncio.IncompleteReadError:
        writer.close()
async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
IMPORT = "import httpx, time; a = time.process_time(); import bandstand_client; print(time.process_time() - a)"
BOUNDS_US = {"over raw httpx": 150.0, "breaker open": 20.0}
IMPORT_BOUND_MS = 15.0


def measure(call: Callable[[], object], calls: int) -> float:
    """CPU of this process a call, in microseconds."""
    started = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - started) / calls * 1e6


def compare(url: str, calls: int, rounds: int) -> dict[str, float]:
    """The calls of threads: raw, ours, and ours with the breaker open."""
    body = {"user_id": "ada", "decision_id": "0197", "candidates": CANDIDATES, "context": CONTEXT}
    broken = Bandstand("http://127.0.0.1:9", breaker=Breaker(failures=1, open_s=3600.0, longest_s=3600.0))
    broken.score("ada", CANDIDATES)
    with httpx.Client(base_url=url, trust_env=False) as raw, Bandstand(url, "s3cret", score_deadline=60.0) as client:

        def call_raw() -> object:
            return raw.post("/score", json=body).raise_for_status().json()["tip_id"]

        def call_ours() -> object:
            return client.score("ada", CANDIDATES, context=CONTEXT).pick

        found = []
        for _ in range(rounds):
            raw_us, ours_us = measure(call_raw, calls), measure(call_ours, calls)
            open_us = measure(lambda: broken.score("ada", CANDIDATES, context=CONTEXT), calls)
            found.append({"raw httpx": raw_us, "client": ours_us, "breaker open": open_us})
        assert client.counts.fallbacks == 0  # noqa: S101 (else the figures are of something else)
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


async def compare_async(url: str, calls: int, rounds: int) -> dict[str, float]:
    """The same in an event loop."""
    body = {"user_id": "ada", "decision_id": "0197", "candidates": CANDIDATES, "context": CONTEXT}
    found = []
    raw_client = httpx.AsyncClient(base_url=url, trust_env=False)
    async with raw_client as raw, AsyncBandstand(url, "s3cret", score_deadline=60.0) as client:
        for _ in range(rounds):
            started = time.process_time()
            for _ in range(calls):
                (await raw.post("/score", json=body)).raise_for_status().json()
            raw_us = (time.process_time() - started) / calls * 1e6
            started = time.process_time()
            for _ in range(calls):
                await client.score("ada", CANDIDATES, context=CONTEXT)
            found.append({"raw httpx": raw_us, "client": (time.process_time() - started) / calls * 1e6})
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


def measure_import(rounds: int) -> float:
    """CPU of importing the client where httpx is imported already, in milliseconds."""
    words = [sys.executable, "-c", IMPORT]
    # As an installed package is: its bytecode is written once, and not compiled at every start.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    taken = [subprocess.run(words, capture_output=True, check=True, env=environment).stdout for _ in range(rounds + 1)]
    return statistics.median(float(each) for each in taken[1:]) * 1e3


def main() -> None:
    """Print the table, and as JSON in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with subprocess.Popen([sys.executable, "-c", STUB], stdout=subprocess.PIPE, text=True) as stub:
        try:
            assert stub.stdout is not None  # noqa: S101 (asked for above)
            url = f"http://127.0.0.1:{int(stub.stdout.readline())}"
            threads = compare(url, options.calls, options.rounds)
            loop = asyncio.run(compare_async(url, options.calls, options.rounds))
        finally:
            stub.kill()
    imported_ms = measure_import(2 * options.rounds)
    over, over_loop = threads["client"] - threads["raw httpx"], loop["client"] - loop["raw httpx"]
    rows = [
        ("score by raw httpx", f"{threads['raw httpx']:.0f} µs", ""),
        (
            "score by the client",
            f"{threads['client']:.0f} µs",
            f"{threads['client'] / threads['raw httpx']:.2f} of raw",
        ),
        ("  over raw httpx", f"{over:+.0f} µs", f"bound {BOUNDS_US['over raw httpx']:.0f} µs"),
        ("score by raw httpx, event loop", f"{loop['raw httpx']:.0f} µs", ""),
        (
            "score by the client, event loop",
            f"{loop['client']:.0f} µs",
            f"{loop['client'] / loop['raw httpx']:.2f} of raw",
        ),
        ("  over raw httpx, event loop", f"{over_loop:+.0f} µs", f"bound {BOUNDS_US['over raw httpx']:.0f} µs"),
        (
            "score with the breaker open",
            f"{threads['breaker open']:.1f} µs",
            f"bound {BOUNDS_US['breaker open']:.0f} µs",
        ),
        ("import over httpx's own", f"{imported_ms:.1f} ms", f"bound {IMPORT_BOUND_MS:.0f} ms"),
    ]
    for name, value, note in rows:
        print(f"{name:34}{value:>10}   {note}")
    figures = {"over_raw_us": over, "over_raw_loop_us": over_loop, "breaker_open_us": threads["breaker open"]}
    print(json.dumps({name: round(value, 1) for name, value in {**figures, "import_ms": imported_ms}.items()}))


if __name__ == "__main__":
    main()
