"""What other units cost: classification as a bandit with features and rewards as strangers would send them.

    python -m venv rivals && rivals/bin/pip install -r benchmarks/rivals/requirements.txt
    python benchmarks/units.py --rivals-python rivals/bin/python [--sets digits iris] [--shuffles 24] [--rows 500]
        [--jobs 1]

Six sets, all in one run: four of scikit-learn's, its diabetes in thirds of the target, and one generated. Six ways to
write them down: features scaled to [0, 1], standardised or raw, and rewards of 0/1, -1/0, 0/100 and 0/0.01. Ours is
`linucb` over a schema with a block for each label and nothing said in it (`prior = "auto"`), decided by what decides
`/score`, its prior fitted when serving would. Beside it the best point of a grid of prior and width, tuned on each set
(features in [0, 1], rewards of 0/1, on the very shuffles that it is compared on, so that it is the luckiest of thirty,
too), the difference shuffle by shuffle with its error and with 95 % of its mean over resampled shuffles, and MABWiser
and Vowpal Wabbit as they come. What luck is worth another row takes off: the point is tuned on one half of the shuffles
and met on the other, both ways round.
"""

import argparse
import json
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bandstand.bandit.choice import choose
from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.policies import LinUCB
from bandstand.bandit.profile import Profile
from bandstand.simulate.run.population import SimulatedPopulation

SETS = ("digits", "wine", "iris", "breast_cancer", "diabetes", "generated")
SCALINGS: dict[str, tuple[str, float, float]] = {
    "[0,1], 0/1": ("unit", 0.0, 1.0),
    "std, 0/1": ("std", 0.0, 1.0),
    "raw, 0/1": ("raw", 0.0, 1.0),
    "[0,1], -1/0": ("unit", -1.0, 0.0),
    "[0,1], 0/100": ("unit", 0.0, 100.0),
    "[0,1], 0/0.01": ("unit", 0.0, 0.01),
}
GRID = [(1.0 / ridge, width) for ridge in (0.03, 0.1, 0.3, 1.0, 3.0, 10.0) for width in (0.05, 0.1, 0.2, 0.4, 0.8)]
"""Variance and alpha, at a noise of 1."""

_RIVALS = Path(__file__).parent / "rivals" / "units_rivals.py"

Features = NDArray[np.float64]
Labels = NDArray[np.int64]


def scale_features(x: Features, how: str) -> Features:
    """Return the features as one kind of caller sends them."""
    if how == "unit":
        span = np.ptp(x, axis=0)
        return np.asarray((x - x.min(axis=0)) / np.where(span > 0.0, span, 1.0))
    if how == "std":
        deviation = x.std(axis=0)
        return np.asarray((x - x.mean(axis=0)) / np.where(deviation > 0.0, deviation, 1.0))
    return x


def build_policy(features: int, labels: int, **parameters: object) -> LinUCB:
    """Return `linucb` over a block for each label."""
    columns = [{"name": f"f{n}", "source": f"context.f{n}", "encoding": "number"} for n in range(features)]
    block = {"source": "candidate.label", "values": [str(label) for label in range(labels)]}
    schema = FeatureSchema.parse("rows", {"version": 1, "intercept": True, "features": columns, "block": block})
    return LinUCB("linucb", schema, parameters)


def play(policy: LinUCB, x: Features, labels: Labels, rewards: tuple[float, float], seed: int) -> float:
    """Let a policy guess every row once; returns the share that was right."""
    arms, right, (low, high) = int(labels.max()) + 1, 0, rewards
    context = {f"f{place}": column.tolist() for place, column in enumerate(x.T)}
    candidates = {"label": [str(arm) for arm in range(arms)] * len(labels)}
    rows = policy.schema.encode_columns(context, candidates, (len(labels), arms))
    profile, key = Profile("everybody"), (policy.name, policy.schema.name)
    population = SimulatedPopulation(policy) if policy.learns_prior else None
    draws = np.random.default_rng(seed).random(len(labels)).tolist()
    for number, label in enumerate(labels.tolist()):
        prior = None if population is None else population.get_prior("everybody")
        pick = choose(policy, profile, rows[number], draws[number], prior=prior).pick
        right += pick == label
        profile.apply_reward(number, key, 0.0, rows[number, pick], high if pick == label else low, 1.0)
        if population is not None:
            population.update("everybody", profile.policies[key].ridge)
            population.refresh()
    return right / len(labels)


def load_sets(python: str, names: list[str]) -> dict[str, tuple[Features, Labels]]:
    """Have the sets written down, and read them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sets.npz"
        subprocess.run([python, str(_RIVALS), "data", str(file), *names], check=True)
        with np.load(file) as arrays:
            return {name: (arrays[f"{name}.x"], arrays[f"{name}.y"]) for name in names}


def play_grid(x: Features, labels: Labels, orders: list[NDArray[np.int64]]) -> Features:
    """Return the rewards of every point of the grid over the shuffles, (points, shuffles)."""
    scaled, arms = scale_features(x, "unit"), int(labels.max()) + 1
    played = []
    for variance, alpha in GRID:
        policy = build_policy(x.shape[1], arms, variance=variance, alpha=alpha)
        played.append([play(policy, scaled[o], labels[o], (0.0, 1.0), seed) for seed, o in enumerate(orders)])
    return np.array(played)


def cross_tune(played: Features) -> Features:
    """Return what the point that is best on one half of the shuffles earns on the other, (shuffles,)."""
    fold = np.arange(played.shape[1]) % 2
    best = [int(played[:, fold != half].mean(axis=1).argmax()) for half in (0, 1)]
    return np.asarray(np.where(fold == 0, played[best[0]], played[best[1]]))


def format_interval(values: Features) -> str:
    """Write the 2.5 and 97.5 % quantiles of the mean over 10,000 resamples of the shuffles."""
    places = np.random.default_rng(0).integers(len(values), size=(10_000, len(values)))
    low, high = np.quantile(values[places].mean(axis=1), [0.025, 0.975])
    return f"{low:+.4f} to {high:+.4f}"


def format_cell(values: Features) -> str:
    """Write a mean and its standard error."""
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.4f}"


def build_table(name: str, x: Features, labels: Labels, shuffles: int, rows: int, python: str) -> str:
    """Let everybody play one set, and return its table."""
    orders = [np.random.default_rng(seed).permutation(len(x))[:rows] for seed in range(shuffles)]
    policy = build_policy(x.shape[1], int(labels.max()) + 1)
    ours = np.array(
        [
            [play(policy, scale_features(x, how)[o], labels[o], (low, high), seed) for seed, o in enumerate(orders)]
            for how, low, high in SCALINGS.values()
        ]
    )
    played = play_grid(x, labels, orders)
    best = played[played.mean(axis=1).argmax()]
    command = [python, str(_RIVALS), "play", name, str(shuffles), str(rows), json.dumps(SCALINGS)]
    rivals = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    lines = [["", *SCALINGS], ["---"] * (1 + len(SCALINGS)), ["linucb, as it comes", *map(format_cell, ours)]]
    lines += [["the same less the best point", *map(format_cell, ours - best)]]
    lines += [["95 % of resamples", *map(format_interval, ours - best)]]
    lines += [["the same less a point tuned on other shuffles", *map(format_cell, ours - cross_tune(played))]]
    lines += [["best point of the grid", format_cell(best)]]
    lines += [[title, *(format_cell(np.array(row[scaling])) for scaling in SCALINGS)] for title, row in rivals.items()]
    return f"\n#### {name}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rivals-python", required=True, help="of an environment with benchmarks/rivals/requirements.txt"
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--shuffles", type=int, default=24, help="at least 4")
    parser.add_argument("--rows", type=int, default=500, help="of a set, at most")
    parser.add_argument("--jobs", type=int, default=1, help="sets that are played at a time")
    arguments = parser.parse_args()
    sets = load_sets(arguments.rivals_python, arguments.sets)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        sizes = arguments.shuffles, arguments.rows, arguments.rivals_python
        for table in [pool.submit(build_table, name, x, labels, *sizes) for name, (x, labels) in sets.items()]:
            print(table.result(), flush=True)


if __name__ == "__main__":
    main()
