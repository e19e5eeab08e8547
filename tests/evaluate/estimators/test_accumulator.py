import math
import tracemalloc
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from bandstand import evaluate
from bandstand.evaluate import (
    FORMULAS,
    Accumulator,
    Estimate,
    EvaluationError,
    Formula,
    LoggedRows,
    clipped_ips,
    dm,
    ips,
    replay,
    sndr,
    snips,
)
from tests.evaluate.world import Log, World

WORLD = World()
LOG = WORLD.draw_log(3000, seed=11)


def select_part(log: Log, rows: slice) -> LoggedRows:
    return LoggedRows.of(*(column[rows] for column in log))


# --- chunks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", ["normal", "bootstrap"])
@pytest.mark.parametrize("name", FORMULAS)
def test_chunks_give_what_the_whole_gives(name: str, interval: Any) -> None:
    log = WORLD.draw_log(3000, seed=12, target=WORLD.pure) if name == "replay" else LOG
    whole: Estimate = getattr(evaluate, name)(*log, interval=interval, resamples=200, seed=3)
    sums = Accumulator(Formula.named(name), interval=interval, resamples=200, seed=3)
    for start, stop in ((0, 1), (1, 18), (18, 18), (18, 2500), (2500, 3000)):
        sums.add(select_part(log, slice(start, stop)))
    chunked = sums.estimate()
    for field in ("value", "stderr", "low", "high", "ess", "mean_weight"):
        assert getattr(chunked, field) == pytest.approx(getattr(whole, field), rel=1e-10), field
    assert (chunked.n, chunked.warnings) == (whole.n, whole.warnings)


def test_chunks_of_the_logged_action_alone_add_up_and_do_not_mix_with_distributions() -> None:
    chosen = LOG.target[np.arange(3000), LOG.action]
    sums = Accumulator(Formula.named("snips"))
    for rows in (slice(0, 1000), slice(1000, 3000)):
        sums.add(LoggedRows.of(LOG.reward[rows], None, LOG.propensity[rows], chosen[rows]))
    assert sums.estimate().value == pytest.approx(snips(*LOG).value, rel=1e-12)
    with pytest.raises(EvaluationError, match="chunks differ"):
        sums.add(select_part(LOG, slice(0, 1)))


def test_an_array_of_many_chunks_is_the_sum_over_all_of_it() -> None:
    log = WORLD.draw_log(200_000, seed=13)
    weight = log.target[np.arange(200_000), log.action] / log.propensity
    assert ips(*log).value == pytest.approx((weight * log.reward).mean(), rel=1e-12)
    assert ips(*log).stderr == pytest.approx((weight * log.reward).std(ddof=1) / math.sqrt(200_000), rel=1e-12)
    assert snips(*log).value == pytest.approx((weight * log.reward).sum() / weight.sum(), rel=1e-12)
    assert snips(*log).mean_weight == pytest.approx(weight.mean(), rel=1e-12)
    assert snips(*log).ess == pytest.approx(weight.sum() ** 2 / (weight**2).sum(), rel=1e-12)


@pytest.mark.parametrize("interval", ["normal", "bootstrap"])
def test_a_log_in_arrays_is_not_copied(interval: Any) -> None:
    n, k = 100_000, 20
    target = np.full((n, k), 1 / k)
    columns = (np.ones(n), np.zeros(n, dtype=np.int64), np.full(n, 1 / k), target, target)
    tracemalloc.start()
    sndr(*columns, interval=interval, resamples=100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < target.nbytes / 4


def test_an_estimate_may_be_asked_for_at_any_time() -> None:
    sums = Accumulator(Formula.named("snips"))
    sums.add(select_part(LOG, slice(0, 1000)))
    assert sums.estimate() == sums.estimate()
    assert sums.estimate().n == 1000
    sums.add(select_part(LOG, slice(1000, 3000)))
    assert sums.estimate().n == 3000


def test_a_refused_chunk_changes_nothing() -> None:
    sums = Accumulator(Formula.named("dr"))
    sums.add(select_part(LOG, slice(0, 100)))
    before = sums.estimate()
    with pytest.raises(EvaluationError, match="dr needs q_hat"):
        sums.add(LoggedRows.of(*LOG[:4]))
    with pytest.raises(EvaluationError, match="chunks differ in their number of actions"):
        sums.add(LoggedRows.of([1.0], [0], [1.0], [[1.0, 0.0]], [[0.0, 0.0]]))
    assert sums.estimate() == before


def test_no_rows_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="no rows"):
        Accumulator(Formula.named("ips")).estimate()


# --- standard errors and intervals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["snips", "sndr", "replay"])
def test_the_delta_method_agrees_with_the_jackknife(name: str) -> None:
    log = WORLD.draw_log(600, seed=14, target=WORLD.pure) if name == "replay" else WORLD.draw_log(600, seed=14)
    estimator = getattr(evaluate, name)
    left_out = np.array([estimator(*(np.delete(column, i, axis=0) for column in log)).value for i in range(600)])
    jackknife = math.sqrt(599 / 600 * ((left_out - left_out.mean()) ** 2).sum())
    assert estimator(*log).stderr == pytest.approx(jackknife, rel=0.01)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_the_normal_interval_is_the_value_and_z_standard_errors(level: float) -> None:
    estimate = ips(*LOG, level=level)
    z = NormalDist().inv_cdf((1 + level) / 2)
    assert estimate.high - estimate.value == pytest.approx(z * estimate.stderr)
    assert estimate.value - estimate.low == pytest.approx(z * estimate.stderr)


def test_the_bootstrap_interval_is_near_the_normal_one_and_repeats_with_its_seed() -> None:
    for estimator in (ips, snips, dm, sndr):
        normal = estimator(*LOG)
        resampled = estimator(*LOG, interval="bootstrap", resamples=2000, seed=5)
        assert (resampled.value, resampled.stderr) == (normal.value, normal.stderr)
        assert resampled.low == pytest.approx(normal.low, abs=0.15 * normal.stderr)
        assert resampled.high == pytest.approx(normal.high, abs=0.15 * normal.stderr)
        assert estimator(*LOG, interval="bootstrap", resamples=2000, seed=5) == resampled
        assert estimator(*LOG, interval="bootstrap", resamples=2000, seed=6) != resampled


COVERAGE = [
    (name, interval) for name in ("ips", "snips", "dr", "sndr", "replay") for interval in ("normal", "bootstrap")
]


@pytest.mark.parametrize(("name", "interval"), COVERAGE)
def test_the_interval_covers_the_truth_as_often_as_it_says(name: str, interval: str) -> None:
    """500 logs of 300 rows: within three binomial standard errors, 2.9 %, of the stated 95 %."""
    uniform = name == "replay"
    target = WORLD.pure if uniform else WORLD.target
    truth = WORLD.value(target)
    estimates = []
    for seed in range(500):
        log = WORLD.draw_log(300, 1000 + seed, logger=WORLD.uniform if uniform else None, target=target)
        estimates.append(getattr(evaluate, name)(*log, interval=interval, resamples=200, seed=seed))
    covered = sum(estimate.low <= truth <= estimate.high for estimate in estimates) / 500
    assert 0.921 <= covered <= 0.979
    spread = np.std([estimate.value for estimate in estimates])
    assert np.mean([estimate.stderr for estimate in estimates]) == pytest.approx(spread, rel=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interval": "exact"}, "interval must be"),
        ({"level": 0.0}, "level must be"),
        ({"level": 1.0}, "level must be"),
        ({"level": math.nan}, "level must be"),
        ({"level": "0.95"}, "level must be"),
        ({"level": True}, "level must be"),
        ({"interval": "bootstrap", "resamples": 99}, "resamples must be a whole number of at least 100"),
        ({"interval": "bootstrap", "resamples": 100.5}, "resamples must be a whole number"),
        ({"interval": "bootstrap", "resamples": None}, "resamples must be a whole number"),
        ({"interval": "bootstrap", "seed": -1}, "seed must be a whole number of 0 or more"),
        ({"interval": "bootstrap", "seed": 0.5}, "seed must be a whole number of 0 or more"),
        ({"interval": "bootstrap", "seed": True}, "seed must be a whole number of 0 or more"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        ips(*LOG, **options)


def test_an_option_that_does_not_exist_is_refused() -> None:
    misspelt: dict[str, Any] = {"levl": 0.9}
    with pytest.raises(TypeError, match="levl"):
        ips(*LOG, **misspelt)


# --- warnings ------------------------------------------------------------------------------------------------------


def has_warning(estimate: Estimate, words: str) -> bool:
    return any(words in warning for warning in estimate.warnings)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_sound_log_warns_of_nothing(name: str) -> None:
    log = WORLD.draw_log(3000, seed=15, logger=WORLD.uniform, target=WORLD.pure if name == "replay" else WORLD.target)
    assert getattr(evaluate, name)(*log).warnings == ()


@pytest.mark.parametrize("name", FORMULAS)
def test_propensities_that_are_not_the_loggers_show_in_the_mean_weight(name: str) -> None:
    log = LOG._replace(propensity=LOG.propensity * 0.9)
    estimate = getattr(evaluate, name)(*log)
    assert has_warning(estimate, "the mean weight is 1")
    assert estimate.mean_weight == pytest.approx(ips(*LOG).mean_weight / 0.9)


def test_the_mean_weight_warns_beyond_three_standard_errors_and_not_within() -> None:
    # Half the weights are 1 - s and half 1 + s, moved by a few of their standard errors s / sqrt(n).
    spread = np.tile([-0.5, 0.5], 50)
    error = spread.std(ddof=1) / math.sqrt(100)
    for errors, warns in ((0, False), (2.99, False), (3.01, True), (-2.99, False), (-3.01, True)):
        weight = 1 + spread + errors * error
        estimate = ips(np.ones(100), None, np.full(100, 0.1), 0.1 * weight)
        assert has_warning(estimate, "the mean weight is") == warns, errors


def test_rounding_in_equal_weights_is_no_warning() -> None:
    assert ips(np.ones(9), None, np.full(9, 0.3), np.full(9, 0.1 + 0.2)).warnings == ()


@pytest.mark.parametrize(("n", "warns"), [(99, False), (101, True)])
def test_a_small_effective_sample_is_warned_of_below_one_percent(n: int, warns: bool) -> None:
    chosen = np.zeros(n)
    chosen[0] = 1.0
    estimate = ips(np.ones(n), None, np.full(n, 1 / n), chosen)
    assert estimate.ess == pytest.approx(1)
    assert has_warning(estimate, "effective sample size is 1, under 1%") == warns


def test_clipping_does_not_hide_a_small_effective_sample() -> None:
    chosen = np.zeros(200)
    chosen[0] = 1.0
    assert has_warning(clipped_ips(np.ones(200), None, np.full(200, 0.005), chosen, clip=1), "effective sample size")


def test_an_action_never_logged_is_zero_support() -> None:
    target = np.full((60, 3), [0.5, 0.25, 0.25])
    estimate = ips(np.ones(60), np.tile([0, 1], 30), np.full(60, 0.5), target)
    assert has_warning(
        estimate, "zero support: 1 of 3 actions were never logged, and the target takes them in 25.00% of the rows"
    )
    assert has_warning(
        dm(np.ones(60), np.tile([0, 1], 30), np.full(60, 0.5), target, np.zeros((60, 3))), "zero support"
    )


@pytest.mark.parametrize(("mass", "warns"), [(0.0, False), (0.0099, False), (0.01, True), (0.5, True)])
def test_zero_support_is_a_row_or_more_of_the_target(mass: float, warns: bool) -> None:
    target = np.full((100, 3), [(1 - mass) / 2, (1 - mass) / 2, mass])
    estimate = snips(np.ones(100), np.tile([0, 1], 50), np.full(100, 0.5), target)
    assert has_warning(estimate, "zero support") == warns


def test_support_is_judged_over_all_chunks() -> None:
    sums = Accumulator(Formula.named("ips"))
    for action in (0, 1):
        sums.add(LoggedRows.of(np.ones(50), np.full(50, action), np.full(50, 0.5), np.full((50, 2), 0.5)))
    assert sums.estimate().warnings == ()


@pytest.mark.parametrize("interval", ["normal", "bootstrap"])
@pytest.mark.parametrize("estimator", [snips, sndr])
def test_no_weight_at_all_is_not_a_number(estimator: Any, interval: str) -> None:
    target = np.tile([1.0, 0.0], (20, 1))
    estimate = estimator(np.ones(20), np.ones(20, int), np.full(20, 0.5), target, np.zeros((20, 2)), interval=interval)
    assert all(math.isnan(number) for number in (estimate.value, estimate.stderr, estimate.low, estimate.high))
    assert has_warning(estimate, "every weight is zero")
    assert has_warning(estimate, "the mean weight is 0")
    assert has_warning(estimate, "effective sample size is 0")
    assert has_warning(estimate, "zero support")


@pytest.mark.parametrize("interval", ["normal", "bootstrap"])
def test_replay_without_a_match_is_not_a_number(interval: Any) -> None:
    estimate = replay(*LOG, interval=interval)
    assert all(math.isnan(number) for number in (estimate.value, estimate.stderr, estimate.low, estimate.high))
    assert has_warning(estimate, "no row matches")
    assert estimate.ess == 0


def test_replay_counts_its_matches_and_asks_for_a_uniform_log() -> None:
    log = WORLD.draw_log(1000, seed=16, target=WORLD.pure)
    matches = log.target[np.arange(1000), log.action] == 1
    assert replay(*log).ess == pytest.approx(matches.sum(), rel=1e-12)
    assert replay(*log).value == pytest.approx(log.reward[matches].mean())
    assert has_warning(replay(*log), "replay asks for a uniform log")
    assert not has_warning(replay(*WORLD.draw_log(1000, seed=16, logger=WORLD.uniform, target=WORLD.pure)), "uniform")


@pytest.mark.parametrize("interval", ["normal", "bootstrap"])
@pytest.mark.parametrize("estimator", [snips, replay])
def test_a_ratio_of_one_row_has_no_standard_error(estimator: Any, interval: str) -> None:
    estimate = estimator([5.0, 1.0, 1.0], None, [0.25, 0.25, 0.25], [1.0, 0.0, 0.0], interval=interval)
    assert estimate.value == pytest.approx(5)
    assert math.isnan(estimate.stderr)
    assert math.isnan(estimate.low)
    assert has_warning(estimate, "one row carries the whole estimate")


@pytest.mark.parametrize("interval", ["normal", "bootstrap"])
@pytest.mark.parametrize("name", FORMULAS)
def test_a_log_of_one_row_has_a_value_and_no_standard_error(name: str, interval: str) -> None:
    estimate = getattr(evaluate, name)([2.0], [0], [0.5], [[1.0, 0.0]], [[2.0, 0.0]], interval=interval)
    assert math.isfinite(estimate.value)
    assert math.isnan(estimate.stderr)
    assert has_warning(estimate, "one row")


def test_resamples_without_weight_are_counted() -> None:
    estimate = replay(np.arange(4.0), None, np.full(4, 0.5), [1.0, 1.0, 0.0, 0.0], interval="bootstrap")
    assert has_warning(estimate, "of 1000 resamples held no weight")
    assert (estimate.low, estimate.high) == (0, 1)


def test_no_seed_is_a_fresh_one() -> None:
    rewards = np.linspace(0.0, 1.0, 100) ** 2  # of 0 and 1 alone, two seeds may well find the same
    rows = LoggedRows.of(rewards, None, [0.5] * 100, [0.25, 0.75] * 50)
    found = set()
    seeds: list[Any] = [None, None, np.int64(3), 3]
    for seed in seeds:
        accumulator = Accumulator(Formula.named("snips"), interval="bootstrap", seed=seed)
        accumulator.add(rows)
        found.add(accumulator.estimate().low)
    assert len(found) == 3
