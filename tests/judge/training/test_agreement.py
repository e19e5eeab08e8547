"""Agreement: Cohen's own example, the bounds, and intervals that hold what they are of."""

import numpy as np
import pytest

from bandstand.judge.training.agreement import MIN_LABELLED, compute_agreement, compute_share


def test_kappa_is_cohens() -> None:
    # Cohen (1960), table 1: proportions of two judges over three categories, of 200 cases; κ = .492 there.
    table = {("a", "a"): 88, ("a", "b"): 14, ("a", "c"): 18, ("b", "a"): 10, ("b", "b"): 40, ("b", "c"): 10}
    table |= {("c", "a"): 2, ("c", "b"): 6, ("c", "c"): 12}
    pairs = [pair for pair, count in table.items() for _ in range(count)]
    found = compute_agreement(pairs)
    assert found.n == 200
    assert found.kappa == pytest.approx(0.492, abs=5e-4)
    assert found.kappa_low is not None
    assert found.kappa_high is not None
    assert found.kappa_low < 0.492 < found.kappa_high
    assert found.kappa_high - found.kappa_low == pytest.approx(2 * 1.96 * 0.05, rel=0.2)
    assert found.share is not None
    assert found.share.value == pytest.approx(0.70)
    assert {name: (share.value, share.n) for name, share in found.by_label.items()} == {
        "a": (0.88, 100),
        "b": (40 / 60, 60),
        "c": (0.3, 40),
    }


def test_labels_at_random_agree_no_more_than_by_chance() -> None:
    random = np.random.default_rng(4)
    pairs = list(zip(random.choice(["x", "y", "z"], 3000), random.choice(["x", "y"], 3000), strict=True))
    found = compute_agreement(pairs)
    assert found.kappa == pytest.approx(0.0, abs=0.05)


def test_few_labels_have_no_kappa_and_one_label_has_none_either() -> None:
    assert compute_agreement([]).share is None
    few = compute_agreement([("a", "a")] * (MIN_LABELLED - 1))
    assert (few.kappa, few.n) == (None, MIN_LABELLED - 1)
    assert compute_agreement([("a", "a")] * 50).kappa is None
    assert compute_agreement([("a", "a"), ("b", "b")] * 25).kappa == 1.0


def test_a_share_has_the_interval_of_wilson() -> None:
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I: 81 of 263 and 0 of 20.
    share = compute_share(81, 263)
    assert (round(share.low, 4), round(share.high, 4)) == (0.2553, 0.3662)
    none = compute_share(0, 20)
    assert (none.low, round(none.high, 4)) == (0.0, 0.1611)
