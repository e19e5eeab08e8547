"""Arms without features: probabilities that follow what was earned, intervals that cover."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.bandit.arms import RewardSums, compute_thompson_probabilities
from bandstand.bandit.arrays import FloatArray

EARNINGS = st.builds(
    lambda count, mean: RewardSums(count, count * mean, float(count)), st.integers(0, 2000), st.floats(-1, 1)
)


def sum_rewards(rewards: FloatArray) -> RewardSums:
    return RewardSums(len(rewards), float(rewards.sum()), float(rewards @ rewards))


@given(st.lists(EARNINGS, min_size=1, max_size=6), st.floats(0, 1))
def test_it_is_a_distribution_with_a_floor(arms: list[RewardSums], floor: float) -> None:
    played = compute_thompson_probabilities(arms, floor)
    assert played.shape == (len(arms),)
    assert abs(played.sum() - 1) < 1e-9
    assert (played >= floor / len(arms) - 1e-12).all()


@given(st.lists(EARNINGS, min_size=2, max_size=5))
def test_the_order_of_the_arms_does_not_matter(arms: list[RewardSums]) -> None:
    order = list(reversed(range(len(arms))))
    np.testing.assert_allclose(
        compute_thompson_probabilities([arms[i] for i in order], 0.1),
        compute_thompson_probabilities(arms, 0.1)[order],
        atol=1e-12,
    )


def test_arms_that_earned_alike_are_played_alike() -> None:
    np.testing.assert_allclose(compute_thompson_probabilities([RewardSums(5, 1.0, 3.0)] * 4, 0.0), 0.25)
    np.testing.assert_allclose(compute_thompson_probabilities([RewardSums()] * 3, 0.05), 1 / 3)


def test_two_arms_have_a_closed_form() -> None:
    """P(a > b) = Φ((μa − μb)/√(σa² + σb²))."""
    for a, b in [
        (RewardSums(10, 4.0), RewardSums(3, -1.0)),
        (RewardSums(200, 20.0), RewardSums()),
        (RewardSums(), RewardSums(1, 1)),
    ]:
        gap = a.total / (a.count + 1) - b.total / (b.count + 1)
        exact = 0.5 * (1 + math.erf(gap / math.sqrt(2 * (1 / (a.count + 1) + 1 / (b.count + 1)))))
        assert compute_thompson_probabilities([a, b], 0.0)[0] == pytest.approx(exact, abs=2e-3)


def test_frequencies_are_those_of_posterior_draws() -> None:
    arms = [RewardSums(10, 3.0), RewardSums(30, 12.0), RewardSums(2, -1.0), RewardSums()]
    draws = np.random.default_rng(3).normal(
        [arm.total / (arm.count + 1) for arm in arms], [1 / math.sqrt(arm.count + 1) for arm in arms], (200_000, 4)
    )
    frequencies = np.bincount(draws.argmax(axis=1), minlength=4) / len(draws)
    np.testing.assert_allclose(compute_thompson_probabilities(arms, 0.0), frequencies, atol=6e-3)


def test_what_earns_more_is_played_more() -> None:
    played = [
        compute_thompson_probabilities([RewardSums(20, total), RewardSums(20, 2.0)], 0.05)[0]
        for total in (-10.0, 0.0, 2.0, 5.0, 15.0)
    ]
    assert played == sorted(played)
    assert played[2] == pytest.approx(0.5)
    assert played[-1] > 0.95


def test_it_finds_the_best_of_three_and_keeps_looking() -> None:
    """Five hundred plays over 12 seeds: the best arm gets most of them, and every arm some."""
    means, shares = np.array([0.0, 0.5, 0.1]), []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        arms = [RewardSums() for _ in means]
        plays = np.zeros(3)
        for _ in range(500):
            arm = int(rng.choice(3, p=compute_thompson_probabilities(arms, 0.05)))
            plays[arm] += 1
            reward = 1.0 if rng.random() < (1 + means[arm]) / 2 else -1.0
            arms[arm] = arms[arm] + RewardSums(1, reward, 1.0)
        assert (plays >= 3).all()
        shares.append(plays[1] / 500)
    assert np.mean(shares) > 0.7


def test_there_must_be_an_arm() -> None:
    with pytest.raises(ValueError, match="an arm"):
        compute_thompson_probabilities([], 0.05)


def test_a_mean_and_its_interval() -> None:
    assert (RewardSums().mean, RewardSums().compute_interval()) == (None, None)
    assert (RewardSums(1, 0.5, 0.25).mean, RewardSums(3, 1.5, 0.75).compute_interval()) == (0.5, None)
    assert RewardSums(4, 2.0, 1.0).compute_interval() == (0.5, 0.5)
    reach = 2.306 * math.sqrt((3.0 - 0.9 * 0.1) / 8 / 9)  # Student's t of eight degrees of freedom
    assert RewardSums(9, 0.9, 3.0).compute_interval() == pytest.approx((0.1 - reach, 0.1 + reach), abs=2e-3)
    assert RewardSums(4, 0.0, 4.0).compute_interval() == (-1.0, 1.0)


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    actions, shares = np.array([-1.0, 0.1, 1.0, 0.6]), np.array([0.5, 0.2, 0.2, 0.1])
    mean = float(actions @ shares)
    for count in (20, 200):
        intervals = [
            sum_rewards(rng.choice(actions, count, p=shares)).compute_interval() or (0, 0) for _ in range(2000)
        ]
        covered = np.mean([low <= mean <= high for low, high in intervals])
        assert 0.925 < covered < 0.975


def test_earnings_add_up() -> None:
    assert RewardSums(1, 0.5, 0.25) + RewardSums(2, -1.0, 0.5) == RewardSums(3, -0.5, 0.75)
