import json
import math
import tracemalloc
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest

from bandstand import evaluate
from bandstand.evaluate import FORMULAS, EvaluationError, Formula, snips
from bandstand.evaluate.estimators.chunk import Chunk
from bandstand.evaluate.estimators.evaluation import WEIGHT_BINS, LogEvaluation, LogEvaluationResult
from tests.evaluate.world import Log, World

WORLD = World()
LOG = WORLD.draw_log(2000, seed=41, logger=WORLD.uniform)
LOST = np.random.default_rng(5).random(2000) < 0.3


def chunk(log: Log = LOG, lost: Any = None, **more: Any) -> Chunk:
    reward = log.reward if lost is None else np.where(lost, np.nan, log.reward)
    return Chunk(reward, log.propensity, log.target, log.action, log.q_hat, **more)


def parse_formulas(*names: str) -> list[Formula]:
    return [Formula.parse(name) for name in names]


def test_every_estimator_says_what_it_says_of_arrays() -> None:
    evaluation = LogEvaluation(parse_formulas(*FORMULAS))
    evaluation.add(chunk())
    estimates = evaluation.result().estimates
    assert len(estimates) == len(FORMULAS)
    for (label, estimate), name in zip(estimates.items(), FORMULAS, strict=True):
        assert label.startswith(name)
        expected = getattr(evaluate, name)(*LOG)
        assert (estimate.n, estimate.warnings) == (2000, expected.warnings)
        if name != "replay":
            assert (estimate.value, estimate.stderr) == pytest.approx((expected.value, expected.stderr), rel=1e-12)


@pytest.mark.parametrize("interval", ["normal", "bootstrap"])
@pytest.mark.parametrize("missing_reward", [None, 0.25])
def test_parts_say_what_the_whole_says_in_whatever_order_they_are_merged(
    missing_reward: float | None, interval: Literal["normal", "bootstrap"]
) -> None:
    log = chunk(lost=LOST, supported=np.random.default_rng(6).random(2000), ts=np.arange(2000.0))

    def begin(first_row: int = 0) -> LogEvaluation:
        formulas = parse_formulas(*FORMULAS)
        return LogEvaluation(
            formulas,
            missing_reward=missing_reward,
            window_s=300.0,
            first_row=first_row,
            interval=interval,
            resamples=100,
        )

    whole, parts = begin(), []
    whole.add(log)
    for rows in np.split(np.arange(2000), [0, 1, 700, 1650]):  # the first part is empty
        before = np.arange(2000) < (rows[0] if len(rows) else 0)
        part = begin(int((before & ~np.isnan(log.reward)).sum() if missing_reward is None else before.sum()))
        part.add(log.select_rows(np.isin(np.arange(2000), rows)))
        stored = begin()
        stored.restore(json.loads(json.dumps(part.to_json())))
        parts.append(stored)
    expected = whole.result()
    for order in ((0, 1, 2, 3, 4), (4, 2, 0, 3, 1)):
        merged = begin()
        for index in order:
            merged.merge(parts[index])
        assert_same_result(merged.result(), expected)
    left, right, merged = begin(), begin(), begin()  # (1 + 2) + (4 + 3)
    for one, other in ((left, parts[1]), (left, parts[2]), (right, parts[4]), (right, parts[3])):
        one.merge(other)
    for each in (right, left, parts[0]):
        merged.merge(each)
    assert_same_result(merged.result(), expected)


def assert_same_result(found: LogEvaluationResult, expected: LogEvaluationResult) -> None:
    for name, estimate in expected.estimates.items():
        for field in ("value", "stderr", "low", "high", "ess", "mean_weight"):
            assert getattr(found.estimates[name], field) == pytest.approx(
                getattr(estimate, field), rel=1e-9, nan_ok=True
            ), (name, field)
    for field in ("decisions", "rewarded", "warnings", "weights"):
        assert getattr(found, field) == getattr(expected, field)
    assert found.supported_share == pytest.approx(expected.supported_share)
    assert (found.logged_mean, found.logged_stderr) == pytest.approx((expected.logged_mean, expected.logged_stderr))
    assert len(found.windows) == len(expected.windows) > 1
    for window, other_window in zip(found.windows, expected.windows, strict=True):
        assert window == pytest.approx(other_window, rel=1e-9)
    assert len(found.curve) == len(expected.curve)
    for one, other in zip(found.curve, expected.curve, strict=True):
        assert one == pytest.approx(other, rel=1e-9, nan_ok=True)


def test_parts_of_unequal_width_are_refused() -> None:
    one, other = LogEvaluation(parse_formulas("ips")), LogEvaluation(parse_formulas("ips"))
    one.add(chunk())
    other.add(Chunk(np.ones(1), np.ones(1), np.ones((1, 1)), np.zeros(1, np.intp)))
    with pytest.raises(EvaluationError, match="number of actions"):
        one.merge(other)


def test_decisions_without_a_reward_are_left_out_and_counted() -> None:
    evaluation = LogEvaluation(parse_formulas("snips", "dr"))
    evaluation.add(chunk(lost=LOST))
    result = evaluation.result()
    kept = Log(LOG.reward[~LOST], LOG.action[~LOST], LOG.propensity[~LOST], LOG.target[~LOST], LOG.q_hat[~LOST])
    assert result.estimates["snips"] == snips(*kept)
    assert result.estimates["dr"] == evaluate.dr(*kept)
    assert (result.decisions, result.rewarded) == (2000, 2000 - int(LOST.sum()))
    assert result.logged_mean == pytest.approx(kept.reward.mean())
    assert result.warnings == ()


def test_or_they_count_as_the_reward_that_is_given_for_them() -> None:
    evaluation = LogEvaluation(parse_formulas("snips"), missing_reward=-0.5)
    evaluation.add(chunk(lost=LOST))
    result = evaluation.result()
    filled = LOG._replace(reward=np.where(LOST, -0.5, LOG.reward))
    assert result.estimates["snips"] == snips(*filled)
    assert result.logged_mean == pytest.approx(filled.reward.mean())
    assert (result.decisions, result.rewarded) == (2000, 2000 - int(LOST.sum()))


def test_a_selective_arrival_is_said_unless_the_missing_are_given_a_value() -> None:
    for missing_reward, doubts in ((None, 1), (0.0, 0)):
        evaluation = LogEvaluation(parse_formulas("snips"), missing_reward=missing_reward)
        evaluation.add(chunk(lost=(LOG.action == 0) & LOST))
        found = [doubt for doubt in evaluation.result().warnings if "arrive selectively" in doubt.message]
        assert len(found) == doubts
        assert all(doubt.estimators == () for doubt in found)


@pytest.mark.parametrize(("changed", "message"), [({"propensity": 0.0}, "propensity"), ({"target": -0.5}, "target")])
def test_a_row_without_a_reward_is_checked_like_the_others(changed: dict[str, float], message: str) -> None:
    wrong = {"propensity": 0.5, "target": 0.5} | changed
    propensity, target = np.array([0.5, wrong["propensity"]]), np.array([0.5, wrong["target"]])
    with pytest.raises(EvaluationError, match=f"{message} is not in .* in row 1"):
        LogEvaluation(parse_formulas("ips")).add(Chunk(np.array([1.0, np.nan]), propensity, target))


def test_a_warning_of_all_estimators_is_said_once_and_that_of_one_with_its_name() -> None:
    evaluation = LogEvaluation(parse_formulas("ips", "snips", "replay"))
    evaluation.add(chunk(LOG._replace(propensity=LOG.propensity * 0.8)))
    doubts = evaluation.result().warnings
    assert [doubt.estimators for doubt in doubts if "the mean weight" in doubt.message] == [()]
    assert [doubt.estimators for doubt in doubts if "no row matches" in doubt.message] == [("replay",)]
    assert len({doubt.message for doubt in doubts}) == len(doubts)


def test_what_had_no_chance_in_the_log_is_a_doubt() -> None:
    for supported, told in ((0.75, 1), (1.0, 0)):
        evaluation = LogEvaluation(parse_formulas("ips"))
        evaluation.add(chunk(supported=np.full(2000, supported)))
        result = evaluation.result()
        assert result.supported_share == pytest.approx(supported)
        assert len([doubt for doubt in result.warnings if "25.00% of what the target does" in doubt.message]) == told
    evaluation = LogEvaluation(parse_formulas("ips"))
    evaluation.add(chunk())
    assert evaluation.result().supported_share is None


def test_weights_are_counted_by_powers_of_two() -> None:
    weight = np.array([0.0, 2.0**-9, 2.0**-7, 0.49, 0.5, 0.99, 1.0, 1.99, 2.0, 127.9, 128.0, 1e6])
    evaluation = LogEvaluation(parse_formulas("ips"))
    evaluation.add(Chunk(np.ones(12), np.full(12, 1e-6), np.minimum(weight * 1e-6, 1.0)))
    counts = dict(zip(WEIGHT_BINS, evaluation.result().weights, strict=True))
    found = {lower: count for lower, count in counts.items() if count}
    assert found == {"0": 1, "0.0078125": 2, "0.25": 1, "0.5": 2, "1": 2, "2": 1, "64": 1, "128": 2}


def test_a_log_that_says_nothing_is_an_error() -> None:
    evaluation = LogEvaluation(parse_formulas("ips"))
    with pytest.raises(EvaluationError, match="no decision"):
        evaluation.result()
    evaluation.add(chunk(lost=np.ones(2000, bool)))
    with pytest.raises(EvaluationError, match="none of 2000 decisions has a reward"):
        evaluation.result()


def test_an_estimator_with_a_model_needs_one() -> None:
    with pytest.raises(EvaluationError, match="dr needs q_hat"):
        LogEvaluation(parse_formulas("dr")).add(Chunk(np.ones(2), np.ones(2), np.ones(2)))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_reward_of_the_unrewarded_is_a_number(value: float) -> None:
    with pytest.raises(EvaluationError, match="finite"):
        LogEvaluation(parse_formulas("ips"), missing_reward=value)


def test_one_row_has_no_errors_and_says_so() -> None:
    evaluation = LogEvaluation(parse_formulas("ips"))
    evaluation.add(Chunk(np.ones(1), np.full(1, 0.5), np.full(1, 0.5)))
    result = evaluation.result()
    assert math.isnan(result.logged_stderr)
    assert math.isnan(result.estimates["ips"].stderr)


@pytest.mark.parametrize("interval", ["normal", "bootstrap"])
def test_memory_does_not_grow_with_the_log(interval: Any) -> None:
    """A million rows cost no more memory than a hundred thousand: sums are kept, and never rows."""

    def stream(chunks: int) -> Iterator[Chunk]:
        generator = np.random.default_rng(0)
        for _ in range(chunks):
            reward = generator.random(2000)
            yield Chunk(reward, np.full(2000, 0.5), generator.random(2000), supported=np.ones(2000))

    def measure_peak(chunks: int) -> int:
        tracemalloc.start()
        evaluation = LogEvaluation(parse_formulas("ips", "snips"), interval=interval)
        for each in stream(chunks):
            evaluation.add(each)
        assert evaluation.result().decisions == 2000 * chunks
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few, many = (50, 500) if interval == "normal" else (2, 6)
    assert measure_peak(many) < 1.2 * measure_peak(few) + 10_000
