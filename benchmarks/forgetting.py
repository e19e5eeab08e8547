"""What forgetting is worth where tastes turn round, and what it costs where nothing changes.

    python benchmarks/forgetting.py [--seeds 4] [--days 120]

40 users make 4 decisions a day among 5 candidates of 8 features; their tastes are N(0, I), rewards have a noise of 0.3.
In one world all tastes turn round half way through, in the other nothing changes. Every row is `linucb` with alpha 0.5;
`auto` looks once a day, as serving does, which memory foretold the rewards best (`bandstand.bandit.memory`), and folds
everybody's rewards again when another one did. The gap closed is (policy - random)/(best - random) by the exact reward.
"""

import argparse
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bandstand.bandit.choice import choose
from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.memory import (
    ENDLESS,
    SECONDS_PER_DAY,
    Memory,
    TaughtReward,
    choose_memory,
    list_memories,
    score_memories,
)
from bandstand.bandit.policies import LinUCB
from bandstand.bandit.profile import Profile

FEATURES, CANDIDATES, USERS, A_DAY, NOISE = 8, 5, 40, 4, 0.3
HALF_LIVES = (0.0, 90.0, 30.0, 14.0, 7.0, 3.0)
KEY = ("linucb", "made-up")


class DriftWorld(NamedTuple):
    """Everything that happens to everybody, whoever decides.

    Attributes:
        x: (days, A_DAY, USERS, CANDIDATES, FEATURES).
        value: the exact reward of each candidate, without the last axis of ``x``.
        noise: of each reward.
        draws: of each decision.
    """

    x: NDArray[np.float64]
    value: NDArray[np.float64]
    noise: NDArray[np.float64]
    draws: NDArray[np.float64]


def build_world(seed: int, days: int, *, turns: bool) -> DriftWorld:
    """Draw a world."""
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=(USERS, FEATURES))
    x = rng.normal(size=(days, A_DAY, USERS, CANDIDATES, FEATURES)) / np.sqrt(FEATURES)
    sign = np.where(turns & (np.arange(days) >= days // 2), -1.0, 1.0)
    value = np.einsum("d,dautf,uf->daut", sign, x, taste)
    return DriftWorld(x, value, NOISE * rng.normal(size=value.shape[:3]), rng.random(value.shape[:3]))


def play(world: DriftWorld, half_life: float, *, adapts: bool = False) -> NDArray[np.float64]:
    """Return what a policy earned on each day."""
    names = [f"f{number}" for number in range(FEATURES)]
    columns = [{"name": name, "source": f"candidate.{name}", "encoding": "number"} for name in names]
    schema = FeatureSchema.parse("made-up", {"version": 1, "features": columns})
    policy = LinUCB("linucb", schema, {"alpha": 0.5, "prior": "standard", "half_life": half_life})
    profiles, memory = [Profile(str(user)) for user in range(USERS)], Memory(half_life)
    histories: list[list[TaughtReward]] = [[] for _ in range(USERS)]
    earned = np.zeros(len(world.x))
    for day in range(len(world.x)):
        if adapts and day:
            now = day * SECONDS_PER_DAY
            memories = list_memories(memory, now)
            best = choose_memory(memories, score_memories(histories, policy.prior, memories, now))
            if best != memory:
                memory, profiles = best, [fold(history, best) for history in histories]
        for place in range(A_DAY):
            ts = (day + place / A_DAY) * SECONDS_PER_DAY
            for user, profile in enumerate(profiles):
                at = (day, place, user)
                pick = choose(policy, profile, world.x[at], float(world.draws[at]), now=ts).pick
                earned[day] += world.value[at][pick]
                taught = TaughtReward(ts, world.x[at][pick], float(world.value[at][pick] + world.noise[at]))
                histories[user].append(taught)
                profile.apply_reward(1, KEY, ts, taught.x, taught.reward, 1.0, *memory)
    return earned


def fold(history: list[TaughtReward], memory: Memory) -> Profile:
    """Return what a user has taught, as that memory has it."""
    profile = Profile("anybody")
    for taught in history:
        profile.apply_reward(1, KEY, taught.ts, taught.x, taught.reward, 1.0, *memory)
    return profile


def main() -> None:
    """Print a table for each world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4, help="at least 2")
    parser.add_argument("--days", type=int, default=120)
    arguments = parser.parse_args()
    rows: Mapping[str, tuple[float, bool]] = {
        **{"endless" if not each else f"{each:g} days": (each, False) for each in HALF_LIVES},
        "auto": (ENDLESS.half_life, True),
    }
    for title, turns in (("tastes turn round half way", True), ("nothing changes", False)):
        print(f"\n#### {title}\n\n| memory | whole run | second half |\n|---|---|---|")
        worlds = [build_world(seed, arguments.days, turns=turns) for seed in range(arguments.seeds)]
        for name, (half_life, adapts) in rows.items():
            shares = []
            for world in worlds:
                earned = play(world, half_life, adapts=adapts)
                random, best = world.value.mean(axis=3).sum(axis=(1, 2)), world.value.max(axis=3).sum(axis=(1, 2))
                spans = (slice(None), slice(arguments.days // 2, None))
                shares.append([(earned[s] - random[s]).sum() / (best[s] - random[s]).sum() for s in spans])
            mean, error = np.mean(shares, axis=0), np.std(shares, axis=0, ddof=1) / np.sqrt(len(shares))
            print(f"| {name} | {mean[0]:.3f} ± {error[0]:.3f} | {mean[1]:.3f} ± {error[1]:.3f} |", flush=True)


if __name__ == "__main__":
    main()
