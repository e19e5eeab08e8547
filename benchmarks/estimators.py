"""Rows a second of the off-policy estimators, beside the same mean as a numpy one-liner, in one run.

    python benchmarks/estimators.py [--rows 1000000] [--actions 10] [--repeats 7]

The one-liner checks nothing and gives no standard error, diagnostic or warning; the ratio is what those cost. The
bootstrap is beside a plain loop of 200 resamples, on a tenth of the rows. Files hold reward, propensity and target, and
are asked for IPS and SNIPS at once, as `bandstand evaluate` does; beside them is the same file read whole, by pyarrow,
numpy or json (text: a tenth of the rows), and the two one-liners on that. Time is the processor's, summed over threads,
so a figure is for one core whatever the numerical library does. Each repeat runs every contender once, in turn, and the
median over repeats is shown.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
from pyarrow import parquet

from bandstand.evaluate import Formula, dr, ips, snips
from bandstand.evaluate.spec import EvaluationSpec, evaluate_rows

_RESAMPLES = 200

Array = npt.NDArray[np.float64]


class _Contest(NamedTuple):
    name: str
    rows: int
    plain: Callable[[], object]
    ours: Callable[[], object]


def _contests(n: int, k: int) -> list[_Contest]:
    generator = np.random.default_rng(0)
    target = generator.dirichlet(np.ones(k), n)
    action = generator.integers(k, size=n)
    propensity = np.full(n, 1 / k)
    reward = generator.binomial(1, 0.1, n).astype(np.float64)
    q_hat = generator.random((n, k))
    row = np.arange(n)
    chosen = target[row, action]
    few = n // 10

    def plain_ips() -> object:
        return (target[row, action] / propensity * reward).mean()

    def plain_snips() -> object:
        return np.average(reward, weights=target[row, action] / propensity)

    def plain_ips_of_chosen() -> object:
        return (chosen / propensity * reward).mean()

    def plain_dr() -> object:
        residual = target[row, action] / propensity * (reward - q_hat[row, action])
        return (residual + (target * q_hat).sum(axis=1)).mean()

    def plain_bootstrap() -> object:
        weight = chosen[:few] / propensity[:few]
        picks = (generator.integers(few, size=few) for _ in range(_RESAMPLES))
        return [(weight[pick] * reward[pick]).sum() / weight[pick].sum() for pick in picks]

    log = (reward, action, propensity, target)
    head = (reward[:few], action[:few], propensity[:few], target[:few])
    bootstrap = partial(snips, *head, interval="bootstrap", resamples=_RESAMPLES)
    return [
        _Contest("ips", n, plain_ips, partial(ips, *log)),
        _Contest("snips", n, plain_snips, partial(snips, *log)),
        _Contest("ips, target (n,)", n, plain_ips_of_chosen, partial(ips, reward, None, propensity, chosen)),
        _Contest("dr", n, plain_dr, partial(dr, *log, q_hat)),
        _Contest(f"snips, {_RESAMPLES} resamples", few, plain_bootstrap, bootstrap),
    ]


def _file_contests(n: int, folder: Path) -> list[_Contest]:
    generator = np.random.default_rng(1)
    columns = {
        "reward": generator.binomial(1, 0.1, n).astype(np.float64),
        "propensity": np.full(n, 0.1),
        "target": generator.random(n) / 5,
    }
    few = n // 10
    table, text, lines = folder / "log.parquet", folder / "log.csv", folder / "log.jsonl"
    parquet.write_table(pa.table(columns), table)
    head = np.stack([column[:few] for column in columns.values()], axis=1)
    np.savetxt(text, head, delimiter=",", header=",".join(columns), comments="")
    lines.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in head.tolist()))

    def plain_means(reward: Array, propensity: Array, target: Array) -> object:
        weight = target / propensity
        return (weight * reward).mean(), np.average(reward, weights=weight)

    def plain_parquet() -> object:
        read = parquet.read_table(table, use_threads=False)
        return plain_means(*(read[name].to_numpy() for name in columns))

    def plain_csv() -> object:
        return plain_means(*np.loadtxt(text, delimiter=",", skiprows=1, unpack=True))

    def plain_jsonl() -> object:
        with lines.open() as file:
            rows = [json.loads(line) for line in file]
        return plain_means(*(np.array([row[name] for row in rows]) for name in columns))

    question = EvaluationSpec((Formula.named("ips"), Formula.named("snips")))
    return [
        _Contest("ips and snips, Parquet", n, plain_parquet, partial(evaluate_rows, question, table)),
        _Contest("ips and snips, CSV", few, plain_csv, partial(evaluate_rows, question, text)),
        _Contest("ips and snips, JSONL", few, plain_jsonl, partial(evaluate_rows, question, lines)),
    ]


def _cpu_seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--actions", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        contests = _contests(options.rows, options.actions) + _file_contests(options.rows, Path(folder))
        rounds = [[(_cpu_seconds(c.plain), _cpu_seconds(c.ours)) for c in contests] for _ in range(options.repeats)]

    print(
        f"{options.rows:,} rows, {options.actions} actions; million rows a processor second, {options.repeats} repeats"
    )
    print(f"{'':24}{'numpy':>10}{'bandstand':>12}{'ratio':>8}")
    for contest, pairs in zip(contests, zip(*rounds, strict=True), strict=True):
        plain, ours = (contest.rows / median(seconds) / 1e6 for seconds in zip(*pairs, strict=True))
        print(f"{contest.name:24}{plain:10.2f}{ours:12.2f}{ours / plain:8.2f}")


if __name__ == "__main__":
    main()
