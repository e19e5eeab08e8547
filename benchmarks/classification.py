"""Classification as a bandit: one pass over a set, a label guessed for each row, 1 for right and 0 for wrong.

    python -m venv rivals && rivals/bin/pip install -r benchmarks/rivals/requirements.txt
    python benchmarks/classification.py --rivals-python rivals/bin/python [--sets digits iris] [--shuffles 20]

Ours are policies of a schema with a block of weights for each label (`block` in a schema's definition): one user, one
row a decision, one candidate for each label, decided by what decides `/score` and taught by what `/reward` folds.
Beside them Vowpal Wabbit and MABWiser, from an environment of their own, on the same numbers in the same shuffles.

One rule sets the prior for every set: variance 6/d of each of d weights, the intercept's among them, and noise 0.1,
about what a reward of 0 or 1 has. Rows scaled to [0, 1] then have a prior deviation of 1 to 2. The rule, alpha and
scale were chosen on shuffles 1000 and up of the same sets; the table is of shuffles 0 and up.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bandstand.bandit.choice import choose
from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.policies import KINDS, Policy
from bandstand.bandit.profile import Profile

SETS = ("digits", "wine", "iris", "breast_cancer")
OURS: dict[str, tuple[str, dict[str, float]]] = {
    "linucb, alpha 0.8": ("linucb", {"alpha": 0.8}),
    "the same with a floor of 2 %": ("linucb", {"alpha": 0.8, "floor": 0.02}),
    "thompson, scale 0.5": ("thompson", {"scale": 0.5}),
    "squarecb, gamma 1000": ("squarecb", {"gamma": 1000.0}),
    "egreedy, epsilon 0.05": ("egreedy", {"epsilon": 0.05}),
}

_RIVALS = Path(__file__).parent / "rivals" / "classify.py"

Features = NDArray[np.float64]
Labels = NDArray[np.int64]


def policies(features: int, labels: int) -> dict[str, Policy]:
    """Give our contestants for a set of so many features and labels."""
    columns = [{"name": f"f{n}", "source": f"context.f{n}", "encoding": "number"} for n in range(features)]
    block = {"source": "candidate.label", "values": [str(label) for label in range(labels)]}
    schema = FeatureSchema.parse("rows", {"version": 1, "intercept": True, "features": columns, "block": block})
    belief = {"variance": 6.0 / schema.weight_count, "noise": 0.1}
    return {title: KINDS[kind](title, schema, {**belief, **numbers}) for title, (kind, numbers) in OURS.items()}


def play(policy: Policy, x: Features, labels: Labels, seed: int) -> float:
    """Let a policy guess every row once; returns the share that was right."""
    arms, earned = int(labels.max()) + 1, 0
    context = {f"f{place}": column.tolist() for place, column in enumerate(x.T)}
    candidates = {"label": [str(arm) for arm in range(arms)] * len(labels)}
    rows = policy.schema.encode_columns(context, candidates, (len(labels), arms))
    profile, key = Profile("everybody"), (policy.name, policy.schema.name)
    draws = np.random.default_rng(seed).random(len(labels)).tolist()
    for number, label in enumerate(labels.tolist()):
        pick = choose(policy, profile, rows[number], draws[number]).pick
        earned += pick == label
        profile.apply_reward(number, key, 0.0, rows[number, pick], float(pick == label), 1.0)
    return earned / len(labels)


def played(x: Features, labels: Labels, shuffles: range) -> dict[str, list[float]]:
    """Let ours meet every shuffle."""
    orders = {seed: np.random.default_rng(seed).permutation(len(labels)) for seed in shuffles}
    return {
        title: [play(policy, x[order], labels[order], seed) for seed, order in orders.items()]
        for title, policy in policies(x.shape[1], int(labels.max()) + 1).items()
    }


def sets(python: str) -> dict[str, tuple[Features, Labels]]:
    """Have scikit-learn's bundled sets written down, and read them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sets.npz"
        subprocess.run([python, str(_RIVALS), "data", str(file)], check=True)
        with np.load(file) as arrays:
            return {name: (arrays[f"{name}.x"], arrays[f"{name}.y"]) for name in SETS}


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rivals-python", required=True, help="of an environment with benchmarks/rivals/requirements.txt"
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--shuffles", type=int, default=20)
    parser.add_argument("--first-shuffle", type=int, default=0, help="of ours; with another than 0 the rivals rest")
    arguments = parser.parse_args()
    loaded = sets(arguments.rivals_python)
    first = arguments.first_shuffle
    for name in arguments.sets:
        x, labels = loaded[name]
        print(f"\n| {name}: {len(x)} × {x.shape[1]}, {labels.max() + 1} labels | mean reward ± s.e. |\n|---|---|")
        rewards = played(x, labels, range(first, first + arguments.shuffles))
        if not first:
            command = [arguments.rivals_python, str(_RIVALS), "play", name, str(arguments.shuffles)]
            rewards |= json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for title, values in rewards.items():
            error = np.std(values, ddof=1) / np.sqrt(len(values))
            print(f"| {title} | {np.mean(values):.4f} ± {error:.4f} |", flush=True)


if __name__ == "__main__":
    main()
