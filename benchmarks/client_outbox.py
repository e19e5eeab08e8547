"""Whether the client's outbox keeps its word: a product and a service that are killed, and what is lost or doubled.

    python benchmarks/client_outbox.py kills [--kills 200]         either side is killed, at random moments
    python benchmarks/client_outbox.py burst [--rewards 10000]     a full outbox, and the service killed every second

Every kill is a SIGKILL. A reward counts as accepted once the product has written down, after the outbox took it, that
it did. In the end the service is asked for each decision's reward, and for each user's count of rewards. Exits 1 if one
is lost or doubled.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from bandstand_client import Bandstand, UnknownDecisionError

TWO = ["tea", "coffee"]
USERS = 20
_READY_S = 120.0
_DRAIN_S = 600.0


class Service:
    """The served process, which may be killed and started again."""

    def __init__(self, state_dir: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._words = [sys.executable, "-m", "bandstand", "serve", "--port", str(port), "--state-dir", str(state_dir)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, without waiting."""
        self._process = subprocess.Popen(self._words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait_until_ready(self) -> None:
        """Wait until it takes events."""
        until = time.monotonic() + _READY_S
        while time.monotonic() < until:
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"{self.url}/ready", trust_env=False).raise_for_status()
                return
            time.sleep(0.02)
        raise SystemExit("the service did not start")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def run_product(url: str, folder: Path) -> None:
    """Score and reward without end, and write down what was scored and what the outbox accepted."""
    client = Bandstand(url, score_deadline=5.0)
    outbox = client.outbox(folder / "outbox.db")
    numbers = random.Random()
    with (folder / "product.log").open("a", buffering=1) as log:
        while True:
            decision = client.score(f"user-{numbers.randrange(USERS)}", TWO)
            if decision.fallback is not None:
                time.sleep(0.02)
                continue
            log.write(f"scored {decision.id}\n")
            outbox.reward(decision, 0.5)
            log.write(f"accepted {decision.id}\n")


def drain(url: str, folder: Path) -> None:
    """Let the outbox deliver what is left in its file."""
    with Bandstand(url).outbox(folder / "outbox.db") as outbox:
        if not outbox.flush(_DRAIN_S):
            raise SystemExit("the outbox could not be emptied")


def check(url: str, scored: set[str], accepted: set[str]) -> tuple[int, int, int]:
    """How many were rewarded, lost and doubled, as the service has them."""
    with Bandstand(url, deadline=60.0) as client:
        rewarded = set()
        for decision_id in scored:
            with contextlib.suppress(UnknownDecisionError):
                if client.receipt(decision_id).reward is not None:
                    rewarded.add(decision_id)
        counted = sum(client.stats(f"user-{number}").reward_count for number in range(USERS))
    return len(rewarded), len(accepted - rewarded), counted - len(rewarded)


def try_kills(folder: Path, kills: int, seed: int) -> dict[str, float]:
    """Kill either side in the middle of whatever it does, again and again."""
    numbers = random.Random(seed)
    service = Service(folder / "state")
    product_words = [sys.executable, __file__, "product", service.url, str(folder)]
    killed = {"product": 0, "service": 0}
    service.start()
    service.wait_until_ready()
    product = subprocess.Popen(product_words)
    try:
        for number in range(kills):
            if numbers.random() < 0.85:  # noqa: PLR2004 (else it is killed while it starts)
                wait_for_progress(folder / "product.log")
            time.sleep(numbers.uniform(0.0, 0.3))
            side = numbers.choice(("product", "service"))
            killed[side] += 1
            if side == "product":
                product.send_signal(signal.SIGKILL)
                product.wait()
                product = subprocess.Popen(product_words)
            else:
                service.kill()
                service.start()
            if number % 20 == 19:  # noqa: PLR2004 (a line now and then)
                print(f"{number + 1} kills", file=sys.stderr)
    finally:
        product.kill()
        product.wait()
    try:
        service.wait_until_ready()
        drain(service.url, folder)
        scored, accepted = read_log(folder)
        rewarded, lost, doubled = check(service.url, scored, accepted)
    finally:
        service.kill()
    return {"kills": kills, **killed, "accepted": len(accepted), "rewarded": rewarded, "lost": lost, "doubled": doubled}


def wait_for_progress(log: Path) -> None:
    """Wait until the product and the service work together again."""
    size = log.stat().st_size if log.exists() else 0
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        if log.exists() and log.stat().st_size > size:
            return
        time.sleep(0.005)
    raise SystemExit("the product came to a halt")


def try_burst(folder: Path, rewards: int) -> dict[str, float]:
    """Fill an outbox, then kill the service every second until it is empty."""
    service = Service(folder / "state")
    service.start()
    service.wait_until_ready()
    killed = 0
    try:
        client = Bandstand(service.url, score_deadline=30.0, deadline=5.0)
        decisions = [client.score(f"user-{number % USERS}", TWO).id for number in range(rewards)]
        outbox = client.outbox(folder / "outbox.db", capacity=rewards)
        started = time.process_time()
        for decision in decisions:
            outbox.reward(decision, 0.5)
        accept_us = (time.process_time() - started) / rewards * 1e6
        began = time.monotonic()
        while not outbox.flush(1.0):
            service.kill()
            killed += 1
            service.start()
            service.wait_until_ready()
            print(f"{killed} kills, {outbox.counts.delivered} delivered", file=sys.stderr)
        seconds = time.monotonic() - began
        outbox.close()
        rewarded, lost, doubled = check(service.url, set(decisions), set(decisions))
    finally:
        service.kill()
    figures = {"kills": killed, "accepted": rewards, "rewarded": rewarded, "lost": lost, "doubled": doubled}
    return {**figures, "accept_us": round(accept_us, 1), "seconds": round(seconds, 1)}


def read_log(folder: Path) -> tuple[set[str], set[str]]:
    """What the product wrote down; its last line may be half of one."""
    lines = [line.split() for line in (folder / "product.log").read_text().split("\n")[:-1]]
    pairs = [(words[0], words[1]) for words in lines if len(words) == 2]  # noqa: PLR2004 (a word and an id)
    return {each for word, each in pairs if word == "scored"}, {each for word, each in pairs if word == "accepted"}


def main() -> None:
    """Run a trial and print what came of it as JSON."""
    if sys.argv[1:2] == ["product"]:
        run_product(sys.argv[2], Path(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trial", choices=["kills", "burst"])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rewards", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(2), "big"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, float]
        if options.trial == "kills":
            found = {"seed": options.seed, **try_kills(Path(folder), options.kills, options.seed)}
        else:
            found = try_burst(Path(folder), options.rewards)
    print(json.dumps(found))
    sys.exit(1 if found["lost"] or found["doubled"] else 0)


if __name__ == "__main__":
    main()
