"""How a persona takes a task: engagement, the reaction drawn from it, and its exact mean reward (contract A8, A4)."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandstand.bandit.rewards import compute_reaction_reward
from bandstand.simulate.world.persona import Persona

ACTIONS = ("dismiss", "snooze", "done")
"""Everything a user can do with a task."""

_MORNING = range(5, 10)
_EVENING = range(18, 22)

_DONE_SHARE = 0.55
_ENGAGED = 0.70
_WILLING = 0.50

# Dwell intervals in ms, [low, high).
_DONE_ENGAGED_MS = (15_000, 90_000)
_DONE_WILLING_MS = (120_000, 480_000)
_DONE_RELUCTANT_MS = (600_000, 1_800_000)
_DONE_REFLEX_MS = (1_000, 15_000)
_SNOOZE_MS = (3_000, 20_000)
_DISMISS_MS = (1_000, 5_000)


class Reaction(NamedTuple):
    """What a user did with a task: the action, after how many milliseconds, and the contract's reward for it."""

    action: str
    dwell_ms: int
    reward: float


def compute_engagement(
    persona: Persona, *, hour_of_day: ArrayLike, priority: ArrayLike, is_overdue: ArrayLike
) -> NDArray[np.float64]:
    """Give how engaged a persona is with tasks, in [0.05, 0.90] (contract A8).

    0.35 + 0.4·((priority − 1)/3 − ½)·prefers_high_priority + [overdue]·0.3·(prefers_overdue − ½) + t, where t is 0.15
    in an active period of theirs, −0.10 outside both periods for whoever has one, else 0. Morning is 5 ≤ h < 10,
    evening 18 ≤ h < 22.

    Args:
        persona: who.
        hour_of_day: 0–23.
        priority: 1–4.
        is_overdue: flags. All three broadcast together; the result has their shape.
    """
    hour = np.asarray(hour_of_day)
    morning = (hour >= _MORNING.start) & (hour < _MORNING.stop)
    evening = (hour >= _EVENING.start) & (hour < _EVENING.stop)
    active = (morning & persona.morning_active) | (evening & persona.evening_active)
    penalised = ~(morning | evening) & (persona.morning_active or persona.evening_active)
    raw = (
        0.35
        + ((np.asarray(priority) - 1) / 3 - 0.5) * persona.prefers_high_priority * 0.4
        + np.where(is_overdue, (persona.prefers_overdue - 0.5) * 0.3, 0.0)
        + np.where(active, 0.15, np.where(penalised, -0.10, 0.0))
    )
    # The dwell's bands start at exactly 0.50 and 0.70: a sum that is 0.5 on paper must not fall below it in binary.
    return np.clip(np.round(raw, 12), 0.05, 0.90)


def compute_expected_reward(engaged: NDArray[np.float64], *, reflex_rate: float = 0.0) -> NDArray[np.float64]:
    """Give the exact mean reward of tasks a user is engaged with to the degree ``engaged``, of the same shape.

    e·(0.55·R(e) + 0.45·r_snooze) + (1 − e)·r_dismiss, where R(e) is the reward of ``done`` at the dwell that goes with
    e. It is exact since each dwell interval lies within one row of the contract's table of rewards.

    Args:
        engaged: engagement e, any shape.
        reflex_rate: share of the ``done`` that are reflexes, see `react`.
    """
    considered = np.where(
        engaged >= _ENGAGED,
        _get_reward("done", _DONE_ENGAGED_MS),
        np.where(engaged >= _WILLING, _get_reward("done", _DONE_WILLING_MS), _get_reward("done", _DONE_RELUCTANT_MS)),
    )
    done = (1 - reflex_rate) * considered + reflex_rate * _get_reward("done", _DONE_REFLEX_MS)
    acted = _DONE_SHARE * done + (1 - _DONE_SHARE) * _get_reward("snooze", _SNOOZE_MS)
    return np.asarray(engaged * acted + (1 - engaged) * _get_reward("dismiss", _DISMISS_MS))


def to_reaction(engaged: float, *, action_draw: float, dwell_draw: float, reflex_rate: float = 0.0) -> Reaction:
    """Give the reaction that two uniform draws mean at an engagement e (contract A8).

    ``done`` if the action's draw is below 0.55·e, ``snooze`` if below e, else ``dismiss``; the dwell is uniform on the
    action's interval.

    The *reflex* is ours, not the contract's, whose own ``done`` under 15 s could never happen: with probability
    ``reflex_rate`` a ``done`` is ticked off unread, after 1–15 s.

    Args:
        engaged: engagement e.
        action_draw: uniform on [0, 1).
        dwell_draw: uniform on [0, 1).
        reflex_rate: share of the ``done`` that are reflexes, in [0, 1].
    """
    done_below = _DONE_SHARE * engaged
    if action_draw < done_below * reflex_rate:
        return _build_reaction("done", _DONE_REFLEX_MS, dwell_draw)
    if action_draw < done_below:
        return _build_reaction("done", _get_done_interval(engaged), dwell_draw)
    if action_draw < engaged:
        return _build_reaction("snooze", _SNOOZE_MS, dwell_draw)
    return _build_reaction("dismiss", _DISMISS_MS, dwell_draw)


def make_reaction(action: str, engaged: float, *, dwell_draw: float) -> Reaction:
    """Return the reaction of a user whose action a judge has named; the dwell is drawn as `react` draws it.

    Args:
        action: one of `ACTIONS`.
        engaged: engagement e, which decides how long a ``done`` takes.
        dwell_draw: uniform on [0, 1).
    """
    intervals = {"dismiss": _DISMISS_MS, "snooze": _SNOOZE_MS, "done": _get_done_interval(engaged)}
    return _build_reaction(action, intervals[action], dwell_draw)


def _get_done_interval(engaged: float) -> tuple[int, int]:
    if engaged >= _ENGAGED:
        return _DONE_ENGAGED_MS
    return _DONE_WILLING_MS if engaged >= _WILLING else _DONE_RELUCTANT_MS


def _build_reaction(action: str, interval: tuple[int, int], dwell_draw: float) -> Reaction:
    low, high = interval
    return Reaction(action, low + int((high - low) * dwell_draw), _get_reward(action, interval))


@cache
def _get_reward(action: str, interval: tuple[int, int]) -> float:
    """Give the reward of an action, which is the same wherever in its interval the dwell lies."""
    return compute_reaction_reward(action, interval[0])
