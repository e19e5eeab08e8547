"""What can be reached with past users, and what a floor leaves of it: a Bayesian who is told everything of the world.

    python benchmarks/ceiling.py [--seeds 24] [--worlds shipped uniform] [--floors 0 0.02 0.05]

14 users of the persona world make 60 decisions each, as new users do in `benchmarks/learning.py personas`. Two know
more than any service can:

- *each one's own weights*: the linear form of `linucb-v2`'s features that is nearest to this very user's expected
  rewards, the best candidate by it in every decision;
- *the law*: the mean and covariance of all users' weights and the variance of a reward, from the exact expected
  rewards of all seeds. A user's posterior is exact, and counts each of their rewards at once. α is 0.5, as shipped;
  with 0 and 0.2 it earns the same to half a point.

With a floor δ both pick uniformly in a share δ of decisions, so that of a gap g there is (1 - δ) g left. A policy that
learned everything there is to learn about *others* is the law's; what is missing to the first row only the user's own
rewards can tell. The gap closed is (policy - random)/(oracle - random) by the exact expected reward; ± one standard
error over seeds.
"""

import argparse
import tomllib
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from learning import PAST, USERS, WORLDS, gap, percent, worlds
from numpy.typing import NDArray

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.policies import Policy
from bandstand.bandit.ridge import Prior, RidgeState, compute_posterior
from bandstand.simulate.world.world import Episode

DECISIONS = 60
WINDOWS = {"1-10": slice(0, 10), "41-60": slice(40, 60)}

Numbers = NDArray[np.float64]
Player = Callable[["NewUser"], Numbers]


class NewUser(NamedTuple):
    """One user, whom nobody has met.

    Attributes:
        episode: what happens to them.
        x: (n, K, d), as `linucb-v2` sees the candidates.
        weights: (d,), of the nearest linear form to their expected rewards.
    """

    episode: Episode
    x: Numbers
    weights: Numbers


def build_policy(floor: float) -> Policy:
    """Return `linucb-v2` with this floor."""
    shipped = tomllib.loads(files("bandstand").joinpath("defaults.toml").read_text(encoding="utf-8"))
    definition = shipped["policies"]["linucb-v2"] | {"floor": floor}
    return Catalogue.parse(shipped, {"policies": {"mine": definition}}).get_policy("mine")


def draw_users(world: str, seeds: int, policy: Policy) -> tuple[list[list[NewUser]], Prior]:
    """Draw the new users of every seed, and the law of all users, the past ones too."""
    new, weights, errors = [], [], []
    for drawn in worlds(world, PAST + USERS, seeds):
        users = []
        for number in range(PAST + USERS):
            episode = drawn.build_episode(number)
            x = episode.slates.encode(policy.schema)
            rows, values = x.reshape(-1, x.shape[-1]), episode.expected_reward.reshape(-1)
            users.append(NewUser(episode, x, np.asarray(np.linalg.lstsq(rows, values, rcond=None)[0], np.float64)))
            errors += [episode.get_reaction(n, 0).reward - episode.expected_reward[n, 0] for n in range(DECISIONS)]
        weights += [user.weights for user in users]
        new.append(users[PAST:])
    d = len(weights[0])
    covariance = np.cov(np.array(weights).T) + 1e-6 * np.eye(d)
    return new, Prior(np.mean(weights, axis=0), covariance, float(np.mean(np.square(errors))))


def play_with_weights(user: NewUser, floor: float) -> Numbers:
    """Return what the best candidate by the user's own weights is worth, (DECISIONS,)."""
    picks = (user.x[:DECISIONS] @ user.weights).argmax(axis=1)
    best = user.episode.expected_reward[np.arange(DECISIONS), picks]
    return np.asarray((1.0 - floor) * best + floor * user.episode.random_reward[:DECISIONS])


def play_with_law(user: NewUser, law: Prior, policy: Policy) -> Numbers:
    """Return what a policy earns that starts from the law, (DECISIONS,)."""
    state, earned = RidgeState.empty(len(law.mean)), np.zeros(DECISIONS)
    for step in range(DECISIONS):
        x, values = user.x[step], user.episode.expected_reward[step]
        pick = policy.distribution(compute_posterior(state, law), x).draw(float(user.episode.policy_draws[step])).index
        earned[step] = values[pick]
        state = state.with_reward(x[pick], user.episode.get_reaction(step, pick).reward)
    return earned


def play_everybody(users: list[list[NewUser]], player: Player) -> Numbers:
    """Return the mean over users of every decision, (seeds, DECISIONS)."""
    return np.array([np.mean([player(user) for user in each], axis=0) for each in users])


def print_table(world: str, seeds: int, floors: list[float]) -> None:
    """Print what can be reached in one world."""
    users, law = draw_users(world, seeds, build_policy(0.0))
    bounds = {
        "random": play_everybody(users, lambda user: user.episode.random_reward[:DECISIONS]),
        "oracle": play_everybody(users, lambda user: user.episode.oracle_reward[:DECISIONS]),
    }
    print(f"\n| {world}, told | floor | {' | '.join(WINDOWS)} |\n|---|---|{'---|' * len(WINDOWS)}")
    for floor in floors:
        policy = build_policy(floor)
        players: dict[str, Player] = {
            "each one's own weights": partial(play_with_weights, floor=floor),
            "the law": partial(play_with_law, law=law, policy=policy),
        }
        for title, player in players.items():
            played = {**bounds, title: play_everybody(users, player)}
            cells = [percent(gap(played, title, window)) for window in WINDOWS.values()]
            print(f"| {title} | {floor:.0%} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print a table for each world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=24, help="at least 2")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=["shipped", "uniform"])
    parser.add_argument("--floors", nargs="+", type=float, default=[0.0, 0.02, 0.05])
    arguments = parser.parse_args()
    for world in arguments.worlds:
        print_table(world, arguments.seeds, arguments.floors)


if __name__ == "__main__":
    main()
