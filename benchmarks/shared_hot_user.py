"""One user whom several processes score and reward at the same time, as fast as they can.

    python benchmarks/shared_hot_user.py [--processes 4] [--lanes 32] [--seconds 10] [--warm 3] [--apart]

So many services over one PostgreSQL. Each lane scores at one of them and sends the reward to the next one. Printed are
scores and rewards a second once all are warm, how many decisions were made again because the user had been rewarded
meanwhile, the processor time of each pair, and whether every acknowledged reward stands once in the ledger, and in the
sums of every process: those score one more request to 1e-9 as a process does that has folded all events anew. Asked are
1,000 of each a second, and none lost. All servers have one core and the load the other; with ``--apart`` the database
leaves the services' core for that of the load.
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
from operator import itemgetter
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
from bandstand.testing.postgres_server import PostgresServer, run_server

_STALE = re.compile(r"^bandstand_shared_stale_scores_total (\S+)$", re.MULTILINE)
_OF_CANDIDATE = ("score", "propensity")
_TOLERANCE = 1e-9
_LOOKS = 10
_COUNT = "SELECT count(*), count(DISTINCT decision_seq), count(DISTINCT n) FROM rewards"
_FORGET = "DELETE FROM checkpoints"
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


async def _run_lanes(servers: list[Server], body: bytes, *, lanes: int, seconds: float) -> list[int]:
    """Run lanes that begin at every process for so long; returns the decisions that were rewarded."""
    turned = [[*islice(servers, n, None), *servers[:n]] for n in range(len(servers))]
    until = time.perf_counter() + seconds
    running = [_run_lane(turned[n % len(servers)], body, until) for n in range(lanes)]
    return [seq for found in await asyncio.gather(*running) for seq in found]


async def _read_ranking(server: Server, body: bytes) -> list[float]:
    """What a process makes of all candidates now: scores and propensities."""
    caller = await ServiceCaller.open(server)
    answer = await caller.call("/score", json.dumps({**json.loads(body), "ranking": True}).encode())
    caller.close()
    return [each[name] for each in sorted(answer["ranking"], key=itemgetter("tip_id")) for name in _OF_CANDIDATE]


async def _compare_rankings(servers: list[Server], body: bytes) -> float:
    """By how much processes differ from the last one, once all have the prior that was learned last."""
    difference = float("inf")
    for _ in range(_LOOKS):
        *rankings, anew = [await _read_ranking(server, body) for server in servers]
        difference = max(abs(one - other) for each in rankings for one, other in zip(each, anew, strict=True))
        if difference <= _TOLERANCE:
            break
        await asyncio.sleep(1.0)
    return difference


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
            pin(process, LOAD_CORE if options.apart else SERVER_CORE)
        url = {"STATE_URL": database.build_url(), "JUDGE": "off"}
        folder = Path(directory)
        servers = [start_bandstand(folder / f"{n}", KEY, **url) for n in range(options.processes)]
        try:
            body = score_body(0, random.Random(5))
            user_id = json.loads(body)["user_id"]
            warm = await _run_lanes(servers, body, lanes=options.lanes, seconds=options.warm)
            before = [await _read_counts(server, user_id) for server in servers]
            used, started = _read_processor(servers, database), time.perf_counter()
            done = await _run_lanes(servers, body, lanes=options.lanes, seconds=options.seconds)
            seconds = time.perf_counter() - started
            used = [now - then for now, then in zip(_read_processor(servers, database), used, strict=True)]
            counts = [await _read_counts(server, user_id) for server in servers]
            session = await asyncpg.connect(
                LedgerAddress.parse(database.build_url()).dsn, server_settings={"search_path": "bandstand"}
            )
            rows, *distinct = await session.fetchrow(_COUNT)
            found = await session.fetchval(_FIND, warm + done)
            await session.execute(_FORGET)
            await session.close()
            servers.append(start_bandstand(folder / "anew", KEY, **url))
            difference = await _compare_rankings(servers, body)
        finally:
            for server in servers:
                server.stop()
    lost, stale = len(warm + done) - found, sum(now - then for (_, now), (_, then) in zip(counts, before, strict=True))
    service, ledger = (1e6 * each / max(len(done), 1) for each in used)
    figures = (
        f"{len(done) / seconds:,.0f} scores and as many rewards a second",
        f"{stale / max(len(done), 1):.2f} decisions made again for each score",
        f"{service:,.0f} µs of service and {ledger:,.0f} µs of database a pair",
        f"of {found + lost:,} acknowledged rewards {lost} lost, {rows - min(distinct)} doubled",
        f"counted by the processes: {', '.join(str(each) for each, _ in counts)}",
        f"scores differ by {difference:.1g} from those of a process that folds anew",
        f"load {os.getloadavg()[0]:.1f}",
    )
    Console().print(f"one user, {options.processes} processes, {options.lanes} lanes: {'; '.join(figures)}")
    if lost or rows != min(distinct) or {each for each, _ in counts} != {rows} or not difference <= _TOLERANCE:
        raise SystemExit(1)


def _read_processor(servers: list[Server], database: PostgresServer) -> list[float]:
    """Processor seconds of the services, and of the database."""
    return [sum(server.cpu() for server in servers), database.cpu()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--lanes", type=int, default=32, help="calls at the same time")
    parser.add_argument("--warm", type=float, default=3.0, help="seconds before those that count")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--apart", action="store_true", help="the database on the core of the load")
    uvloop.run(main(parser.parse_args()))
