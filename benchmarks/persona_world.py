"""What policies earn in the persona world, by the exact expected reward of every pick, beside random and an oracle.

    python benchmarks/persona_world.py [--seeds 24] [--users 14] [--days 30] [--candidates 5]

Every user has a model of their own and starts from nothing; all policies meet the same tasks, draws and reactions. The
gap closed is (policy - random)/(oracle - random), over all decisions, a user's first ten, and their 41st to 60th.
Beside the shipped policies stand the alternatives that were weighed. A standard error is over seeds, of a ratio by
linearisation. The variant "Mondays" holds the day of the week at 0.
"""

import argparse
import tomllib
from collections.abc import Callable
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.policies import Policy
from bandstand.bandit.ridge import RidgeState, compute_posterior
from bandstand.simulate.world.persona import PERSONA_SETS, make_personas
from bandstand.simulate.world.world import Episode, World

Rewards = NDArray[np.float64]  # (n,): the expected reward of each of one user's decisions
Player = Callable[[Episode], Rewards]

_WINDOWS = {"all": slice(None), "1-10": slice(0, 10), "41-60": slice(40, 60)}
_CONTRACT = ("linucb-v1", "egreedy-v1", "linucb-v2")
_ALTERNATIVES = {
    "linucb-v1-intercept": {"kind": "linucb", "schema": "tips-5-intercept", "alpha": 1.0},
    "linucb-v2-uncentred": {"kind": "linucb", "schema": "tips-7-intercept", "alpha": 0.5, "floor": 0.02},
    "linucb-v2-alpha-1": {"kind": "linucb", "schema": "tips-v2", "alpha": 1.0, "floor": 0.02},
    "linucb-v2-no-floor": {"kind": "linucb", "schema": "tips-v2", "alpha": 0.5, "floor": 0.0},
    "linucb-v2-no-weekday": {"kind": "linucb", "schema": "tips-v2-no-weekday", "alpha": 0.5, "floor": 0.02},
    "egreedy-v2": {"kind": "egreedy", "schema": "tips-v2", "epsilon": 0.1},
}


def catalogue() -> Catalogue:
    """Read what ships, and the alternatives: the contract's features with an intercept, and v2 with one change."""
    shipped = tomllib.loads(files("bandstand").joinpath("defaults.toml").read_text(encoding="utf-8"))
    tips_5, tips_7, tips_v2 = (shipped["schemas"][name] for name in ("tips-5", "tips-7", "tips-v2"))
    schemas = {
        "tips-5-intercept": {**tips_5, "intercept": True},
        "tips-7-intercept": {**tips_7, "intercept": True},
        "tips-v2-no-weekday": {**tips_v2, "features": [f for f in tips_v2["features"] if f["name"] != "dow"]},
    }
    return Catalogue.parse(shipped, {"schemas": schemas, "policies": _ALTERNATIVES})


def play(policy: Policy, episode: Episode) -> Rewards:
    """Let one user meet a policy that knows nothing of them yet."""
    slates = episode.slates
    earned = np.zeros(len(episode.policy_draws))
    state = RidgeState.empty(policy.schema.dimension)
    for step, draw in enumerate(episode.policy_draws.tolist()):
        features = [candidate["features"] for candidate in slates.get_candidates(step)]
        x = policy.schema.encode(slates.get_context(step), features)
        pick = policy.distribution(compute_posterior(state, policy.prior), x).draw(draw).index
        earned[step] = episode.expected_reward[step, pick]
        state = state.with_reward(x[pick], episode.get_reaction(step, pick).reward)
    return earned


def players(policies: dict[str, Policy], names: tuple[str, ...]) -> dict[str, Player]:
    """Name everyone who takes part, the two that bound the gap first."""

    def learner(policy: Policy) -> Player:
        return lambda episode: play(policy, episode)

    bounds: dict[str, Player] = {"random": lambda e: e.random_reward, "oracle": lambda e: e.oracle_reward}
    return bounds | {name: learner(policies[name]) for name in names}


def rewards_by_seed(player: Player, worlds: list[World]) -> NDArray[np.float64]:
    """Return the mean over users of every decision's expected reward, (seeds, n)."""
    return np.array(
        [
            np.mean([player(world.build_episode(user)) for user in range(len(world.personas))], axis=0)
            for world in worlds
        ]
    )


def ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ratio of two means over seeds, and its standard error."""
    value = numerator.mean() / denominator.mean()
    residual = (numerator - value * denominator) / denominator.mean()
    return float(value), float(residual.std(ddof=1) / np.sqrt(len(residual)))


def print_table(title: str, contestants: dict[str, Player], worlds: list[World]) -> None:
    """Play everyone in the same worlds and print a row for each as it comes in."""
    print(f"\n{title}\n\n| policy | mean reward ± s.e. | gap closed, {' | '.join(_WINDOWS)} |")
    print(f"|---|---|{'---|' * len(_WINDOWS)}", flush=True)
    played: dict[str, NDArray[np.float64]] = {}
    for name, player in contestants.items():
        rewards = played[name] = rewards_by_seed(player, worlds)
        mean, stderr = ratio(rewards.mean(axis=1), np.ones(len(worlds)))
        cells = [name, f"{mean:.4f} ± {stderr:.4f}"]
        for window in _WINDOWS.values():
            if name in {"random", "oracle"}:
                cells.append("")
                continue
            policy, random, oracle = (played[who][:, window].mean(axis=1) for who in (name, "random", "oracle"))
            gap, gap_stderr = ratio(policy - random, oracle - random)
            cells.append(f"{gap:.1%} ± {gap_stderr:.1%}")
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print one table for each persona set, and for the shipped one with every day a Monday."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=24, help="at least 2")
    parser.add_argument("--users", type=int, default=14)
    parser.add_argument("--days", type=int, default=30, help="of four decisions each; at least 11")
    parser.add_argument("--candidates", type=int, default=5)
    arguments = parser.parse_args()
    policies = catalogue().policies
    everyone = players(policies, (*_CONTRACT, *_ALTERNATIVES))

    def worlds(personas: str, day_of_week: int | None = None) -> list[World]:
        return [
            World(
                personas=make_personas(personas, arguments.users, seed),
                seed=seed,
                days=arguments.days,
                candidates=arguments.candidates,
                day_of_week=day_of_week,
            )
            for seed in range(arguments.seeds)
        ]

    for personas in PERSONA_SETS:
        print_table(f"{personas} personas", everyone, worlds(personas))
    for personas in PERSONA_SETS:
        print_table(f"{personas} personas, Mondays", players(policies, _CONTRACT), worlds(personas, day_of_week=0))


if __name__ == "__main__":
    main()
