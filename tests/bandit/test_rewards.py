"""Contract A4, row by row, at its exact boundaries."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.bandit.rewards import compute_reaction_reward, validate_reward
from tests.bandit.given import LAW

DWELLS = st.one_of(st.none(), st.integers(0, 10**9), st.floats(0.0, 1e9))


@pytest.mark.parametrize(
    ("dwell_ms", "reward"),
    [
        (0, -0.3),
        (14_999, -0.3),
        (math.nextafter(15_000.0, 0.0), -0.3),
        (15_000, 1.0),
        (15_000.0, 1.0),
        (119_999, 1.0),
        (math.nextafter(120_000.0, 0.0), 1.0),
        (120_000, 0.6),
        (599_999, 0.6),
        (math.nextafter(600_000.0, 0.0), 0.6),
        (600_000, 0.3),
        (10**12, 0.3),
    ],
)
def test_done_by_dwell(dwell_ms: float, reward: float) -> None:
    assert compute_reaction_reward("done", dwell_ms) == reward


@LAW
@given(DWELLS)
def test_dismiss_and_snooze_do_not_ask_how_long(dwell_ms: float | None) -> None:
    assert compute_reaction_reward("dismiss", dwell_ms) == -1.0
    assert compute_reaction_reward("snooze", dwell_ms) == 0.1


@LAW
@given(st.one_of(st.floats(-1.0, 1.0), st.integers(-1, 1)))
def test_rewards_in_the_interval_pass_unchanged(value: float) -> None:
    checked = validate_reward(value)
    assert checked == value
    assert isinstance(checked, float)
