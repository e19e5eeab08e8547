"""What the shipped policies earn with what other users taught, and what that costs.

    python benchmarks/learning.py [personas] [few] [cost] [--seeds 24] [--prior auto] [--worlds shipped uniform]
        [--floor 0.05] [--policies linucb-v2] [--unit 0.01] [--past 0 50]

`personas`: 14 users make 120 decisions among 5 candidates each, after no past users of the same policy or 50, in worlds
of personas; every policy of ours logs with the same floor. All policies meet the same tasks, draws and reactions. Users
take turns; the population prior is learned anew when serving would: as rewards grow, under `--prior population` after
every 200. The gap closed is (policy - random)/(oracle - random) by the exact expected reward, over all decisions, a
user's first ten, and their 41st to 60th; standard errors are over seeds.

`few`: what the prior does among very few users, some of them unlike the others. `cost`: what it costs.
"""

import argparse
import statistics
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from persona_world import ratio

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.choice import choose
from bandstand.bandit.policies import Policy
from bandstand.bandit.population import PopulationPrior, refresh_steps
from bandstand.bandit.prior import MAX_ITERATIONS
from bandstand.bandit.profile import Profile
from bandstand.bandit.ridge import Prior, RidgeState
from bandstand.simulate.run.population import SimulatedPopulation
from bandstand.simulate.world.persona import PERSONA_SETS, Persona, expand_personas, make_personas
from bandstand.simulate.world.world import Episode, World

Policies = Mapping[str, Policy]
Rewards = NDArray[np.float64]  # (seeds, n): the mean over users of every decision's expected reward

USERS, PAST, FLOOR = 14, 50, 0.05
PASTS = {0: "no past users", PAST: f"{PAST} past users"}
SHIPPED_WIDTH = 8  # features of the widest schema that ships
WINDOWS = {"all": slice(None), "1-10": slice(0, 10), "41-60": slice(40, 60)}
LEARNERS = ("linucb-v2", "thompson-v1", "squarecb-v1")
CONTRACT = ("linucb-v1", "egreedy-v1")
CONTROLS = ("first-v1", "uniform-v1")
OURS = ("opposite", "one in seven")
"""Two worlds made against a shared prior: two groups of users who want the opposite, or a small one among others."""

WORLDS = (*PERSONA_SETS, *OURS)


class Contestant(NamedTuple):
    """A policy, and how many users it met before.

    Attributes:
        policy: who plays.
        past: users who used it before; of no use to a policy without a population prior.
    """

    policy: Policy
    past: int = 0


def catalogue(prior: str = "auto", floor: float = FLOOR) -> Catalogue:
    """Read what ships, with a floor, and again without the population prior (`NAME, alone`) or with one."""
    shipped = tomllib.loads(files("bandstand").joinpath("defaults.toml").read_text(encoding="utf-8"))
    policies: dict[str, dict[str, object]] = {}
    for name in LEARNERS:
        definition = shipped["policies"][name] | {"floor": floor}
        policies |= {name: definition, f"{name}.alone": definition | {"prior": "standard"}}
        policies[f"{name}.shared"] = definition | {"prior": prior}
    return Catalogue.parse(shipped, {"policies": policies})


def personas(world: str, count: int, seed: int) -> tuple[Persona, ...]:
    """Give the people of a world, the past ones first."""
    if world in PERSONA_SETS:
        return make_personas(world, count, seed)
    likes = Persona(name="likes", prefers_high_priority=1.0, prefers_overdue=1.0)
    dislikes = Persona(name="dislikes", prefers_high_priority=-1.0, prefers_overdue=0.0)
    return expand_personas((likes, dislikes) if world == "opposite" else (*(likes,) * 6, dislikes), count)


def worlds(name: str, count: int, seeds: int, candidates: int = 5) -> Iterator[World]:
    """Make a world for every seed."""
    for seed in range(seeds):
        yield World(personas=personas(name, count, seed), seed=seed, candidates=candidates)


def play(policy: Policy, cohorts: Sequence[Sequence[Episode]], unit: float = 1.0) -> NDArray[np.float64]:
    """Let cohorts of users meet a policy one after the other; returns what the last one earned, (users, n).

    It is taught their rewards times ``unit``, as callers send them who count in something else.
    """
    population = SimulatedPopulation(policy) if policy.learns_prior else None
    earned = np.zeros((0, 0))
    key = (policy.name, policy.schema.name)
    for cohort, episodes in enumerate(cohorts):
        profiles = [Profile(f"{cohort}-{user}") for user in range(len(episodes))]
        encoded = [episode.slates.encode(policy.schema) for episode in episodes]
        earned = np.zeros((len(episodes), len(episodes[0].policy_draws)))
        for step in range(earned.shape[1]):
            for user, (episode, profile) in enumerate(zip(episodes, profiles, strict=True)):
                x = encoded[user][step]
                prior = None if population is None else population.get_prior(profile.user_id)
                pick = choose(policy, profile, x, float(episode.policy_draws[step]), prior=prior).pick
                earned[user, step] = episode.expected_reward[step, pick]
                profile.apply_reward(step + 1, key, 0.0, x[pick], unit * episode.get_reaction(step, pick).reward, 1.0)
                if population is not None:
                    population.update(profile.user_id, profile.policies[key].ridge)
            if population is not None:
                population.refresh()
    return earned


def rewards(contestants: dict[str, Contestant], drawn: Iterator[World], unit: float = 1.0) -> dict[str, Rewards]:
    """Let everyone play in every world, beside a random pick and the best one."""
    rows: dict[str, list[NDArray[np.float64]]] = {name: [] for name in ("random", "oracle", *contestants)}
    for world in drawn:
        episodes = [world.build_episode(user) for user in range(len(world.personas))]
        new = episodes[-USERS:] if len(episodes) > USERS else episodes
        past = episodes[: len(episodes) - len(new)]
        rows["random"].append(np.mean([episode.random_reward for episode in new], axis=0))
        rows["oracle"].append(np.mean([episode.oracle_reward for episode in new], axis=0))
        for name, (policy, met) in contestants.items():
            cohorts = [past, new] if met and policy.learns_prior else [new]
            rows[name].append(play(policy, cohorts, unit).mean(axis=0))
    return {name: np.array(row) for name, row in rows.items()}


def gap(played: dict[str, Rewards], name: str, window: slice, above: str = "random") -> tuple[float, float]:
    """Return the share of the gap that a policy closes above another, and its standard error over seeds."""
    policy, low, random, oracle = (played[who][:, window].mean(axis=1) for who in (name, above, "random", "oracle"))
    return ratio(policy - low, oracle - random)


def persona_tables(
    policies: Policies, learners: Sequence[str], seeds: int, names: Sequence[str], unit: float, pasts: Sequence[int]
) -> None:
    """Print a table for each world: every policy, and what the prior adds."""
    contestants: dict[str, Contestant] = {}
    for name in learners:
        contestants[f"`{name}`, no prior"] = Contestant(policies[f"{name}.alone"])
        for past in pasts:
            contestants[f"`{name}`, prior, {PASTS[past]}"] = Contestant(policies[f"{name}.shared"], past)
    contestants |= {f"`{name}`": Contestant(policies[name]) for name in (*CONTRACT, *CONTROLS)}
    for world in names:
        played = rewards(contestants, worlds(world, PAST + USERS, seeds), unit)
        print(f"\n#### {world}\n\n| policy | mean reward | gap closed, {' | '.join(WINDOWS)} |")
        print(f"|---|---|{'---|' * len(WINDOWS)}")
        for name, row in played.items():
            cells = [name, f"{row.mean():.4f}"]
            if name not in {"random", "oracle"}:
                cells += [percent(gap(played, name, window)) for window in WINDOWS.values()]
            else:
                cells += ["0" if name == "random" else "100 %"] * len(WINDOWS)
            print(f"| {' | '.join(cells)} |")
        print(f"\n| the prior adds | {' | '.join(WINDOWS)} |\n|---|{'---|' * len(WINDOWS)}")
        for name in learners:
            for who in (PASTS[past] for past in pasts):
                alone, shared = f"`{name}`, no prior", f"`{name}`, prior, {who}"
                added = [percent(gap(played, shared, window, alone), sign="+") for window in WINDOWS.values()]
                print(f"| `{name}`, {who} | {' | '.join(added)} |", flush=True)


def few_table(policies: Policies, seeds: int, names: Sequence[str]) -> None:
    """Print what the prior adds where hardly anybody is there to learn from."""
    counts = (1, 2, 4, 6, 9)
    print(f"\n| `linucb-v2`, what the prior adds over all decisions | {' | '.join(f'{n} users' for n in counts)} |")
    print(f"|---|{'---|' * len(counts)}")
    pair = {name: Contestant(policies[f"linucb-v2.{name}"]) for name in ("alone", "shared")}
    for world in names:
        cells = []
        for count in counts:
            played = rewards(pair, worlds(world, count, seeds))
            cells.append(percent(gap(played, "shared", slice(None), "alone"), sign="+"))
        print(f"| {world} | {' | '.join(cells)} |", flush=True)


def percent(estimate: tuple[float, float], sign: str = "") -> str:
    """Write an estimate and its standard error."""
    value, stderr = estimate
    return f"{value * 100:{sign}.1f} ± {stderr * 100:.1f} %"


def microseconds(work: Callable[[], object], number: int, rounds: int = 9) -> float:
    """Return the median time of one call."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(number):
            work()
        times.append((time.perf_counter() - began) / number * 1e6)
    return statistics.median(times)


def cost_tables() -> None:
    """Print what scoring costs with and without a learned prior, and what learning it costs."""
    policy = catalogue().policies["linucb-v2"]
    episode = next(worlds("uniform", 1, 1, candidates=10)).build_episode(0)
    candidates = [candidate["features"] for candidate in episode.slates.get_candidates(0)]
    context = episode.slates.get_context(0)
    rng = np.random.default_rng(0)
    d = policy.schema.dimension
    root = rng.normal(size=(d, d)) / 10.0
    learned = Prior(rng.normal(size=d) / 3.0, root @ root.T + 0.01 * np.eye(d), 0.4)
    key = (policy.name, policy.schema.name)
    x = policy.schema.encode(context, candidates)
    print("\n| encode 10 candidates, decide, draw (µs) | without | with the prior | ratio |\n|---|---|---|---|")
    for title, rewarded in (("the belief is cached", False), ("after a reward", True)):
        times = []
        for prior in (policy.prior, learned):
            profile = Profile("ada")
            profile.apply_reward(1, key, 0.0, x[0], 0.5, 1.0)

            def score(prior: Prior = prior, profile: Profile = profile, *, rewarded: bool = rewarded) -> None:
                if rewarded:
                    profile.apply_reward(2, key, 0.0, x[1], 0.1, 1.0)
                choose(policy, profile, policy.schema.encode(context, candidates), 0.5, prior=prior)

            times.append(microseconds(score, 2000))
        print(f"| {title} | {times[0]:.1f} | {times[1]:.1f} | {times[1] / times[0]:.2f} |")

    print("\n| learn the prior (ms) | users | rewards each | cold | refresh |\n|---|---|---|---|---|")
    for users, each, d in ((14, 14, 8), (50, 120, 8), (2000, 5, 8), (2000, 120, 8), (2000, 60, 32), (128, 500, 256)):
        members = made_up(users, each, d)
        base = Prior.build_standard(d)
        began = time.perf_counter()
        # Wide models take long to the end; serving learns their first prior from few users.
        steps = MAX_ITERATIONS if d <= SHIPPED_WIDTH else refresh_steps(users, d)
        first = PopulationPrior.fit(members, base, steps=steps)
        cold = time.perf_counter() - began
        members |= made_up(min(users, 200), each + 1, d, seed=1)
        began = time.perf_counter()
        PopulationPrior.fit(members, base, first, steps=refresh_steps(users, d))
        warm = time.perf_counter() - began
        print(f"| d = {d} | {users} | {each} | {cold * 1e3:.0f} | {warm * 1e3:.0f} |", flush=True)


def made_up(users: int, each: int, d: int, seed: int = 0) -> dict[str, RidgeState]:
    """Make up users' sums."""
    rng = np.random.default_rng(seed)
    members = {}
    for user in range(users):
        theta = 0.3 * rng.normal(size=d)
        rows = rng.normal(size=(each, d))
        values = rows @ theta + 0.6 * rng.normal(size=each)
        members[str(user)] = RidgeState.from_sums(
            rows.T @ rows, rows.T @ values, float(values @ values), float(each), each
        )
    return members


def main() -> None:
    """Print the tables that are asked for, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", help="of personas, few, cost; all if none is named")
    parser.add_argument("--seeds", type=int, default=24, help="at least 2")
    parser.add_argument("--prior", choices=["population", "auto"], default="auto", help="what is learned")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--floor", type=float, default=FLOOR, help="share of uniform picks of our policies")
    parser.add_argument("--policies", nargs="+", choices=LEARNERS, default=list(LEARNERS), help="those of `personas`")
    parser.add_argument("--unit", type=float, default=1.0, help="what `personas` multiplies rewards with")
    parser.add_argument("--past", nargs="+", type=int, choices=PASTS, default=list(PASTS), help="users of `personas`")
    arguments = parser.parse_args()
    policies = catalogue(arguments.prior, arguments.floor).policies
    told = arguments.seeds, arguments.worlds
    tables: dict[str, Callable[[], None]] = {
        "personas": lambda: persona_tables(policies, arguments.policies, *told, arguments.unit, arguments.past),
        "few": lambda: few_table(policies, *told),
        "cost": cost_tables,
    }
    for name in arguments.tables or tables:
        tables[name]()


if __name__ == "__main__":
    main()
