import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.errors import ConfigurationError, InvalidRequestError
from bandstand.judge.calibration import Calibration, CalibrationExample, Calibrations, Method, fit_calibration, pick_tau
from bandstand.judge.training.metrics import compute_calibration_error
from tests.judge.given import LAW

VERDICTS = st.lists(
    st.builds(CalibrationExample, st.floats(0, 1), st.booleans(), st.booleans(), st.booleans()),
    min_size=20,
    max_size=60,
)
METHODS: list[Method] = ["isotonic", "platt"]


def fit_example(scored: list[CalibrationExample], method: Method = "isotonic", target: float = 0.7) -> Calibration:
    return fit_calibration(
        scored, tier="local", model="m@1", taxonomy="followup-v1", method=method, target_precision=target
    )


def build_boastful(count: int, seed: int) -> list[CalibrationExample]:
    """A judge that says 0.99 where it is right four times in five, and so on down."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.2, 0.9, count)
    right = rng.random(count) < truth
    stated = 1 - (1 - truth) ** 3
    return [
        CalibrationExample(float(c), bool(r), negative=True, truly_negative=bool(r))
        for c, r in zip(stated, right, strict=True)
    ]


@pytest.mark.parametrize("method", METHODS)
def test_confidence_becomes_how_often_it_is_right(method: Method) -> None:
    calibration = fit_example(build_boastful(4_000, seed=5), method)
    fresh = build_boastful(4_000, seed=6)
    before = compute_calibration_error([s.confidence for s in fresh], [s.correct for s in fresh])
    after = compute_calibration_error([calibration(s.confidence) for s in fresh], [s.correct for s in fresh])
    assert before is not None
    assert after is not None
    assert before > 0.2
    assert after < 0.05


@pytest.mark.parametrize("method", METHODS)
@LAW
@given(scored=VERDICTS)
def test_it_is_monotone_and_stays_in_range(method: Method, scored: list[CalibrationExample]) -> None:
    calibration = fit_example(scored, method)
    values = [calibration(step / 50) for step in range(51)]
    assert all(0 <= value <= 1 for value in values)
    assert all(low <= high + 1e-12 for low, high in pairwise(values))


@LAW
@given(VERDICTS)
def test_isotonic_is_the_best_monotone_map_in_least_squares(scored: list[CalibrationExample]) -> None:
    """By the known formula: the fit at x is the greatest over l of the least over r of the means of blocks l…r."""
    calibration = fit_example(scored)
    ordered = sorted(scored, key=lambda s: s.confidence)
    places = sorted({s.confidence for s in scored})

    def mean(low: float, high: float) -> float:
        block = [s.correct for s in ordered if low <= s.confidence <= high]
        return sum(block) / len(block)

    for x in places[:: max(1, len(places) // 6)]:
        best = max(min(mean(low, high) for high in places if high >= x) for low in places if low <= x)
        assert calibration(x) == pytest.approx(best)


@pytest.mark.parametrize("method", METHODS)
def test_a_document_gives_it_back_and_is_named_by_its_content(method: Method) -> None:
    calibration = fit_example(build_boastful(200, seed=7), method)
    document = json.loads(json.dumps(calibration.as_json(), allow_nan=False))
    again = Calibration.from_json(document)
    assert again == calibration
    assert again(0.7) == calibration(0.7)
    assert calibration.name.startswith(f"local-{method}@")
    assert fit_example(build_boastful(200, seed=8), method).name != calibration.name


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"tau": 0.1}, {"points": []}, {"points": [[1]]}, {"method": "magic"}, {"name": "mine"}]
)
def test_a_document_that_was_changed_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Calibration.from_json(fit_example(build_boastful(200, seed=7)).as_json() | change)


def test_a_document_that_lacks_something_is_refused() -> None:
    document = fit_example(build_boastful(200, seed=7)).as_json()
    del document["taxonomy"]
    with pytest.raises(ConfigurationError, match="incomplete"):
        Calibration.from_json(document)


def test_tau_is_the_least_threshold_that_is_precise_enough() -> None:
    negatives = [(0.9, True)] * 10 + [(0.8, False)] * 2 + [(0.7, True)] * 4 + [(0.6, False)] * 20
    assert pick_tau(negatives, 0.8) == 0.7
    assert pick_tau(negatives, 0.9) == 0.9
    assert pick_tau(negatives, 0.38) == 0.6


def test_no_threshold_is_better_than_one_nobody_can_trust() -> None:
    assert pick_tau([(0.9, True)] * 9, 0.5) is None
    assert pick_tau([(0.9, False)] * 30, 0.5) is None
    assert pick_tau([], 0.5) is None


@pytest.mark.parametrize("method", METHODS)
def test_the_picked_threshold_reaches_its_target_where_it_was_fitted(method: Method) -> None:
    scored = build_boastful(2_000, seed=9)
    calibration = fit_example(scored, method, target=0.75)
    assert calibration.tau is not None
    above = [s.truly_negative for s in scored if calibration(s.confidence) >= calibration.tau]
    assert sum(above) / len(above) >= 0.75
    assert 10 <= len(above) < len(scored)


def test_a_judge_that_is_surest_where_it_is_wrong_is_trusted_nowhere_in_particular() -> None:
    scored = [CalibrationExample(0.9, False, False, False)] * 30 + [CalibrationExample(0.2, True, False, False)] * 30
    platt = fit_example(scored, "platt")
    assert platt(0.1) == platt(0.99) == pytest.approx(0.5)


@pytest.mark.parametrize("target", [0, -1, 1.1, math.nan, True])
def test_a_target_that_is_no_share_is_refused(target: float) -> None:
    with pytest.raises(InvalidRequestError, match="target precision"):
        fit_example(build_boastful(50, seed=1), target=target)


def test_too_few_verdicts_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="at least 20"):
        fit_example(build_boastful(19, seed=1))


def test_a_deployments_calibrations_are_one_a_tier_and_taxonomy() -> None:
    first, second = fit_example(build_boastful(100, seed=1)), fit_example(build_boastful(100, seed=2))
    both = Calibrations().with_calibration(first).with_calibration(replace(first, tier="llm"))
    assert [one.tier for one in both.entries] == ["local", "llm"]
    assert both.with_calibration(second).entries == (replace(first, tier="llm"), second)
    assert Calibrations.from_json(json.loads(json.dumps(both.as_json()))) == both
