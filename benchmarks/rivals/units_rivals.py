"""Vowpal Wabbit and MABWiser on what benchmarks/units.py plays; run by it in their environment.

    python units_rivals.py data FILE.npz SET...          write sets
    python units_rivals.py play SET SEEDS ROWS SCALINGS  print every rival's mean rewards by shuffle and scaling

The rivals are as they come, in the shuffles that ours meets. MABWiser has a constant beside the features and meets the
first row with a random arm, as it must; VW crosses features with arms and is told the negative reward as its cost.
"""

import argparse
import json
from collections.abc import Callable

import numpy as np
from mabwiser.mab import MAB, LearningPolicy  # type: ignore[import-not-found,unused-ignore]  # in the rivals' alone
from numpy.typing import NDArray
from sklearn import datasets  # type: ignore[import-not-found,unused-ignore]  # the same
from vowpalwabbit import Workspace  # type: ignore[import-not-found,unused-ignore]  # the same

Features = NDArray[np.float64]
Labels = NDArray[np.int64]
Player = Callable[[Features, Labels, float, float, int], float]


def load_set(name: str) -> tuple[Features, Labels]:
    """Load or generate a set, as it is."""
    if name == "generated":
        x, y = datasets.make_classification(
            1000, 12, n_informative=6, n_redundant=2, n_classes=5, n_clusters_per_class=1, random_state=7
        )
    elif name == "diabetes":
        loaded = datasets.load_diabetes(scaled=False)
        x, y = loaded.data, np.searchsorted(np.quantile(loaded.target, [1 / 3, 2 / 3]), loaded.target)
    else:
        loaded = getattr(datasets, f"load_{name}")()
        x, y = loaded.data, loaded.target
    return np.asarray(x, np.float64), np.asarray(y, np.int64)


def scale_features(x: Features, how: str) -> Features:
    """Return the features as one kind of caller sends them; as benchmarks/units.py has it."""
    if how == "unit":
        span = np.ptp(x, axis=0)
        return np.asarray((x - x.min(axis=0)) / np.where(span > 0.0, span, 1.0))
    if how == "std":
        deviation = x.std(axis=0)
        return np.asarray((x - x.mean(axis=0)) / np.where(deviation > 0.0, deviation, 1.0))
    return x


def build_vw_player(arguments: str) -> Player:
    """Return a player of one Vowpal Wabbit policy."""

    def play(x: Features, labels: Labels, low: float, high: float, seed: int) -> float:
        model = Workspace(f"{arguments} --quiet --random_seed {seed}")
        rng, arms, right = np.random.default_rng(seed), int(labels.max()) + 1, 0
        for row, label in zip(x, labels.tolist(), strict=True):
            shared = "shared |c " + " ".join(f"f{place}:{value:.6g}" for place, value in enumerate(row) if value)
            example = [shared, *(f"|a a{arm}" for arm in range(arms))]
            probability = np.array(model.predict(example))
            arm = int(rng.choice(arms, p=probability / probability.sum()))
            right += arm == label
            example[1 + arm] = f"0:{-(high if arm == label else low)}:{probability[arm]} {example[1 + arm]}"
            model.learn(example)
        model.finish()
        return right / len(labels)

    return play


def build_mabwiser_player(policy: object) -> Player:
    """Return a player of one MABWiser policy."""

    def play(x: Features, labels: Labels, low: float, high: float, seed: int) -> float:
        rows = np.column_stack([np.ones(len(x)), x])
        arms, right = int(labels.max()) + 1, 0
        model = MAB(list(range(arms)), policy, seed=seed)
        arm = int(np.random.default_rng(seed).integers(arms))
        for number, (row, label) in enumerate(zip(rows[:, None], labels.tolist(), strict=True)):
            if number:
                arm = int(model.predict(row))
            right += arm == label
            (model.partial_fit if number else model.fit)([arm], [high if arm == label else low], row)
        return right / len(labels)

    return play


PLAYERS = {
    "MABWiser LinUCB": build_mabwiser_player(LearningPolicy.LinUCB()),
    "VW SquareCB": build_vw_player("--cb_explore_adf --squarecb -q ca"),
}


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    data = commands.add_parser("data")
    data.add_argument("file")
    data.add_argument("sets", nargs="+")
    play = commands.add_parser("play")
    play.add_argument("set")
    play.add_argument("seeds", type=json.loads)
    play.add_argument("rows", type=int)
    play.add_argument("scalings", type=json.loads)
    arguments = parser.parse_args()
    if arguments.command == "data":
        pairs = {name: load_set(name) for name in arguments.sets}
        arrays = {
            f"{name}.{part}": value for name, pair in pairs.items() for part, value in zip("xy", pair, strict=True)
        }
        np.savez(arguments.file, allow_pickle=False, **arrays)
        return
    x, labels = load_set(arguments.set)
    orders = {seed: np.random.default_rng(seed).permutation(len(x))[: arguments.rows] for seed in arguments.seeds}
    played = {
        title: [
            [
                player(scale_features(x, how)[o], labels[o], low, high, seed)
                for how, low, high in arguments.scalings.values()
            ]
            for seed, o in orders.items()
        ]
        for title, player in PLAYERS.items()
    }
    print(json.dumps(played))


if __name__ == "__main__":
    main()
