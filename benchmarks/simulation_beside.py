"""What a running simulation does to the service's latency: /score under an open load, with and without one beside it.

    python benchmarks/simulation_beside.py [--rate 200] [--seconds 5] [--rounds 5] [--state-dir DIR]

Bursts without and with a simulation alternate, so that a drifting machine drifts in both. The service has one core, and
its simulating child nothing but what the service leaves of that; the load has another. Quantiles are over all bursts of
a kind together; under them stands the median of the differences between neighbours.
"""

import argparse
import asyncio
import itertools
import os
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from feeds import KEY, score_body
from load import Burst, post
from open_load import drive_open
from server_process import Server, pin, start_bandstand

_PLAN = {"policies": ["linucb-v1", "squarecb-v1"], "personas": 14, "days": 300, "seeds": 50, "events": "sample"}
_QUANTILES = (0.5, 0.99, 0.999)
_USERS = 1000


class Beside:
    """The service, asked to simulate and to stop."""

    def __init__(self, port: int) -> None:
        headers = {"Authorization": f"Bearer {KEY}"}
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=30)
        self.played = 0

    def begin(self) -> int:
        """Start a simulation and wait until it plays."""
        run = int(self._client.post("/simulations", json=_PLAN).raise_for_status().json()["id"])
        while self._told(run)["progress"]["done"] == 0:
            time.sleep(0.1)
        return run

    def end(self, run: int) -> None:
        """Stop it."""
        told = self._told(run)
        assert told["state"] == "running", told["state"]  # noqa: S101 (else nothing was measured)
        self.played += told["progress"]["done"]
        self._client.delete(f"/simulations/{run}").raise_for_status()
        time.sleep(1)  # the child is on its way out

    def _told(self, run: int) -> Any:
        return self._client.get(f"/simulations/{run}").raise_for_status().json()


def measure(port: int, arguments: argparse.Namespace) -> tuple[list[Burst], list[Burst], int]:
    """Return bursts without and with a simulation, in pairs, and the decisions it made meanwhile."""
    rng = random.Random(0)
    headers = (f"authorization: Bearer {KEY}",)
    bodies = itertools.cycle([post("/score", score_body(user, rng), headers) for user in range(_USERS)])
    beside = Beside(port)

    def burst(seed: int) -> Burst:
        work = drive_open(port, bodies, rate=arguments.rate, seconds=arguments.seconds, seed=seed, connections=64)
        return asyncio.run(work)

    burst(0)  # everybody has been met, and everything imported
    idle, busy = [], []
    for number in range(1, arguments.rounds + 1):
        idle.append(burst(number))
        run = beside.begin()
        busy.append(burst(number))
        beside.end(run)
    return idle, busy, beside.played


def together(bursts: list[Burst]) -> Burst:
    """One burst of all."""
    return Burst(
        latencies=[each for burst in bursts for each in burst.latencies], failures=sum(b.failures for b in bursts)
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--state-dir", type=Path)
    arguments = parser.parse_args()
    pin(os.getpid(), 1)
    state = Path(tempfile.mkdtemp(dir=arguments.state_dir))
    server: Server | None = None
    try:
        server = start_bandstand(state, KEY)
        idle, busy, played = measure(server.port, arguments)
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(state, ignore_errors=True)
    print("| /score, ms | " + " | ".join(f"p{100 * q:g}" for q in _QUANTILES) + " | failures |\n|---|---|---|---|---|")
    for name, bursts in (("alone", idle), ("a simulation beside it", busy)):
        all_ = together(bursts)
        cells = [f"{1e3 * all_.quantile(q):.2f}" for q in _QUANTILES]
        print(f"| {name} | {' | '.join(cells)} | {all_.failures} of {len(all_.latencies)} |")
    differences = [
        statistics.median(1e3 * (b.quantile(q) - a.quantile(q)) for a, b in zip(idle, busy, strict=True))
        for q in _QUANTILES
    ]
    print(f"| difference of neighbours, median | {' | '.join(f'{each:+.2f}' for each in differences)} | |")
    print(f"\nSimulated meanwhile: {played:,} decisions.")


if __name__ == "__main__":
    main()
