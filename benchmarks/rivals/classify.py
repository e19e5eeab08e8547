"""Vowpal Wabbit and MABWiser on classification as a bandit; run by benchmarks/classification.py in their environment.

    python classify.py data FILE.npz            write scikit-learn's bundled sets
    python classify.py play SET SHUFFLES        print the mean reward of every rival over each shuffle, as JSON

Everybody sees the same numbers: features scaled to [0, 1] by their range, and a constant, in the same shuffles. The
rivals are as they come, but for what makes them better here: VW crosses features with arms (`-q ca`) and is given the
better of two ways to write a reward as a cost; MABWiser meets the first example with a random arm, as it must.
"""

import argparse
import json
from collections.abc import Callable

import numpy as np
from mabwiser.mab import MAB, LearningPolicy  # type: ignore[import-not-found,unused-ignore]  # in the rivals' alone
from numpy.typing import NDArray
from sklearn import datasets  # type: ignore[import-not-found,unused-ignore]  # the same
from vowpalwabbit import Workspace  # type: ignore[import-not-found,unused-ignore]  # the same

SETS = ("digits", "wine", "iris", "breast_cancer")

Features = NDArray[np.float64]
Labels = NDArray[np.int64]
Player = Callable[[Features, Labels, int], float]

VW = {
    "VW default (ε-greedy)": "--cb_explore_adf -q ca",
    "VW SquareCB": "--cb_explore_adf --squarecb -q ca",
    "VW RegCB": "--cb_explore_adf --regcb -q ca",
    "VW RegCB, optimistic": "--cb_explore_adf --regcbopt -q ca",
}
COSTS = {"0 for right, 1 for wrong": (0.0, 1.0, ""), "−1, 0": (-1.0, 0.0, " --cb_min_cost -1 --cb_max_cost 0")}
MABWISER = {
    "MABWiser LinUCB": LearningPolicy.LinUCB(),
    "MABWiser LinTS": LearningPolicy.LinTS(),
    "MABWiser LinGreedy": LearningPolicy.LinGreedy(),
}


def scaled(name: str) -> tuple[Features, Labels]:
    """Load a set with its features scaled to [0, 1]."""
    loaded = getattr(datasets, f"load_{name}")()
    features = np.asarray(loaded.data, np.float64)
    span = np.ptp(features, axis=0)
    return (features - features.min(axis=0)) / np.where(span > 0, span, 1.0), np.asarray(loaded.target, np.int64)


def vw(arguments: str, costs: tuple[float, float, str]) -> Player:
    """Make a player of one Vowpal Wabbit policy."""
    right, wrong, bounds = costs

    def play(x: Features, labels: Labels, seed: int) -> float:
        bounded = bounds if "regcb" in arguments else ""
        model = Workspace(f"{arguments}{bounded} --quiet --random_seed {seed}")
        rng, arms, earned = np.random.default_rng(seed), int(labels.max()) + 1, 0
        for row, label in zip(x, labels.tolist(), strict=True):
            shared = "shared |c " + " ".join(f"f{place}:{value:.6g}" for place, value in enumerate(row) if value)
            example = [shared, *(f"|a a{arm}" for arm in range(arms))]
            probability = np.array(model.predict(example))
            arm = int(rng.choice(arms, p=probability / probability.sum()))
            earned += arm == label
            cost = right if arm == label else wrong
            example[1 + arm] = f"0:{cost}:{probability[arm]} {example[1 + arm]}"
            model.learn(example)
        model.finish()
        return earned / len(labels)

    return play


def mabwiser(policy: object) -> Player:
    """Make a player of one MABWiser policy."""

    def play(x: Features, labels: Labels, seed: int) -> float:
        rows = np.column_stack([np.ones(len(x)), x])
        arms, earned = int(labels.max()) + 1, 0
        model = MAB(list(range(arms)), policy, seed=seed)
        arm = int(np.random.default_rng(seed).integers(arms))
        for number, (row, label) in enumerate(zip(rows[:, None], labels.tolist(), strict=True)):
            if number:
                arm = int(model.predict(row))
            earned += arm == label
            (model.partial_fit if number else model.fit)([arm], [float(arm == label)], row)
        return earned / len(labels)

    return play


def played(name: str, shuffles: int) -> dict[str, list[float]]:
    """Let everybody meet every shuffle of a set."""
    x, labels = scaled(name)
    orders = [np.random.default_rng(seed).permutation(len(labels)) for seed in range(shuffles)]

    def over(player: Player) -> list[float]:
        return [player(x[order], labels[order], seed) for seed, order in enumerate(orders)]

    rewards = {}
    for title, arguments in VW.items():
        both = {spelling: over(vw(arguments, costs)) for spelling, costs in COSTS.items()}
        better = max(both, key=lambda spelling: float(np.mean(both[spelling])))
        rewards[f"{title}; costs {better}"] = both[better]
    return rewards | {title: over(mabwiser(policy)) for title, policy in MABWISER.items()}


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("data").add_argument("file")
    play = commands.add_parser("play")
    play.add_argument("set", choices=SETS)
    play.add_argument("shuffles", type=int)
    arguments = parser.parse_args()
    if arguments.command == "data":
        loaded = {name: scaled(name) for name in SETS}
        arrays = {
            f"{name}.{part}": value for name, pair in loaded.items() for part, value in zip("xy", pair, strict=True)
        }
        np.savez(arguments.file, allow_pickle=False, **arrays)
    else:
        print(json.dumps(played(arguments.set, arguments.shuffles)))


if __name__ == "__main__":
    main()
