import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandstand import evaluate
from bandstand.evaluate import (
    FORMULAS,
    Estimate,
    EvaluationError,
    clipped_dr,
    clipped_ips,
    dm,
    dr,
    dr_os,
    ips,
    replay,
    sg_ips,
    sndr,
    snips,
    switch_dr,
)
from tests.evaluate.world import Log, World

ORACLE = json.loads((Path(__file__).parent / "data" / "ope_oracle.json").read_text())
ORACLE_CASES = [(case, key) for case in ORACLE["cases"] for key in case["expected"]]
ESTIMATORS: dict[str, Callable[..., Estimate]] = {name: getattr(evaluate, name) for name in FORMULAS}
WORLD = World()

OBP_NAMES = {
    "ipw": "ips",
    "snipw": "snips",
    "dm": "dm",
    "dr": "dr",
    "sndr": "sndr",
    "rm": "replay",
    "ipw_clip": "clipped_ips",
    "dr_clip": "clipped_dr",
    "switch-dr": "switch_dr",
    "dr-os": "dr_os",
    "sg-ipw": "sg_ips",
}


def estimate_as_obp(key: str, log: Log) -> Estimate:
    """Call the estimator that the oracle knows as ``name`` or ``name_parameter``."""
    if key in OBP_NAMES:
        return ESTIMATORS[OBP_NAMES[key]](*log)
    name, parameter = key.rsplit("_", 1)
    return ESTIMATORS[OBP_NAMES[name]](*log, float(parameter))


@pytest.mark.parametrize(("case", "key"), ORACLE_CASES, ids=[f"{case['name']}-{key}" for case, key in ORACLE_CASES])
def test_every_estimator_equals_open_bandit_pipeline(case: dict[str, Any], key: str) -> None:
    log = Log(*(np.array(case[name]) for name in ("reward", "action", "pscore", "action_dist", "q_hat")))
    estimate = estimate_as_obp(key, log)
    if key == "rm" and case["name"].startswith("on_policy"):
        assert math.isnan(estimate.value)  # obp says 0.0 where no row matches
        assert any("no row matches" in warning for warning in estimate.warnings)
    else:
        assert estimate.value == pytest.approx(case["expected"][key], rel=0, abs=1e-12)


def test_the_oracle_covers_every_estimator() -> None:
    assert set(OBP_NAMES.values()) == set(FORMULAS)


# Three rows whose weights are 2, 2 and 1.5, whose modelled values under the target are 1/2, 1/4 and 3/8, and whose
# residuals are 1/2, -1/4 and 1/2.
HAND = Log(
    np.array([1.0, 0.0, 1.0]),
    np.array([0, 1, 1]),
    np.array([0.5, 0.25, 0.5]),
    np.array([[1.0, 0.0], [0.5, 0.5], [0.25, 0.75]]),
    np.array([[0.5, 0.0], [0.25, 0.25], [0.0, 0.5]]),
)


def test_hand_computed_values() -> None:
    expected = {
        ips(*HAND): 3.5 / 3,
        snips(*HAND): 3.5 / 5.5,
        dm(*HAND): 1.125 / 3,
        dr(*HAND): (1.125 + 1 - 0.5 + 0.75) / 3,
        sndr(*HAND): 1.125 / 3 + 1.25 / 5.5,
        switch_dr(*HAND, tau=1.5): (1.125 + 0.75) / 3,
        dr_os(*HAND, lambda_=4): (1.125 + 0.5 - 0.25 + 0.48) / 3,
        clipped_ips(*HAND, clip=1.5): 3 / 3,
        clipped_dr(*HAND, clip=1.5): (1.125 + 0.75 - 0.375 + 0.75) / 3,
        sg_ips(*HAND, lambda_=0.5): (4 / 3 + 1.2) / 3,
        replay(*HAND): 1.0,
    }
    for estimate, value in expected.items():
        assert estimate.value == pytest.approx(value, rel=1e-14)
        assert estimate.n == 3
        assert estimate.mean_weight == pytest.approx(5.5 / 3, rel=1e-14)
    assert ips(*HAND).ess == pytest.approx(5.5**2 / (4 + 4 + 2.25), rel=1e-14)
    assert replay(*HAND).ess == 1


def _compute_textbook(name: str, log: Log, parameter: float) -> float:
    """Each estimator as its paper writes it, one row at a time."""
    n = len(log.reward)
    weighted, weights, modelled = [], [], []
    for r, a, p, target, q in zip(*log, strict=True):
        w = target[a] / p
        if name in {"clipped_ips", "clipped_dr"}:
            w = min(w, parameter)
        if name == "switch_dr" and w > parameter:
            w = 0.0
        if name == "dr_os":
            w = parameter * w / (w * w + parameter)
        if name == "sg_ips":
            w = w / (1 - parameter + parameter * w)
        if name == "replay":
            w = 1.0 if target[a] == 1 else 0.0
        has_model = name in {"dm", "dr", "sndr", "switch_dr", "dr_os", "clipped_dr"}
        weighted.append(w * (r - q[a] if has_model else r))
        weights.append(w)
        modelled.append(sum(pi * value for pi, value in zip(target, q, strict=True)) if has_model else 0.0)
    if name == "dm":
        return math.fsum(modelled) / n
    if name in {"snips", "sndr", "replay"}:
        return math.fsum(weighted) / math.fsum(weights) + math.fsum(modelled) / n
    return (math.fsum(weighted) + math.fsum(modelled)) / n


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("parameter", [0.3, 0.9])
def test_every_estimator_is_its_textbook_formula(name: str, parameter: float) -> None:
    log = WORLD.draw_log(700, seed=3, target=0.5 * (WORLD.target + WORLD.pure) if name != "replay" else WORLD.pure)
    own = [] if FORMULAS[name].parameter is None else [parameter]
    assert ESTIMATORS[name](*log, *own).value == pytest.approx(_compute_textbook(name, log, parameter), rel=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_an_estimators_own_parameter_goes_by_its_name_and_others_are_refused(name: str) -> None:
    own = FORMULAS[name].parameter
    if own is not None:
        assert ESTIMATORS[name](*LOG, **{own.name: 0.25}) == ESTIMATORS[name](*LOG, 0.25)
        assert ESTIMATORS[name](*LOG, **{own.name: own.default}) == ESTIMATORS[name](*LOG)
    for other in {"clip", "tau", "lambda_"} - {own and own.name}:
        with pytest.raises(TypeError, match=other):
            ESTIMATORS[name](*LOG, **{other: 0.25})


@pytest.mark.parametrize("name", FORMULAS)
def test_every_estimator_says_what_it_is_and_where_it_comes_from(name: str) -> None:
    assert "Source: " in str(ESTIMATORS[name].__doc__)


def test_on_policy_ips_is_the_mean_reward() -> None:
    log = WORLD.draw_log(1000, seed=0, target=WORLD.logger)
    estimate = ips(*log)
    assert estimate.value == pytest.approx(log.reward.mean(), rel=1e-13)
    assert estimate.stderr == pytest.approx(statistics.stdev(log.reward) / math.sqrt(1000), rel=1e-12)
    assert estimate.ess == pytest.approx(1000, rel=1e-12)
    assert estimate.warnings == ()


LOG = WORLD.draw_log(500, seed=1)


@pytest.mark.parametrize(
    ("limit", "same_as"),
    [
        (clipped_ips(*LOG, clip=math.inf), ips(*LOG)),
        (clipped_dr(*LOG, clip=math.inf), dr(*LOG)),
        (clipped_dr(*LOG, clip=0), dm(*LOG)),
        (switch_dr(*LOG, tau=math.inf), dr(*LOG)),
        (switch_dr(*LOG, tau=0), dm(*LOG)),
        (dr_os(*LOG, lambda_=math.inf), dr(*LOG)),
        (dr_os(*LOG, lambda_=0), dm(*LOG)),
        (sg_ips(*LOG, lambda_=0), ips(*LOG)),
        (dr(*LOG._replace(q_hat=np.zeros_like(LOG.q_hat))), ips(*LOG)),
        (sndr(*LOG._replace(q_hat=np.zeros_like(LOG.q_hat))), snips(*LOG)),
    ],
    ids=[
        "clipped_ips",
        "clipped_dr",
        "clip=0",
        "switch_dr",
        "tau=0",
        "dr_os",
        "lambda=0",
        "sg_ips",
        "dr q=0",
        "sndr q=0",
    ],
)
def test_limits(limit: Estimate, same_as: Estimate) -> None:
    assert limit.value == pytest.approx(same_as.value, rel=1e-13)
    assert limit.stderr == pytest.approx(same_as.stderr, rel=1e-12)


@pytest.mark.parametrize(("lambda_", "bound"), [(1e12, 1e-9), (1e-12, 1e-9)])
def test_shrinkage_approaches_its_limits(lambda_: float, bound: float) -> None:
    limit = dr(*LOG) if lambda_ > 1 else dm(*LOG)
    assert abs(dr_os(*LOG, lambda_=lambda_).value - limit.value) < bound


def test_subgaussian_at_one_gives_each_supported_row_a_weight_of_one() -> None:
    log = WORLD.draw_log(400, seed=2, target=WORLD.pure)
    supported = log.target[np.arange(400), log.action] > 0
    assert sg_ips(*log, lambda_=1).value == pytest.approx((supported * log.reward).mean(), rel=1e-13)


def test_shifting_the_reward_shifts_the_self_normalised() -> None:
    for estimator in (snips, replay):
        log = WORLD.draw_log(500, seed=4, logger=WORLD.uniform, target=WORLD.pure)
        shifted = estimator(*log._replace(reward=log.reward + 3))
        assert shifted.value == pytest.approx(estimator(*log).value + 3, rel=1e-12)
        assert shifted.stderr == pytest.approx(estimator(*log).stderr, rel=1e-9)


def test_unbiased_over_many_logs_and_better_with_the_truth_as_model() -> None:
    truth = WORLD.value(WORLD.target)
    logs = [WORLD.draw_log(200, seed, model=WORLD.reward) for seed in range(1000)]
    plain = np.array([ips(*log).value for log in logs])
    robust = np.array([dr(*log).value for log in logs])
    constant = np.array([dr(*log._replace(q_hat=np.full_like(log.q_hat, -2.0))).value for log in logs])
    for values in (plain, robust, constant):  # a wrong model costs variance, never bias
        assert abs(values.mean() - truth) < 4 * values.std() / math.sqrt(1000)
    assert robust.var() < 0.8 * plain.var()
    assert constant.var() > plain.var()


def test_a_wrong_propensity_is_repaired_by_a_right_model() -> None:
    truth = WORLD.value(WORLD.target)
    logs = [WORLD.draw_log(400, seed, model=WORLD.reward) for seed in range(200)]
    wrong = [log._replace(propensity=0.8 * log.propensity) for log in logs]
    robust = np.array([dr(*log).value for log in wrong])
    plain = np.array([ips(*log).value for log in wrong])
    assert abs(robust.mean() - truth) < 4 * robust.std() / math.sqrt(200)
    assert abs(plain.mean() - truth) > 10 * plain.std() / math.sqrt(200)


def test_replay_of_a_uniform_log_is_unbiased() -> None:
    values = [replay(*WORLD.draw_log(200, seed, logger=WORLD.uniform, target=WORLD.pure)).value for seed in range(500)]
    assert abs(np.mean(values) - WORLD.value(WORLD.pure)) < 4 * np.std(values) / math.sqrt(500)


@pytest.mark.parametrize("name", ["ips", "snips", "clipped_ips", "sg_ips", "replay"])
def test_the_probability_of_the_logged_action_is_enough_without_a_model(name: str) -> None:
    log = WORLD.draw_log(500, seed=5, target=WORLD.pure)
    chosen = log.target[np.arange(500), log.action]
    assert ESTIMATORS[name](log.reward, None, log.propensity, chosen) == ESTIMATORS[name](*log[:4])


@pytest.mark.parametrize("name", ["dm", "dr", "sndr", "switch_dr", "dr_os", "clipped_dr"])
def test_a_model_is_asked_for_by_those_that_need_one(name: str) -> None:
    with pytest.raises(EvaluationError, match=f"{name} needs q_hat"):
        ESTIMATORS[name](*LOG[:4])


def test_without_a_model_q_hat_is_not_read() -> None:
    assert ips(*LOG[:4], q_hat=np.full((1, 1), np.nan)) == ips(*LOG[:4])


def test_arguments_are_not_changed_nor_kept() -> None:
    log = WORLD.draw_log(50, seed=6)
    before = [column.copy() for column in log]
    for estimator in ESTIMATORS.values():
        estimator(*log)
    for column, copy in zip(log, before, strict=True):
        assert np.array_equal(column, copy)


def test_lists_integers_float32_and_broadcast_targets_are_taken() -> None:
    log = WORLD.draw_log(300, seed=8, target=np.tile(WORLD.target[0], (5, 1)))
    expected = ips(*log).value
    spread = np.broadcast_to(WORLD.target[0], (300, 4))
    assert ips(log.reward.astype(int), log.action, log.propensity, spread).value == pytest.approx(expected, rel=1e-13)
    assert ips(*(column.tolist() for column in log)).value == expected
    assert ips(*log[:3], log.target.astype(np.float32)).value == pytest.approx(expected, rel=1e-6)
