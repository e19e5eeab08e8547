"""What a call costs over PostgreSQL beside the embedded ledger, in one run.

    python benchmarks/shared_ledger.py [--users 1000] [--seconds 3] [--rounds 3] [--connections 32]

Two services answer the same requests in alternating bursts: one over a state directory, one over a PostgreSQL of its
own on a socket. Processor time is the kernel's; the database's is that of all its processes. With one connection, p50
is that of a call alone.
"""

import argparse
import os
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import uvloop
from feeds import CONNECTIONS, KEY, Feed, RewardFeed
from load import drive
from rich.console import Console
from rich.table import Table
from server_process import LOAD_CORE, SERVER_CORE, Server, pin, start_bandstand

from bandstand.store.postgres.address import LedgerAddress
from bandstand.testing.postgres_server import PostgresServer, run_server

_TABLES = {
    "decision": ("decisions", "decisions_rest"),
    "reward": ("rewards", "claims"),
    "user": ("users", "checkpoints"),
}
"""The tables of each; the first has a row for each."""


@dataclass
class Costs:
    """Microseconds of processor a call, of each burst."""

    service: list[float] = field(default_factory=list)
    database: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    failures: int = 0


async def measure(
    feed: Feed, server: Server, database: PostgresServer | None, costs: Costs, options: argparse.Namespace
) -> None:
    """One burst."""
    requests = await feed.prepare(server)
    service, ledger = server.cpu(), 0.0 if database is None else database.cpu()
    burst = await drive(server.port, requests, connections=options.connections, seconds=options.seconds)
    calls = len(burst.latencies)
    costs.service.append(1e6 * (server.cpu() - service) / calls)
    costs.database.append(0.0 if database is None else 1e6 * (database.cpu() - ledger) / calls)
    costs.p50.append(1e3 * burst.quantile(0.5))
    costs.failures += burst.failures


async def read_sizes(url: str) -> dict[str, float]:
    """Bytes on disk, indexes included, by what they are kept for."""
    session = await asyncpg.connect(LedgerAddress.parse(url).dsn, server_settings={"search_path": "bandstand"})
    try:
        sizes: dict[str, float] = {}
        for what, tables in _TABLES.items():
            query = """SELECT sum(pg_total_relation_size(oid))::float8 FROM pg_class WHERE relkind = 'r'
                AND relnamespace = 'bandstand'::regnamespace AND relname = ANY ($1::text[])"""
            count = await session.fetchval(f"SELECT count(*) FROM {tables[0]}")  # noqa: S608 (our own names)
            sizes[what] = await session.fetchval(query, list(tables)) / max(count, 1)
        return sizes
    finally:
        await session.close()


async def main(options: argparse.Namespace) -> None:
    """Measure, and print the table."""
    pin(os.getpid(), LOAD_CORE)
    feeds = {"/score": Feed(options.users), "/reward": RewardFeed(options.users)}
    RewardFeed.decisions = options.decisions
    costs = {(path, engine): Costs() for path in feeds for engine in ("embedded", "postgresql")}
    with tempfile.TemporaryDirectory() as directory, run_server({"fsync": options.fsync}) as database:
        for process in database.list_processes():
            pin(process, SERVER_CORE)
        url = {"STATE_URL": database.build_url(), "JUDGE": "off"}
        embedded = start_bandstand(Path(directory) / "embedded", KEY, JUDGE="off")
        shared = start_bandstand(Path(directory) / "shared", KEY, **url)
        try:
            for path, feed in feeds.items():
                for server in (embedded, shared):  # who is not in memory is read, and plans are made
                    await drive(server.port, await feed.prepare(server), connections=CONNECTIONS, seconds=1.0)
                for _ in range(options.rounds):
                    await measure(feed, embedded, None, costs[path, "embedded"], options)
                    await measure(feed, shared, database, costs[path, "postgresql"], options)
            sizes = await read_sizes(database.build_url())
        finally:
            embedded.stop()
            shared.stop()
    table = Table("call", "engine", "service µs", "÷ embedded", "database µs", "p50 ms", "failures")
    for (path, engine), found in costs.items():
        service = statistics.median(found.service)
        pairs = zip(found.service, costs[path, "embedded"].service, strict=True)
        ratio = statistics.median(one / other for one, other in pairs)  # of neighbours: others use the machine, too
        database_us, p50 = statistics.median(found.database), statistics.median(found.p50)
        table.add_row(path, engine, *(f"{x:.2f}" for x in (service, ratio, database_us, p50)), str(found.failures))
    Console().print(table, f"load {os.getloadavg()[0]:.1f}")
    Console().print(", ".join(f"{size:.0f} bytes a {what}" for what, size in sizes.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--decisions", type=int, default=5000)
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="calls at the same time")
    parser.add_argument("--fsync", choices=("on", "off"), default="on")
    uvloop.run(main(parser.parse_args()))
