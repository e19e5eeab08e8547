"""Rows a second of the off-policy estimators, beside the same mean as a numpy one-liner, in one run.

    python benchmarks/estimators.py [--rows 1000000] [--actions 10] [--repeats 7]

The one-liner checks nothing and gives no standard error, diagnostic or warning; the ratio is what those cost. The
bootstrap is beside a plain loop of 200 resamples, on a tenth of the rows. Time is the processor's, summed over threads,
so a figure is for one core whatever the numerical library does. Each repeat runs every contender once, in turn, and the
median over repeats is shown.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import NamedTuple

import numpy as np

from bandstand.evaluate import dr, ips, snips

_RESAMPLES = 200


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

    contests = _contests(options.rows, options.actions)
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
