"""How long a browser waits for each page of the console, in a ledger of a large deployment.

    python benchmarks/console_pages.py [--users 100000] [--decisions 1000000] [--days 89] [--keep DIR]

The ledger is filled by the use cases that serve, under a clock that lets the days pass: ten candidates a decision, of
1,000 items from four sources, a reward for two of three. Then it is served, and every page asked for; the first view is
printed, the median and the worst of the later ones, and the processor's time of each of these, which other programs do
not lengthen.
"""

import argparse
import asyncio
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import uvloop
from feeds import build_features
from rich.console import Console
from rich.table import Table
from server_process import Server, find_free_port

from bandstand.bandit.catalogue import Catalogue
from bandstand.service.context import ServiceContext
from bandstand.service.reward import reward
from bandstand.service.score import score
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore

_GROUP = 64
_DAY = 86_400.0
_VIEWS = 7
_ITEMS = 1000
_SOURCES = ("task", "habit", "mail", "llm")
_WORDS = ("water", "call", "write", "tidy", "read", "plan", "pay", "walk", "cook", "mend", "learn", "thank")
_REQUESTS = 2000


def build_request(rng: random.Random) -> dict[str, Any]:
    """Ten candidates as a product would send them."""
    items = rng.sample(range(_ITEMS), 10)
    return {
        "candidates": [
            {
                "id": f"item-{item}",
                "content": f"{_WORDS[item % 12]} the {_WORDS[item // 12 % 12]} of list {item} before the evening",
                "source": _SOURCES[item % 4],
                "features": build_features(rng),
            }
            for item in items
        ],
        "context": {"hour_of_day": rng.randrange(24), "day_of_week": rng.randrange(7)},
    }


async def fill(state: Path, users: int, decisions: int, days: int) -> None:
    """Make such a deployment, whose last day is today."""
    now = begin = time.time() - days * _DAY

    def clock() -> float:
        return now

    catalogue = Catalogue.parse(tomllib.loads(files("bandstand").joinpath("defaults.toml").read_text("utf-8")))
    options = StoreOptions(sync=False, checkpoint_seconds=60, follow_seconds=0.0)
    store = EmbeddedStore(state, catalogue, options=options, clock=clock)
    await store.open()
    deployment = ServiceContext(catalogue, store, clock=clock)
    await deployment.start()
    rng = random.Random(7)
    requests = [build_request(rng) for _ in range(_REQUESTS)]

    async def visit(number: int) -> None:
        request = {"user_id": f"user-{number % users:06d}", **requests[number % _REQUESTS]}
        body = json.dumps(request).encode()
        scored = await score(deployment, request, body=body, client="bench")
        if number % 3:
            value = 1.0 if random.Random(number).random() < (0.3 + 0.2 * (len(scored.tip_id) % 2)) else -0.2
            await reward(deployment, {"decision_id": scored.decision_id, "reward": value}, client="bench")

    for start in range(0, decisions, _GROUP):
        now = begin + days * _DAY * start / decisions
        await asyncio.gather(*map(visit, range(start, min(start + _GROUP, decisions))))
        if start // _GROUP % 1000 == 0:
            await store.follow_gains()
    await store.follow_gains()
    await store.close()


def list_pages(client: httpx.Client) -> dict[str, str]:
    """Every page that needs no run, by what it shows."""
    users = client.get("/users", params={"limit": 1}).json()["users"]
    history = client.get("/features", params={"user_id": users[0]["user_id"]}).json()["history"]
    pages = {
        "Overview": "",
        "its figures": "/overview.json",
        "its figures of 90 days": "/overview.json?span=90d",
        "the gain's figure": "/gain.json",
        "What was shown": "/shown",
        "What was shown, a common word": "/shown?words=water",
        "What was shown, words that no content has": "/shown?words=unheard+of",
        "What was shown, a candidate": "/shown?candidate=item-77",
        "Users": "/users",
        "Users by prefix": "/users?q=user-05",
        "a user": "/user?" + urlencode({"id": users[0]["user_id"]}),
        "a receipt": "/decision?" + urlencode({"id": history[-1]["decision_id"]}),
        "Policies": "/policies",
        "a launch": "/policies/launch?policy=thompson-v1",
        "Experiment": "/experiment",
        "Judge": "/judge",
        "its review": "/judge/review",
        "Simulations": "/simulations",
        "Evaluations": "/evaluations",
        "Prompts": "/prompts",
        "Loops": "/loops",
    }
    return {name: f"/console{path}" for name, path in pages.items()}


def measure(server: Server) -> Table:
    """Ask for every page, a few times each."""
    table = Table(title="pages of the console", box=None)
    for column in ("page", "bytes", "first ms", "median ms", "worst ms", "processor ms"):
        table.add_column(column, justify="left" if column == "page" else "right")
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=60) as client:
        for name, path in list_pages(client).items():
            size, times = 0, list[float]()
            used = 0.0
            for view in range(_VIEWS):
                used = server.cpu() if view == 1 else used
                started = time.perf_counter()
                size = len(client.get(path).raise_for_status().content)
                times.append(1000 * (time.perf_counter() - started))
            first, *later = times
            each = 1000 * (server.cpu() - used) / len(later)
            shown = f"{first:.0f}", f"{statistics.median(later):.0f}", f"{max(later):.0f}", f"{each:.0f}"
            table.add_row(name, f"{size:,}", *shown)
    return table


async def main(options: argparse.Namespace) -> None:
    """Fill, serve, measure."""
    root = options.keep or Path(tempfile.mkdtemp(prefix="bandstand-console-"))
    state = root / "state"
    if not state.exists():
        await fill(state, options.users, options.decisions, options.days)
    if options.fill_only:
        return
    port = find_free_port()
    command = [sys.executable, "-m", "bandstand", "serve", "--port", str(port), "--state-dir", str(state)]
    server = Server(command, {}, port)
    try:
        Console(width=120).print(measure(server))
    finally:
        server.stop()
        if not options.keep:
            shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=89)
    parser.add_argument("--keep", type=Path, help="fill this directory, if it is empty, and leave it")
    parser.add_argument("--fill-only", action="store_true", help="with --keep: measure in another run")
    uvloop.run(main(parser.parse_args()))
