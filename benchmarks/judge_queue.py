"""A queue of turns beside the serving: how long it takes to drain, and what that does to the latency of /score.

    python benchmarks/judge_queue.py [--turns 1000] [--delay 0.2] [--rate 200] [--rounds 3] [--state-dir DIR]

In each round the service answers an open load of /score three times: alone; beside a full queue that an LLM with
``--delay`` seconds a reply judges, 32 at once (it is filled while the judge's process is stopped, and its time counts
from when that goes on); and beside as many turns that are sent, 32 at a time, and judged at once. The service and its
judge's process have one core, the load and the scripted LLM the other.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from feeds import KEY, score_body
from load import Burst, post
from open_load import drive_open
from server_process import Server, pin, start_bandstand

_USERS = 1000
_QUANTILES = (0.5, 0.99, 0.999)
_SAID = json.dumps({"rationale": "asks again", "label": "neg_confusion", "confidence": 0.9})
_FEATURES = {"hour_of_day": 9, "is_overdue": True, "task_age_days": 3.0, "priority": 2}
_AT_ONCE = 32


def turn(number: int, round_: int) -> dict[str, object]:
    """A turn that nobody has asked about before."""
    words = {"query_t": f"question {number} of round {round_}", "answer_t": "Eight feet.", "query_t1": "in metres?"}
    return {"user_id": f"user-{number % _USERS}", "tip_id": "tip-1", "features": _FEATURES, "turn": words}


class Queue:
    """The service's queue of turns."""

    def __init__(self, port: int) -> None:
        headers = {"Authorization": f"Bearer {KEY}"}
        limits = httpx.Limits(max_connections=_AT_ONCE)
        self._client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=30, limits=limits
        )

    async def fill(self, turns: int, round_: int) -> None:
        """Send turns, as many at once as the judge takes."""
        numbers = iter(range(turns))

        async def sender() -> None:
            for number in numbers:
                (await self._client.post("/reward", json=turn(number, round_))).raise_for_status()

        await asyncio.gather(*(sender() for _ in range(_AT_ONCE)))

    async def drained(self) -> None:
        """Wait until every turn has its verdict.

        Asked only once a second: the answer costs the service more than a score does, and would be what is measured.
        """
        while (await self._client.get("/stats")).raise_for_status().json()["judge"]["waiting"]:  # noqa: ASYNC110 (asked over HTTP)
            await asyncio.sleep(1)

    async def taught(self) -> int:
        """How many turns have taught."""
        policies = (await self._client.get("/stats")).raise_for_status().json()["judge"]["policies"]
        return sum(int(entry["taught"]) for entry in policies.values())

    async def close(self) -> None:
        """Hang up."""
        await self._client.aclose()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Keep a process from running."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def child_of(pid: int) -> int:
    """The only child of a process."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


async def measured(
    server: Server, bodies: Iterator[bytes], arguments: argparse.Namespace, round_: int
) -> tuple[dict[str, Burst], float]:
    """One round: /score alone, beside a full queue, and beside turns that come; and the seconds the queue took."""
    numbers = itertools.count(3 * round_)

    def load() -> asyncio.Task[Burst]:
        given = {"rate": arguments.rate, "seconds": arguments.seconds, "seed": next(numbers), "connections": 64}
        return asyncio.create_task(drive_open(server.port, bodies, **given))

    queue = Queue(server.port)
    before = await queue.taught()
    bursts = {"alone": await load()}
    with stopped(child_of(server.pid)):
        await queue.fill(arguments.turns, 2 * round_)
    began = time.perf_counter()
    burst = load()
    await queue.drained()
    seconds = time.perf_counter() - began
    bursts["beside a full queue"] = await burst
    burst = load()
    await queue.fill(arguments.turns, 2 * round_ + 1)
    await queue.drained()
    bursts["beside turns that come"] = await burst
    taught = await queue.taught() - before
    assert taught == 2 * arguments.turns, taught  # noqa: S101 (else something else was measured)
    await queue.close()
    return bursts, seconds


async def warmed(port: int, bodies: Iterator[bytes]) -> None:
    """Everybody has been met, everything imported, and the judge's process runs."""
    await drive_open(port, bodies, rate=200, seconds=3, connections=64)
    queue = Queue(port)
    await queue.fill(_AT_ONCE, -1)
    await queue.drained()
    await queue.close()


def together(bursts: list[Burst]) -> Burst:
    """One burst of all."""
    latencies = [each for burst in bursts for each in burst.latencies]
    return Burst(latencies=latencies, failures=sum(burst.failures for burst in bursts))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--delay", type=float, default=0.2)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each burst of /score")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--state-dir", type=Path)
    arguments = parser.parse_args()
    pin(os.getpid(), 1)
    state = Path(tempfile.mkdtemp(dir=arguments.state_dir))
    words = ["-m", "bandstand.testing.scripted_llm_server", "--delay", str(arguments.delay), "--text", _SAID]
    model = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    server: Server | None = None
    try:
        assert model.stdout is not None  # noqa: S101 (it is a pipe)
        url = model.stdout.readline().strip()
        server = start_bandstand(
            state, KEY, JUDGE="llm", JUDGE_MODEL="scripted", JUDGE_URL=f"{url}/v1", OPENAI_API_KEY="none-needed"
        )
        rng = random.Random(0)
        headers = (f"authorization: Bearer {KEY}",)
        bodies = itertools.cycle([post("/score", score_body(user, rng), headers) for user in range(_USERS)])
        asyncio.run(warmed(server.port, bodies))
        rounds = [asyncio.run(measured(server, bodies, arguments, each)) for each in range(arguments.rounds)]
    finally:
        if server is not None:
            server.stop()
        model.terminate()
        model.wait(10)
        shutil.rmtree(state, ignore_errors=True)
    columns = " | ".join(f"p{100 * q:g}" for q in _QUANTILES)
    more = " | ".join(f"p{100 * q:g} more" for q in _QUANTILES)
    print(f"| /score, ms | {columns} | {more} | failures |\n|---|{'---|' * (2 * len(_QUANTILES) + 1)}")
    for name in rounds[0][0]:
        all_ = together([bursts[name] for bursts, _ in rounds])
        cells = [f"{1e3 * all_.quantile(q):.2f}" for q in _QUANTILES]
        for q in _QUANTILES:  # than alone, in the same round; the median of these
            over = statistics.median(1e3 * (each[name].quantile(q) - each["alone"].quantile(q)) for each, _ in rounds)
            cells.append(f"{over:+.2f}")
        print(f"| {name} | {' | '.join(cells)} | {all_.failures} of {len(all_.latencies)} |")
    shown = ", ".join(f"{seconds:.1f}" for _, seconds in rounds)
    print(f"\n{arguments.turns:,} turns at {arguments.delay:g} s a reply, {_AT_ONCE} at once, drained in {shown} s.")


if __name__ == "__main__":
    main()
