"""One user whom several processes score and reward at the same time, as fast as they can.

    python benchmarks/shared_hot_user.py [--processes 4] [--lanes 8] [--seconds 10]

So many services over one PostgreSQL. Each lane scores at one of them and sends the reward to the next one. Printed are
scores and rewards a second, how many decisions were made again because the user had been rewarded meanwhile, and
whether every acknowledged reward stands once in the ledger, and in the sums of every process. Asked are 1,000 of each a
second, and none lost.
"""

import argparse
import asyncio
import json
import os
import random
import re
import tempfile
import time
from itertools import count, islice
from pathlib import Path

import asyncpg
import httpx
import uvloop
from feeds import KEY, score_body
from rich.console import Console
from server_process import LOAD_CORE, SERVER_CORE, Server, pin, start_bandstand
from shared_coherence import ServiceCaller

from bandstand.store.ids import parse_event_id
from bandstand.store.postgres.address import LedgerAddress
from bandstand.testing.postgres_server import run_server

_STALE = re.compile(r"^bandstand_shared_stale_scores_total (\S+)$", re.MULTILINE)
_COUNT = "SELECT count(*), count(DISTINCT decision_seq), count(DISTINCT n) FROM rewards"
_FIND = "SELECT count(*) FROM rewards WHERE decision_seq = ANY ($1::bigint[])"


async def _run_lane(servers: list[Server], body: bytes, until: float) -> list[int]:
    """Score at one process and reward at the next until the time is up; returns the decisions that were rewarded."""
    scores, rewards = [await ServiceCaller.open(server) for server in servers[:2]]
    rewarded = []
    for number in count():
        if time.perf_counter() >= until:
            break
        decision_id = (await scores.call("/score", body))["decision_id"]
        await rewards.call("/reward", json.dumps({"decision_id": decision_id, "reward": number % 2 - 0.5}).encode())
        rewarded.append(parse_event_id(decision_id) or 0)
    scores.close()
    rewards.close()
    return rewarded


async def _read_counts(server: Server, user_id: str) -> tuple[int, int]:
    """How many rewards a process counts of the user, and how often it decided again."""
    base = f"http://127.0.0.1:{server.port}"
    async with httpx.AsyncClient(base_url=base, headers={"x-api-key": KEY}, trust_env=False) as client:
        stats = (await client.get("/stats", params={"user_id": user_id})).json()
        found = _STALE.search((await client.get("/metrics")).text)
    return int(stats["reward_count"]), 0 if found is None else int(float(found[1]))


async def main(options: argparse.Namespace) -> None:
    """Run, check, and print."""
    pin(os.getpid(), LOAD_CORE)
    with tempfile.TemporaryDirectory() as directory, run_server() as database:
        for process in database.list_processes():
            pin(process, SERVER_CORE)
        url = {"STATE_URL": database.build_url(), "JUDGE": "off"}
        servers = [start_bandstand(Path(directory) / f"{n}", KEY, **url) for n in range(options.processes)]
        try:
            body = score_body(0, random.Random(5))
            user_id, started = json.loads(body)["user_id"], time.perf_counter()
            turned = [[*islice(servers, n, None), *servers[:n]] for n in range(options.processes)]
            until = started + options.seconds
            lanes = [_run_lane(turned[n % options.processes], body, until) for n in range(options.lanes)]
            rewarded = [seq for found in await asyncio.gather(*lanes) for seq in found]
            seconds = time.perf_counter() - started
            counts = [await _read_counts(server, user_id) for server in servers]
            session = await asyncpg.connect(
                LedgerAddress.parse(database.build_url()).dsn, server_settings={"search_path": "bandstand"}
            )
            rows, *distinct = await session.fetchrow(_COUNT)
            found = await session.fetchval(_FIND, rewarded)
            await session.close()
        finally:
            for server in servers:
                server.stop()
    done, stale = len(rewarded), sum(again for _, again in counts)
    figures = (
        f"{done / seconds:,.0f} scores and as many rewards a second",
        f"{stale / max(done, 1):.2f} decisions made again for each score",
        f"of {done:,} acknowledged rewards {done - found} lost, {rows - min(distinct)} doubled",
        f"counted by the processes: {', '.join(str(each) for each, _ in counts)}",
        f"load {os.getloadavg()[0]:.1f}",
    )
    Console().print(f"one user, {options.processes} processes, {options.lanes} lanes: {'; '.join(figures)}")
    if found != done or rows != min(distinct) or {each for each, _ in counts} != {rows}:
        raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--lanes", type=int, default=8, help="calls at the same time")
    parser.add_argument("--seconds", type=float, default=10.0)
    uvloop.run(main(parser.parse_args()))
