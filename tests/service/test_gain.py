"""Gain: what the sums say, when it is said, and how long it takes."""

import math

import numpy as np
import pytest

from bandstand.bandit.confidence_sequence import compute_half_width, find_factor
from bandstand.service.gain import build_gain_report, build_span
from bandstand.store.tables.gains import GainDay, GainSums, compute_terms

DAY = 20_000


def build_day(day: int, n: int, *, gain: float, policy: str = "bandit", floor: float = 0.5, seed: int = 0) -> GainDay:
    """A day of a policy that takes the second of two candidates but for its floor; it is better by twice the gain."""
    rng = np.random.default_rng([seed, day])
    p = np.tile([floor / 2.0, 1.0 - floor / 2.0], (n, 1))
    picks = (rng.random(n) < p[:, 1]).astype(int)
    rewards = 2.0 * gain / (1.0 - floor) * picks + rng.normal(0.0, 0.1, n)
    return GainDay(day, policy, n, *compute_terms(np.zeros((n, 2)), p, picks, rewards).sum(axis=0).tolist()[1:])


def report(*days: GainDay, today: int = DAY + 10, **options: int | str) -> str:
    return build_gain_report(GainSums(days, 1), today=today, days=5, **options).sentence  # type: ignore[arg-type]


def test_it_says_more_less_or_too_early() -> None:
    assert "nothing" in report().lower()
    assert "earns 0.1" in report(build_day(DAY, 5_000, gain=0.1))
    assert "loses 0.1" in report(build_day(DAY, 5_000, gain=-0.1))
    early = report(*(build_day(DAY + day, 100, gain=0.002) for day in range(10)))
    assert early.startswith("Too early to tell: 1,000 rewarded decisions")
    assert "at this rate it would be known in about" in early


def test_what_a_holdout_gets_is_not_the_bandit_s() -> None:
    bandit, control = (
        build_day(DAY, 2_000, gain=0.1),
        build_day(DAY, 500, gain=0.0, policy="uniform-v1", floor=1.0 - 1e-9),
    )
    found = build_gain_report(GainSums([bandit, control], 1), today=DAY, days=3, control="uniform-v1")
    assert found.all is not None
    assert found.all.rewarded == 2_000
    assert found.policies.keys() == {"bandit", "uniform-v1"}
    assert [each.rewarded for each in found.days] == [2_000]


def test_of_candidates_without_a_chance_it_says_that_it_cannot_tell() -> None:
    span = build_span([build_day(DAY, 2_000, gain=0.1, floor=0.0)], DAY)
    assert span is not None
    random, first = span.targets["random"], span.targets["first"]
    assert not random.supported
    assert not first.supported
    assert {random.verdict, first.verdict} == {"early"}
    assert random.known_in_days is None
    assert "no chance" in random.warnings[0]


def test_before_a_heavy_pick_has_come_the_interval_knows_that_it_may() -> None:
    """Nobody picked the first, so neither the weights nor the terms show what such a pick would do."""
    p, n = np.tile([0.001, 0.999], (400, 1)), 400
    terms = compute_terms(np.zeros((n, 2)), p, np.ones(n, int), np.full(n, 0.5)).sum(axis=0).tolist()
    span = build_span([GainDay(DAY, "bandit", n, *terms[1:])], DAY)
    assert span is not None
    first = span.targets["first"]
    assert first.mean_weight == 0.0
    assert first.expected_ess < 1.0
    assert first.verdict == "early"
    assert first.high is not None
    assert first.high - first.gain > 1.0


def test_a_span_is_of_its_days_and_the_cumulative_gain_is_their_sum() -> None:
    days = [build_day(DAY + day, 300, gain=0.1) for day in range(4)]
    found = build_gain_report(GainSums(days, 1), today=DAY + 4, days=2, since=DAY + 1, until=DAY + 3)
    assert found.all is not None
    assert found.all.rewarded == 900
    assert [each.rewarded for each in found.days] == [300, 300]
    total = found.days[-1].cumulative["random"]
    assert total.value == pytest.approx(found.all.rewarded * found.all.targets["random"].gain)


@pytest.mark.parametrize("variance", [1e-6, 1e-3, 0.5])
def test_the_margin_is_that_of_the_paper(variance: float) -> None:
    sigma, tau, alpha = 0.7, 0.1, 0.05
    t, rho = sigma**2 / variance, tau / sigma
    paper = sigma * math.sqrt(2 * (t * rho**2 + 1) / (t**2 * rho**2) * math.log(math.sqrt(t * rho**2 + 1) / alpha))
    assert compute_half_width(variance, scale=tau) == pytest.approx(paper)


def test_so_many_times_the_observations_make_it_so_narrow() -> None:
    factor = find_factor(1e-3, 0.02)
    assert compute_half_width(1e-3 / factor) == pytest.approx(0.02)
    assert find_factor(1e-3, 0.0) == math.inf
