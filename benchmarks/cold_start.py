"""What can be reached in ten decisions where nobody came before: an exact Bayesian beside what serves.

    python benchmarks/cold_start.py [--seeds 24] [--worlds shipped uniform]

14 users of the persona world make ten decisions each, all of them new. θ_u = μ + δ_u, and beliefs about μ and
everybody's δ are one Gaussian that is conditioned on each reward, which no service can be more exact about. The rows
differ in what it is told beforehand, all of it true or the best in hindsight, and none of it known to a deployment:

- *told the population*: μ, Σ and σ² of the world itself, from which a stranger is met as after endless past users;
- *told the scale*: the noise, the mean reward and every column's deviation; μ is N(0, τ²), δ is N(0, ρτ²). τ, ρ and α
  are the best of a grid for the world they are played in;
- *the same, as serving logs and learns*: with a floor of 5 %, and taught once a round.

Below them is `linucb-v2` with `prior = "auto"` and a floor of 5 %, refitted once a round, and at once. The gap closed
is (policy - random)/(oracle - random) by the exact expected reward; ± one standard error over seeds.
"""

import argparse
import tomllib
from collections.abc import Callable, Iterator
from importlib.resources import files
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from persona_world import ratio

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.policies import Policy
from bandstand.bandit.ridge import RidgeState, compute_posterior
from bandstand.simulate.run.population import SimulatedPopulation
from bandstand.simulate.world.persona import PERSONA_SETS, make_personas
from bandstand.simulate.world.world import World

USERS, STEPS, CANDIDATES, FLOOR = 14, 10, 5, 0.05
LONG_DAYS = 30  # of the same users, to know a world's law by
GRID = tuple(product((0.06, 0.12, 0.2), (0.1, 0.4), (0.2, 0.4, 0.8)))
"""τ, ρ and α."""

Numbers = NDArray[np.float64]


class Decisions(NamedTuple):
    """Everything that may happen in one world, by user, step and candidate.

    Attributes:
        x: (USERS, n, CANDIDATES, d), as `linucb-v2` sees the candidates.
        value: (USERS, n, CANDIDATES), the exact expected rewards.
        reward: likewise, what the user does if it is picked.
        draw: (USERS, n), the policy's draws.
    """

    x: Numbers
    value: Numbers
    reward: Numbers
    draw: Numbers


class Told(NamedTuple):
    """What the exact Bayesian believes beforehand: μ ~ N(mean, spread), δ_u ~ N(0, own), and the noise σ²."""

    mean: Numbers
    spread: Numbers
    own: Numbers
    noise: float


def draw_decisions(name: str, seed: int, policy: Policy) -> Decisions:
    """Draw one world."""
    world = World(personas=make_personas(name, USERS, seed), seed=seed, candidates=CANDIDATES, days=LONG_DAYS)
    episodes = [world.build_episode(user) for user in range(USERS)]
    rewards = [
        [[episode.get_reaction(step, pick).reward for pick in range(CANDIDATES)] for step in range(STEPS)]
        for episode in episodes
    ]
    return Decisions(
        np.array([episode.slates.encode(policy.schema) for episode in episodes]),
        np.array([episode.expected_reward for episode in episodes]),
        np.array(rewards),
        np.array([episode.policy_draws for episode in episodes]),
    )


def tell_population(worlds: list[Decisions]) -> Told:
    """Return the law of the worlds' users, from their exact weights over long runs."""
    d = worlds[0].x.shape[-1]
    weights = np.array(
        [
            np.linalg.lstsq(x.reshape(-1, d), value.reshape(-1), rcond=None)[0]
            for world in worlds
            for x, value in zip(world.x, world.value, strict=True)
        ]
    )
    own = np.cov(weights.T) + 1e-6 * np.eye(d)
    return Told(weights.mean(axis=0), np.zeros((d, d)), own, compute_noise(worlds))


def tell_scale(worlds: list[Decisions], deviation: float, share: float) -> Told:
    """Return what knows the units of everything, and that a weight is as likely to help as to harm."""
    rows = np.concatenate([world.x.reshape(-1, world.x.shape[-1]) for world in worlds])
    scale, centre = rows.std(axis=0), rows.mean(axis=0)
    variance = (deviation / np.where(scale > 0.0, scale, 1.0)) ** 2
    # θ·x = w₀ + Σ w_j (x_j − c_j)/s_j with the mean reward as w₀, the intercept first.
    back = np.eye(len(scale))
    back[0, 1:] = -centre[1:]
    variance[0] = max(deviation**2, 0.05)
    mean = np.zeros(len(scale))
    mean[0] = np.mean([world.value.mean() for world in worlds])
    spread = back @ np.diag(variance) @ back.T
    return Told(mean, spread, share * spread, compute_noise(worlds))


def compute_noise(worlds: list[Decisions]) -> float:
    """Return the variance of rewards around what is expected of them."""
    return float(np.mean([np.mean((world.reward - world.value[:, :STEPS]) ** 2) for world in worlds]))


def play_exactly(told: Told, world: Decisions, alpha: float, floor: float = 0.0, *, at_once: bool = True) -> Numbers:
    """Let the exact Bayesian play by upper bounds; returns what each decision was worth, (USERS, STEPS)."""
    d = len(told.mean)
    mean = np.tile(told.mean, USERS)
    covariance = np.kron(np.ones((USERS, USERS)), told.spread) + np.kron(np.eye(USERS), told.own)
    earned = np.zeros((USERS, STEPS))
    for step in range(STEPS):
        taught = []
        for user in range(USERS):
            own, x = slice(user * d, (user + 1) * d), world.x[user, step]
            score = x @ mean[own] + alpha * np.sqrt(np.vecdot(x @ covariance[own, own], x))
            best = score >= score.max() - 1e-9
            chances = (1.0 - floor) * best / best.sum() + floor / CANDIDATES
            earned[user, step] = chances @ world.value[user, step]
            pick = min(int(np.searchsorted(chances.cumsum(), world.draw[user, step])), CANDIDATES - 1)
            taught.append((own, x[pick], world.reward[user, step, pick]))
            if at_once or user == USERS - 1:
                for theirs, row, reward in taught:
                    gain = covariance[:, theirs] @ row
                    total = row @ gain[theirs] + told.noise
                    mean = mean + gain * (reward - row @ mean[theirs]) / total
                    covariance = covariance - np.multiply.outer(gain, gain) / total
                taught = []
    return earned


def play_served(policy: Policy, world: Decisions, *, at_once: bool) -> Numbers:
    """Let a policy play as it serves, its prior refitted when it is due at a round's end, or after any reward."""
    population, earned = SimulatedPopulation(policy), np.zeros((USERS, STEPS))
    states = [RidgeState.empty(policy.schema.dimension)] * USERS
    for step in range(STEPS):
        for user in range(USERS):
            x = world.x[user, step]
            posterior = compute_posterior(states[user], population.get_prior(str(user)))
            pick = policy.distribution(posterior, x).draw(float(world.draw[user, step])).index
            earned[user, step] = world.value[user, step, pick]
            states[user] = states[user].with_reward(x[pick], float(world.reward[user, step, pick]))
            population.update(str(user), states[user])
            if at_once or user == USERS - 1:
                population.refresh()
    return earned


def list_rows(worlds: list[Decisions], policy: Policy) -> Iterator[tuple[str, Callable[[Decisions], Numbers]]]:
    """Yield everybody who plays, by title."""
    population = tell_population(worlds)
    yield "told the population", lambda world: play_exactly(population, world, 0.0)
    played = {
        point: np.mean([play_exactly(tell_scale(worlds, *point[:2]), world, point[2]).mean() for world in worlds])
        for point in GRID
    }
    deviation, share, alpha = max(played, key=lambda point: played[point])
    scale = tell_scale(worlds, deviation, share)
    yield f"told the scale: τ {deviation}, ρ {share}, α {alpha}", lambda world: play_exactly(scale, world, alpha)
    yield (
        "the same, as serving logs and learns",
        lambda world: play_exactly(scale, world, alpha, FLOOR, at_once=False),
    )
    yield '`linucb-v2`, `prior = "auto"`', lambda world: play_served(policy, world, at_once=False)
    yield "the same, refitted at once", lambda world: play_served(policy, world, at_once=True)


def main() -> None:
    """Print a table for each world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=24, help="at least 2")
    parser.add_argument("--worlds", nargs="+", choices=PERSONA_SETS, default=["shipped", "uniform"])
    arguments = parser.parse_args()
    shipped = tomllib.loads(files("bandstand").joinpath("defaults.toml").read_text(encoding="utf-8"))
    definition = shipped["policies"]["linucb-v2"] | {"floor": FLOOR, "prior": "auto"}
    policy = Catalogue.parse(shipped, {"policies": {"mine": definition}}).get_policy("mine")
    for name in arguments.worlds:
        worlds = [draw_decisions(name, seed, policy) for seed in range(arguments.seeds)]
        random, oracle = (
            np.array([combine(world.value[:, :STEPS]).mean() for world in worlds])
            for combine in (lambda value: value.mean(axis=-1), lambda value: value.max(axis=-1))
        )
        print(f"\n| {name}: a user's first ten decisions, no past users | gap closed |\n|---|---|")
        for title, player in list_rows(worlds, policy):
            earned = np.array([player(world).mean() for world in worlds])
            value, stderr = ratio(earned - random, oracle - random)
            print(f"| {title} | {value:.1%} ± {stderr:.1%} |", flush=True)


if __name__ == "__main__":
    main()
