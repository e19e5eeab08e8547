"""Whether a reward that one process acknowledged is in the next decision of another.

    python benchmarks/shared_coherence.py [--tries 10000] [--users 50] [--lanes 32]

Two services over one PostgreSQL. Of each user in turn one process answers a score and takes its reward; right after the
answer the other one scores, and the ledger says which version of the user that decision was made from: it has to be the
reward's number or a later one. Then the two change places.
"""

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import uvloop
from feeds import KEY, score_body
from load import post
from rich.console import Console
from server_process import LOAD_CORE, SERVER_CORE, Server, pin, start_bandstand

from bandstand.store.ids import parse_event_id
from bandstand.store.postgres.address import LedgerAddress
from bandstand.testing.postgres_server import run_server

_MADE_AT = """SELECT d.seq, d.version, (SELECT r.n FROM rewards AS r WHERE r.decision_seq = g.rewarded) AS n
    FROM unnest($1::bigint[], $2::bigint[]) AS g(rewarded, seq) JOIN decisions AS d ON d.seq = g.seq"""


class ServiceCaller:
    """One connection to a service, for one call after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, server: Server) -> "ServiceCaller":
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", server.port))

    async def call(self, path: str, body: bytes) -> dict[str, Any]:
        """The answer of a call that has to succeed."""
        self._writer.write(post(path, body, (f"x-api-key: {KEY}",)))
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        answer = await self._reader.readexactly(length)
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError(answer.decode())
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        """Let it go."""
        self._writer.close()


async def _try_users(
    servers: list[Server], users: range, rng: random.Random, tries: Iterator[int]
) -> list[tuple[str, str]]:
    """Score and reward at one process, score at the other, again and again; returns the two decisions of each try."""
    connections = [await ServiceCaller.open(server) for server in servers]
    bodies = [score_body(user, rng) for user in users]
    pairs = []
    for number in tries:
        body, taker, reader = bodies[number % len(bodies)], connections[number % 2], connections[1 - number % 2]
        rewarded = (await taker.call("/score", body))["decision_id"]
        await taker.call("/reward", json.dumps({"decision_id": rewarded, "reward": 0.5 - number % 2}).encode())
        pairs.append((rewarded, (await reader.call("/score", body))["decision_id"]))
    for each in connections:
        each.close()
    return pairs


async def count_coherent(url: str, pairs: list[tuple[str, str]]) -> int:
    """How many second decisions were made from a state that had the reward of the first."""
    session = await asyncpg.connect(LedgerAddress.parse(url).dsn, server_settings={"search_path": "bandstand"})
    try:
        rewarded, seen = ([parse_event_id(each) for each in column] for column in zip(*pairs, strict=True))
        rows = await session.fetch(_MADE_AT, rewarded, seen)
        return sum(row["n"] is not None and row["version"] >= row["n"] for row in rows)
    finally:
        await session.close()


async def main(options: argparse.Namespace) -> None:
    """Try, count, and print the sentence."""
    pin(os.getpid(), LOAD_CORE)
    with tempfile.TemporaryDirectory() as directory, run_server() as database:
        for process in database.list_processes():
            pin(process, SERVER_CORE)
        url = {"STATE_URL": database.build_url(), "JUDGE": "off"}
        servers = [start_bandstand(Path(directory) / name, KEY, **url) for name in ("one", "two")]
        started = time.perf_counter()
        try:
            tries, rng = iter(range(options.tries)), random.Random(5)
            lanes = [
                _try_users(servers, range(lane * options.users, (lane + 1) * options.users), rng, tries)
                for lane in range(options.lanes)
            ]
            pairs = [pair for found in await asyncio.gather(*lanes) for pair in found]
            coherent = await count_coherent(database.build_url(), pairs)
        finally:
            for server in servers:
                server.stop()
    seconds, load = time.perf_counter() - started, os.getloadavg()[0]
    Console().print(
        f"a reward acknowledged by one process was in the next decision of the other in {coherent:,} of {len(pairs):,} "
        f"tries ({seconds:.0f} s, load {load:.1f})"
    )
    if coherent != len(pairs):
        raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=10_000)
    parser.add_argument("--users", type=int, default=50, help="of each lane")
    parser.add_argument("--lanes", type=int, default=32, help="tries at the same time")
    uvloop.run(main(parser.parse_args()))
