"""Metrics against numbers worked out by hand, and the laws between them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.judge.training import metrics
from tests.judge.given import LAW

TRUTH = ["n", "n", "n", "o", "o", "o", "o", "p", "p", "p"]
SAID = ["n", "n", "o", "o", "o", "o", "p", "p", "p", "n"]

NAMES = st.lists(st.tuples(st.sampled_from("nop"), st.sampled_from("nop")), min_size=1, max_size=40)


def test_a_worked_example() -> None:
    assert metrics.compute_confusion(TRUTH, SAID) == {
        "n": {"n": 2, "o": 1, "p": 0},
        "o": {"n": 0, "o": 3, "p": 1},
        "p": {"n": 1, "o": 0, "p": 2},
    }
    assert metrics.compute_accuracy(TRUTH, SAID) == 0.7
    assert metrics.compute_constant_accuracy(TRUTH, "o") == 0.4
    assert metrics.compute_precision(TRUTH, SAID, "n") == pytest.approx(2 / 3)
    assert metrics.compute_recall(TRUTH, SAID, "o") == 0.75
    assert metrics.compute_macro_f1(TRUTH, SAID) == pytest.approx((2 / 3 + 3 / 4 + 2 / 3) / 3)
    assert metrics.compute_kappa(TRUTH, SAID) == pytest.approx((0.7 - 0.34) / (1 - 0.34))
    assert metrics.compute_f1(TRUTH, SAID, "o") == pytest.approx(3 / 4)
    assert metrics.compute_false_alarm_rate(TRUTH, SAID, "o") == pytest.approx(1 / 6)
    assert metrics.compute_f1(TRUTH, SAID, "x") is None
    assert metrics.compute_false_alarm_rate(["n"], ["o"], "n") is None


def test_macro_f1_counts_names_that_were_only_said() -> None:
    assert metrics.compute_macro_f1(["n", "n"], ["n", "x"]) == pytest.approx((2 / 3 + 0) / 2)


@LAW
@given(NAMES)
def test_perfect_and_chance_agreement(pairs: list[tuple[str, str]]) -> None:
    truth = [true for true, _ in pairs]
    assert metrics.compute_macro_f1(truth, truth) == metrics.compute_accuracy(truth, truth) == 1
    assert metrics.compute_kappa(truth, truth) == (1.0 if len(set(truth)) > 1 else None)
    if len(set(truth)) > 1:
        assert metrics.compute_kappa(truth, [truth[0]] * len(truth)) == pytest.approx(0)


@LAW
@given(NAMES)
def test_ratios_stay_in_range_and_agree_with_the_confusion(pairs: list[tuple[str, str]]) -> None:
    truth, said = [true for true, _ in pairs], [name for _, name in pairs]
    matrix = metrics.compute_confusion(truth, said)
    assert sum(sum(row.values()) for row in matrix.values()) == len(pairs)
    assert sum(matrix[name][name] for name in matrix) / len(pairs) == metrics.compute_accuracy(truth, said)
    f1, kappa = metrics.compute_macro_f1(truth, said), metrics.compute_kappa(truth, said)
    assert f1 is not None
    assert 0 <= f1 <= 1
    assert kappa is None or -1 <= kappa <= 1 + 1e-12


def test_nothing_to_measure_is_none_and_not_zero() -> None:
    assert metrics.compute_accuracy([], []) is metrics.compute_macro_f1([], []) is metrics.compute_kappa([], []) is None
    assert metrics.compute_precision(["n"], ["o"], "n") is metrics.compute_recall(["o"], ["o"], "n") is None
    assert metrics.compute_calibration_error([], []) is metrics.compute_sign_flip_rate([], []) is None
    assert metrics.compute_kappa(["o", "o"], ["o", "o"]) is None


def test_the_calibration_error_is_the_gap_weighted_by_bin() -> None:
    confidences = [0.95, 0.95, 0.95, 0.95, 0.55, 0.55]
    correct = [True, True, True, False, True, False]
    assert metrics.compute_calibration_error(confidences, correct) == pytest.approx((4 * 0.2 + 2 * 0.05) / 6)
    assert metrics.compute_calibration_error([1.0, 1.0], [True, True]) == 0
    assert metrics.compute_calibration_error([1.0, 0.0], [False, True]) == 1


def test_a_sign_flip_teaches_the_reverse() -> None:
    polarities = ["negative", "negative", "positive", "positive", "other", "negative"]
    rewards = [0.1, -0.8, -0.6, 0.0, 0.8, 0.0]
    assert metrics.compute_sign_flip_rate(polarities, rewards) == pytest.approx(2 / 6)


@pytest.mark.parametrize(
    "measure", [metrics.compute_accuracy, metrics.compute_confusion, metrics.compute_sign_flip_rate]
)
def test_lists_of_different_lengths_are_a_mistake(measure: object) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        measure(["n", "o"], ["n"])  # type: ignore[operator]  # each takes two lists
