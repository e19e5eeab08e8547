"""Reactions: the contract's engagement, shares, dwells and rewards to the letter, against exact fractions."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from bandstand.simulate.world.persona import Persona
from bandstand.simulate.world.reaction import compute_engagement, compute_expected_reward, to_reaction

PERSONAS = [
    Persona(
        name="p",
        prefers_high_priority=priority,
        prefers_overdue=overdue,
        morning_active=morning,
        evening_active=evening,
    )
    for priority in (-1.0, 0.0, 0.5, 0.6, 1.0)
    for overdue in (-1.0, 0.0, 0.6, 1.0)
    for morning in (False, True)
    for evening in (False, True)
]


def contract_engagement(persona: Persona, hour: int, priority: int, overdue: bool) -> Fraction:
    """State A8's engagement in exact arithmetic on the preferences' decimal values."""
    e = Fraction("0.35")
    e += (Fraction(priority - 1, 3) - Fraction(1, 2)) * Fraction(str(persona.prefers_high_priority)) * Fraction("0.4")
    if overdue:
        e += (Fraction(str(persona.prefers_overdue)) - Fraction(1, 2)) * Fraction("0.3")
    if (persona.morning_active and hour in range(5, 10)) or (persona.evening_active and hour in range(18, 22)):
        e += Fraction("0.15")
    elif (persona.morning_active or persona.evening_active) and hour not in {*range(5, 10), *range(18, 22)}:
        e -= Fraction("0.10")
    return min(max(e, Fraction("0.05")), Fraction("0.90"))


def contract_expected_reward(e: Fraction) -> Fraction:
    """State A8's shares and A4's rewards in exact arithmetic."""
    done = Fraction(1) if e >= Fraction("0.70") else Fraction("0.6") if e >= Fraction("0.50") else Fraction("0.3")
    p_done = Fraction("0.55") * e
    return p_done * done + (e - p_done) * Fraction("0.1") - (1 - e)


def test_engagement_and_expected_reward_equal_the_contract_everywhere() -> None:
    grid = list(itertools.product(range(24), (1, 2, 3, 4), (False, True)))
    hours, priorities, overdue = (np.array(column) for column in zip(*grid, strict=True))
    for persona in PERSONAS:
        engaged = compute_engagement(persona, hour_of_day=hours, priority=priorities, is_overdue=overdue)
        exact = [contract_engagement(persona, *row) for row in grid]
        np.testing.assert_allclose(engaged, [float(e) for e in exact], rtol=0, atol=1e-12)
        # Right at the bands of 0.50 and 0.70 too, where a binary sum a hair too low would cost up to 0.15.
        np.testing.assert_allclose(
            compute_expected_reward(engaged), [float(contract_expected_reward(e)) for e in exact], rtol=0, atol=1e-11
        )


def test_the_grid_above_meets_both_bands_and_both_clamps() -> None:
    grid = itertools.product(PERSONAS, range(24), (1, 2, 3, 4), (False, True))
    exact = {contract_engagement(*row) for row in grid}
    assert {Fraction("0.5"), Fraction("0.7"), Fraction("0.05")} <= exact
    assert max(exact) >= Fraction("0.85")


def test_engagement_broadcasts_hours_over_slates() -> None:
    engaged = compute_engagement(
        PERSONAS[-1],
        hour_of_day=np.array([[8], [14]]),
        priority=np.array([[1, 2, 3], [4, 3, 2]]),
        is_overdue=np.array([[True, False, True], [False, False, True]]),
    )
    assert engaged.shape == (2, 3)
    assert engaged[1, 2] == compute_engagement(PERSONAS[-1], hour_of_day=14, priority=2, is_overdue=True)


@pytest.mark.parametrize("reflex_rate", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("engaged", [0.05, 0.3, 0.4999, 0.5, 0.6999, 0.7, 0.9])
def test_the_mean_of_many_reactions_is_the_expected_reward(engaged: float, reflex_rate: float) -> None:
    count = 20_000
    draws = np.random.default_rng(11).random((count, 2)).tolist()
    rewards = [to_reaction(engaged, action_draw=a, dwell_draw=d, reflex_rate=reflex_rate).reward for a, d in draws]
    expected = compute_expected_reward(np.array(engaged), reflex_rate=reflex_rate).item()
    # Five standard errors: one false alarm in 1.7 million draws of the seed, over 21 cases.
    assert abs(np.mean(rewards) - expected) < 5 * np.std(rewards) / np.sqrt(count)


@pytest.mark.parametrize("engaged", [0.2, 0.5, 0.8])
def test_actions_come_in_the_contract_shares(engaged: float) -> None:
    count = 20_000
    draws = np.random.default_rng(12).random(count).tolist()
    actions = [to_reaction(engaged, action_draw=draw, dwell_draw=0.5).action for draw in draws]
    for action, share in (("done", 0.55 * engaged), ("snooze", 0.45 * engaged), ("dismiss", 1 - engaged)):
        assert abs(actions.count(action) / count - share) < 5 * np.sqrt(share * (1 - share) / count)


@pytest.mark.parametrize(
    ("engaged", "action_draw", "reflex_rate", "action", "low_s", "high_s", "reward"),
    [
        (0.90, 0.0, 0.0, "done", 15, 90, 1.0),
        (0.70, 0.0, 0.0, "done", 15, 90, 1.0),
        (0.69, 0.0, 0.0, "done", 120, 480, 0.6),
        (0.50, 0.0, 0.0, "done", 120, 480, 0.6),
        (0.49, 0.0, 0.0, "done", 600, 1800, 0.3),
        (0.05, 0.0, 0.0, "done", 600, 1800, 0.3),
        (0.90, 0.0, 0.1, "done", 1, 15, -0.3),
        (0.60, 0.34, 0.0, "snooze", 3, 20, 0.1),
        (0.60, 0.61, 0.0, "dismiss", 1, 5, -1.0),
    ],
)
def test_dwells_fill_their_interval_and_every_one_earns_the_same(
    engaged: float, action_draw: float, reflex_rate: float, action: str, low_s: int, high_s: int, reward: float
) -> None:
    dwells = []
    for dwell_draw in np.linspace(0, np.nextafter(1, 0), 1001).tolist():
        reaction = to_reaction(engaged, action_draw=action_draw, dwell_draw=dwell_draw, reflex_rate=reflex_rate)
        assert (reaction.action, reaction.reward) == (action, reward)
        dwells.append(reaction.dwell_ms)
    assert (dwells[0], dwells[-1]) == (low_s * 1000, high_s * 1000 - 1)
    assert sum(dwells) / len(dwells) == pytest.approx((low_s + high_s) * 500, rel=1e-3)


def test_there_is_no_done_under_15_s_unless_reflexes_are_asked_for() -> None:
    draws = np.random.default_rng(13).random((3000, 2)).tolist()
    for engaged in (0.1, 0.5, 0.7, 0.9):
        by_rate = {
            rate: [to_reaction(engaged, action_draw=a, dwell_draw=d, reflex_rate=rate) for a, d in draws]
            for rate in (0, 1)
        }
        assert all(r.dwell_ms >= 15_000 for r in by_rate[0] if r.action == "done")
        assert all(r.dwell_ms < 15_000 for r in by_rate[1] if r.action == "done")
        assert [r.action for r in by_rate[0]] == [r.action for r in by_rate[1]]
