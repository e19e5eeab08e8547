"""What other units cost: classification as a bandit with features and rewards as strangers would send them.

    python -m venv rivals && rivals/bin/pip install -r benchmarks/rivals/requirements.txt
    python benchmarks/units.py --rivals-python rivals/bin/python [--sets digits iris] [--shuffles 24] [--rows 500]
        [--jobs 1] [--results FILE] [--alphas 0.5]

Six sets, all in one run: four of scikit-learn's, its diabetes in thirds of the target, and one generated. Six ways to
write them down: features scaled to [0, 1], standardised or raw, and rewards of 0/1, -1/0, 0/100 and 0/0.01. Ours is
`linucb` over a schema with a block for each label and nothing said in it (`prior = "auto"`), decided by what decides
`/score`, its prior fitted when serving would. Beside it are MABWiser and Vowpal Wabbit as they come, and a grid of
thirty points of prior and width (features in [0, 1], rewards of 0/1) tuned on each set.

The comparison is with a *tuned point*: the best one on half of the shuffles, met on the other half, so that nobody is
paid for luck; a shuffle's own figure is the mean over 400 ways to halve. The last rows are of the *luckiest* point: the
best one on the very shuffles that it is compared on. Every ± is a standard error over shuffles, of a difference shuffle
by shuffle.

With `--results`, what was played is appended to a file as it comes, and not played again: more shuffles may be added.
`--alphas` lets ours play with other widths, too (features in [0, 1], rewards of 0/1).
"""

import argparse
import json
import subprocess
import tempfile
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bandstand.bandit.choice import choose
from bandstand.bandit.distribution import compute_greedy_rows, draw_picks
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

OURS, TUNED = "linucb", "grid"
HALVINGS = 400
BATCH = 4
"""Shuffles for which the rivals' environment is started once."""

_RIVALS = Path(__file__).parent / "rivals" / "units_rivals.py"

Features = NDArray[np.float64]
Labels = NDArray[np.int64]


class Played(NamedTuple):
    """What somebody got right of one shuffle.

    Attributes:
        set: its name.
        rows: of it that were played, at most.
        seed: of the shuffle.
        player: ours, the grid, or a rival.
        shares: in each of the six ways, or of each point of the grid.
    """

    set: str
    rows: int
    seed: int
    player: str
    shares: list[float]


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


def play_grid(x: Features, labels: Labels, draws: Features) -> Features:
    """Return the share that each point of the grid gets right, (points,).

    What `play` with ``variance`` and ``alpha`` does, for all points together: what is believed of a row that is still
    to come moves with each reward, by Sherman and Morrison's formula.
    """
    rows = np.column_stack([np.ones(len(x)), x])
    variances, widths = np.array(GRID).T
    points, arms = np.arange(len(GRID)), int(labels.max()) + 1
    covariance = np.tile(np.eye(rows.shape[1]), (len(GRID), arms, 1, 1)) * variances[:, None, None, None]
    mean = np.zeros((len(GRID), arms, len(rows)))
    square = np.ones_like(mean) * variances[:, None, None] * np.vecdot(rows, rows)
    right = np.zeros(len(GRID))
    for number, label in enumerate(labels.tolist()):
        score = mean[:, :, number] + widths[:, None] * np.sqrt(square[:, :, number])
        picks = draw_picks(compute_greedy_rows(score), 0.0, np.full(len(GRID), draws[number])).index
        rewards = picks == label
        right += rewards
        gain = covariance[points, picks] @ rows[number]
        total = 1.0 + square[points, picks, number]
        covariance[points, picks] -= gain[:, :, None] * (gain / total[:, None])[:, None, :]
        moved = gain @ rows[number:].T
        error = (rewards - mean[points, picks, number]) / total
        mean[points, picks, number:] += moved * error[:, None]
        square[points, picks, number:] -= moved**2 / total[:, None]
    return right / len(labels)


def play_shuffles(name: str, x: Features, labels: Labels, seeds: list[int], rows: int, python: str) -> list[Played]:
    """Let everybody play some shuffles of one set."""
    policy = build_policy(x.shape[1], int(labels.max()) + 1)
    played: list[Played] = []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(x))[:rows]
        ours = [
            play(policy, scale_features(x, how)[order], labels[order], (low, high), seed)
            for how, low, high in SCALINGS.values()
        ]
        draws = np.random.default_rng(seed).random(len(order))
        grid = play_grid(scale_features(x, "unit")[order], labels[order], draws)
        played += [Played(name, rows, seed, OURS, ours), Played(name, rows, seed, TUNED, grid.tolist())]
    command = [python, str(_RIVALS), "play", name, json.dumps(seeds), str(rows), json.dumps(SCALINGS)]
    rivals = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return played + [
        Played(name, rows, seed, title, shares)
        for title, by_seed in rivals.items()
        for seed, shares in zip(seeds, by_seed, strict=True)
    ]


def play_widths(name: str, x: Features, labels: Labels, seeds: list[int], rows: int, alpha: float) -> list[Played]:
    """Let ours play some shuffles of one set with another width."""
    policy, scaled, played = build_policy(x.shape[1], int(labels.max()) + 1, alpha=alpha), scale_features(x, "unit"), []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(x))[:rows]
        share = play(policy, scaled[order], labels[order], (0.0, 1.0), seed)
        played.append(Played(name, rows, seed, title_width(alpha), [share]))
    return played


def title_width(alpha: float) -> str:
    """Return what ours is called with another width."""
    return f"{OURS}, alpha {alpha:g}"


def cross_tune(played: Features) -> Features:
    """Return what points that are best on other shuffles earn on each, (shuffles,), from (points, shuffles)."""
    shuffles = played.shape[1]
    halves = np.random.default_rng(0).permuted(np.tile(np.arange(shuffles) % 2, (HALVINGS, 1)), axis=1)
    total, count = np.zeros(shuffles), np.zeros(shuffles)
    for half in halves:
        for side in (0, 1):
            best = int(played[:, half != side].mean(axis=1).argmax())
            total += np.where(half == side, played[best], 0.0)
            count += half == side
    return np.asarray(total / count)


def format_interval(values: Features) -> str:
    """Write the 2.5 and 97.5 % quantiles of the mean over 10,000 resamples of the shuffles."""
    places = np.random.default_rng(0).integers(len(values), size=(10_000, len(values)))
    low, high = np.quantile(values[places].mean(axis=1), [0.025, 0.975])
    return f"{low:+.4f} to {high:+.4f}"


def format_cell(values: Features, sign: str = "") -> str:
    """Write a mean and its standard error."""
    return f"{np.mean(values):{sign}.4f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.4f}"


def format_difference(values: Features) -> str:
    """Write a mean with its sign, and its standard error."""
    return format_cell(values, "+")


def build_table(name: str, results: list[Played], shuffles: int, rows: int) -> str:
    """Return the table of one set, from what was played of it."""
    found = {(each.player, each.seed): each.shares for each in results if (each.set, each.rows) == (name, rows)}
    players = [player for player in dict.fromkeys(player for player, _ in found) if (player, shuffles - 1) in found]
    shares = {player: np.array([found[player, seed] for seed in range(shuffles)]).T for player in players}
    ours, grid = shares.pop(OURS), shares.pop(TUNED)
    widths = {player: shares.pop(player) for player in players if player.startswith(f"{OURS}, ")}
    tuned, luckiest = cross_tune(grid), grid[grid.mean(axis=1).argmax()]
    lines = [[f"{shuffles} shuffles", *SCALINGS], ["---"] * (1 + len(SCALINGS))]
    lines += [["linucb, as it comes", *map(format_cell, ours)]]
    lines += [["less the tuned point", *map(format_difference, ours - tuned)]]
    lines += [[f"less {title}", *map(format_difference, ours - theirs)] for title, theirs in shares.items()]
    lines += [["tuned point", format_cell(tuned)]]
    lines += [[title, *map(format_cell, theirs)] for title, theirs in shares.items()]
    lines += [["luckiest point", format_cell(luckiest)]]
    lines += [["less the luckiest point", *map(format_difference, ours - luckiest)]]
    lines += [["95 % of resamples", *map(format_interval, ours - luckiest)]]
    lines += [[f"{title} less as it comes", format_difference(theirs[0] - ours[0])] for title, theirs in widths.items()]
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
    parser.add_argument("--jobs", type=int, default=1, help="batches of four shuffles that are played at a time")
    parser.add_argument("--results", type=Path, help="of shuffles that were played, and that are played now")
    parser.add_argument("--alphas", nargs="+", type=float, default=[], help="other widths of ours")
    arguments = parser.parse_args()
    file: Path | None = arguments.results
    lines = file.read_text(encoding="utf-8").splitlines() if file is not None and file.exists() else []
    results = [Played(**json.loads(line)) for line in lines]
    sets = load_sets(arguments.rivals_python, arguments.sets)
    known = {each[:4] for each in results}
    rows, python = arguments.rows, arguments.rivals_python

    def list_missing(name: str, player: str) -> list[list[int]]:
        seeds = [seed for seed in range(arguments.shuffles) if (name, rows, seed, player) not in known]
        return [seeds[first : first + BATCH] for first in range(0, len(seeds), BATCH)]

    with ProcessPoolExecutor(arguments.jobs) as pool:
        tasks: dict[str, list[Future[list[Played]]]] = {}
        for name, (x, labels) in sets.items():
            tasks[name] = [
                pool.submit(play_shuffles, name, x, labels, batch, rows, python) for batch in list_missing(name, OURS)
            ]
            for alpha in arguments.alphas:
                tasks[name] += [
                    pool.submit(play_widths, name, x, labels, batch, rows, alpha)
                    for batch in list_missing(name, title_width(alpha))
                ]
        for name, batches in tasks.items():
            for task in batches:
                results += task.result()
                if file is not None:
                    with file.open("a", encoding="utf-8") as out:
                        out.writelines(f"{json.dumps(each._asdict())}\n" for each in task.result())
            print(build_table(name, results, arguments.shuffles, rows), flush=True)


if __name__ == "__main__":
    main()
