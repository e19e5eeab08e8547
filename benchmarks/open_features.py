"""What open features are worth where no schema names anything, and what they cost.

    python -m venv rivals && rivals/bin/pip install -r benchmarks/rivals/requirements.txt
    python benchmarks/open_features.py [--rivals-python rivals/bin/python] [--seeds 5] [--parts worlds cost http]

`worlds`: Azure Personalizer's quickstart without the meal that is always right, and a newspaper with 100 new articles
of 20 tokens every day (benchmarks/open_worlds.py). One model for everybody over `encoding = "open"`, nothing else said
in the schema; beside it Vowpal Wabbit on the same events. Mean expected reward, ± one standard error over seeds.

`cost`: one hot profile at d = 128 and K = 50, in process time: encoding, scoring, learning.

`http`: 500 decisions and 500 rewards a second for that one profile, sent at their own times (benchmarks/open_load.py).
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as serving has it

import numpy as np
from load import post
from numpy.typing import NDArray
from open_load import drive_open
from open_worlds import WORLDS, draw_reward, iter_daily
from server_process import LOAD_CORE, pin, start_bandstand

from bandstand.bandit.choice import choose
from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.policies import EpsilonGreedy, LinUCB, Policy
from bandstand.bandit.profile import Profile
from bandstand.simulate.run.population import SimulatedPopulation

EVENTS = {"quickstart": 2000, "daily": 5000}
SPANS = {
    "quickstart": ((0, 100), (100, 500), (500, 1000), (1000, 2000)),
    "daily": ((0, 1000), (1000, 4000), (4000, 5000), (0, 5000)),
}
_RIVALS = Path(__file__).parent / "rivals" / "open_rivals.py"
_KEY = "open-features"
_TOKENS = 6
"""Of a candidate that is sent: those that mean something."""

Earned = NDArray[np.float64]


def build_schema(columns: int) -> FeatureSchema:
    """Return a schema that says nothing but how many columns there are."""
    feature = {"name": "all", "encoding": "open", "columns": columns}
    return FeatureSchema.parse("anything", {"version": 1, "intercept": True, "features": [feature]})


def build_policies() -> dict[str, Policy]:
    """Return ours, with a floor of 2 % or an ε of 0.2."""
    policies: dict[str, Policy] = {}
    for d in (64, 128, 256):
        ucb: dict[str, object] = {"alpha": 0.5, "floor": 0.02}
        policies[f"linucb, α 0.5, d = {d}"] = LinUCB("ucb", build_schema(d - 1), ucb)
    policies["linucb, α 0.2, d = 128"] = LinUCB("ucb", build_schema(127), {"alpha": 0.2, "floor": 0.02})
    policies["egreedy, ε 0.2, d = 128"] = EpsilonGreedy("greedy", build_schema(127), {"epsilon": 0.2})
    return policies


def play(policy: Policy, world: str, seed: int) -> list[float]:
    """Return what each pick was worth on average."""
    rng, profile, key = random.Random(seed), Profile("everybody"), (policy.name, policy.schema.name)
    population = SimulatedPopulation(policy) if policy.learns_prior else None
    earned = []
    for number, event in enumerate(WORLDS[world](seed, EVENTS[world])):
        x = policy.schema.encode(event.context, event.candidates)
        prior = None if population is None else population.get_prior(profile.user_id)
        pick = choose(policy, profile, x, rng.random(), prior=prior).pick
        profile.apply_reward(number + 1, key, 0.0, x[pick], draw_reward(event.rewards[pick], rng), 1.0)
        if population is not None:
            population.update(profile.user_id, profile.policies[key].ridge)
            population.refresh()
        earned.append(event.rewards[pick])
    return earned


def print_world(world: str, seeds: int, rivals_python: str | None) -> None:
    """Print a row for every player."""
    spans = SPANS[world]
    print(f"\n#### {world}\n\n| | {' | '.join(f'{a + 1}–{b}' for a, b in spans)} |\n|---|{'---|' * len(spans)}")
    rewards = [np.array([event.rewards for event in WORLDS[world](seed, EVENTS[world])]) for seed in range(seeds)]
    best = np.array([each.max(axis=1) for each in rewards])
    uniform = np.array([each.mean(axis=1) for each in rewards])
    rows = {"best": best, "random": uniform, "ceiling under ε 0.2": 0.8 * best + 0.2 * uniform}
    for title, row in rows.items():
        _print_row(title, row, spans)
    for title, policy in build_policies().items():
        _print_row(title, np.array([play(policy, world, seed) for seed in range(seeds)]), spans)
    if rivals_python is not None:
        command = [rivals_python, str(_RIVALS), world, str(seeds), str(EVENTS[world])]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for title, earned in json.loads(output).items():
            _print_row(title, np.array(earned), spans)


def _print_row(title: str, earned: Earned, spans: tuple[tuple[int, int], ...]) -> None:
    cells = []
    for first, last in spans:
        by_seed = earned[:, first:last].mean(axis=1)
        error = by_seed.std(ddof=1) / np.sqrt(len(by_seed)) if len(by_seed) > 1 else 0.0
        cells.append(f"{by_seed.mean():.3f} ± {error:.3f}")
    print(f"| {title} | {' | '.join(cells)} |", flush=True)


def time_call(call: Callable[[], object], calls: int = 400) -> float:
    """Return the best of five means of processor seconds a call."""
    means = []
    for _ in range(5):
        started = time.process_time()
        for _ in range(calls):
            call()
        means.append((time.process_time() - started) / calls)
    return min(means)


def print_cost() -> None:
    """Print microseconds of one hot profile at d = 128 and K = 50."""
    policy = LinUCB("ucb", build_schema(127), {"alpha": 0.5, "floor": 0.02})
    key, profile, rng = ("ucb", "anything"), Profile("everybody"), random.Random(0)
    event = next(iter_daily(0, 1))
    offered = event.candidates[:50]
    x = policy.schema.encode(event.context, offered)
    number = 0

    def score() -> int:
        return choose(policy, profile, x, rng.random()).pick

    def learn() -> None:
        nonlocal number
        number += 1
        profile.apply_reward(number, key, 0.0, x[number % 50], 1.0, 1.0)

    def learn_then_score() -> None:
        learn()
        score()

    for _ in range(200):
        learn_then_score()
    print("\n| d = 128, K = 50, 20 tokens a candidate and 4 of the context | µs |\n|---|---|")
    for title, call in (
        ("encode", lambda: policy.schema.encode(event.context, offered)),
        ("score", score),
        ("learn", learn),
        ("learn, then score", learn_then_score),
    ):
        print(f"| {title} | {1e6 * time_call(call):.0f} |", flush=True)


CONFIG = """
[schemas.anything]
version = 1
intercept = true

[[schemas.anything.features]]
name = "all"
encoding = "open"

[policies.anything-v1]
kind = "linucb"
schema = "anything"
alpha = 0.5
floor = 0.02
"""


def iter_requests(seed: int) -> Iterator[bytes]:
    """Yield decisions of 50 candidates and, 50 decisions later, their rewards, in turn."""
    headers, rng = (f"x-api-key: {_KEY}",), random.Random(seed)
    for number, event in enumerate(iter_daily(seed, 1_000_000)):
        candidates = [
            {"id": f"c{place}", "content": "", "source": "bench", "features": dict(islice(each.items(), _TOKENS))}
            for place, each in enumerate(event.candidates[:50])
        ]
        request = {
            "user_id": "everybody",
            "decision_id": f"{seed}-{number}",
            "context": event.context,
            "candidates": candidates,
        }
        yield post("/score", json.dumps(request).encode(), headers)
        if number >= 50:  # noqa: PLR2004 (as the docstring says)
            reward = {"decision_id": f"{seed}-{number - 50}", "reward": draw_reward(0.3, rng)}
            yield post("/reward", json.dumps(reward).encode(), headers)


def print_http(seconds: float, rate: float) -> None:
    """Print latencies and processor time under an open load."""
    pin(0, LOAD_CORE)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "open.toml"
        config.write_text(CONFIG, "utf-8")
        environment = {"BANDSTAND_CONFIG": str(config), "ACTIVE_POLICY": "anything-v1", "JUDGE": "off"}
        server = start_bandstand(Path(folder) / "state", _KEY, **environment)
        try:
            made = [each for each, _ in zip(iter_requests(1), range(int(2 * rate * (seconds + 5))), strict=False)]
            requests = iter(made)
            asyncio.run(drive_open(server.port, requests, rate=2 * rate, seconds=3.0))
            before = server.cpu()
            burst = asyncio.run(drive_open(server.port, requests, rate=2 * rate, seconds=seconds))
            cpu = server.cpu() - before
        finally:
            server.stop()
    print(
        f"\n{burst.rate / 2:.0f} decisions and as many rewards a second on one profile "
        f"(K = 50, {_TOKENS} tokens each, d = 128): "
        f"p50 {1e3 * burst.quantile(0.5):.1f} ms, p99 {1e3 * burst.quantile(0.99):.1f} ms, "
        f"{burst.failures} failures, {cpu / burst.seconds:.0%} of a core"
    )


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("worlds", "cost", "http"), default=["worlds", "cost", "http"])
    parser.add_argument("--worlds", nargs="+", choices=tuple(WORLDS), default=list(WORLDS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rivals-python", help="of an environment with benchmarks/rivals/requirements.txt")
    parser.add_argument("--seconds", type=float, default=10.0, help="of load")
    parser.add_argument("--rate", type=float, default=500.0, help="decisions a second")
    arguments = parser.parse_args()
    if "worlds" in arguments.parts:
        for world in arguments.worlds:
            print_world(world, arguments.seeds, arguments.rivals_python)
    if "cost" in arguments.parts:
        print_cost()
    if "http" in arguments.parts:
        print_http(arguments.seconds, arguments.rate)


if __name__ == "__main__":
    main()
