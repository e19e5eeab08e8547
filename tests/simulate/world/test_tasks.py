"""Tasks: the contract's features over their whole ranges, in the stated proportions, the same for the same seed."""

import numpy as np
import pytest

from bandstand.simulate.world.streams import Stream, make_generator
from bandstand.simulate.world.tasks import Slates, draw_slates


def draw_some_slates(*, seed: int = 5, days: int = 30, candidates: int = 5, day_of_week: int | None = None) -> Slates:
    source = make_generator(seed, Stream.TASKS, 0)
    return draw_slates(source, days=days, decisions_per_day=4, candidates=candidates, day_of_week=day_of_week)


def test_shares_are_the_stated_ones() -> None:
    drawn = draw_some_slates(days=5000)
    tasks = drawn.priority.size
    for priority in (1, 2, 3, 4):
        assert abs(np.mean(drawn.priority == priority) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / tasks)
    assert abs(np.mean(drawn.is_overdue) - 0.4) < 5 * np.sqrt(0.4 * 0.6 / tasks)
    for overdue, mean in ((False, 5.0), (True, 12.0)):
        ages = drawn.task_age_days[drawn.is_overdue == overdue]
        assert abs(ages.mean() - mean) < 5 * mean / np.sqrt(len(ages))
    assert drawn.task_age_days.min() >= 0
    decisions = len(drawn.hour_of_day)
    for hour in range(6, 23):
        assert abs(np.mean(drawn.hour_of_day == hour) - 1 / 17) < 5 * np.sqrt(1 / 17 / decisions)


def test_hours_ascend_within_a_day_and_days_advance_from_monday() -> None:
    drawn = draw_some_slates()
    assert (np.diff(drawn.hour_of_day.reshape(30, 4), axis=1) >= 0).all()
    assert drawn.day_of_week.tolist() == [day % 7 for day in range(30) for _ in range(4)]


def test_the_day_can_be_held_and_nothing_else_changes() -> None:
    free, held = draw_some_slates(), draw_some_slates(day_of_week=0)
    assert held.day_of_week.tolist() == [0] * 120
    assert (free.hour_of_day == held.hour_of_day).all()
    assert (free.priority == held.priority).all()


def test_a_longer_run_begins_with_the_shorter_one() -> None:
    short, long = draw_some_slates(days=3), draw_some_slates(days=40)
    for step in range(12):
        assert short.get_context(step) == long.get_context(step)
        assert short.get_candidates(step) == long.get_candidates(step)


def test_the_wire_form_says_what_the_arrays_say() -> None:
    drawn = draw_some_slates()
    for step in (0, 57, 119):
        context, candidates = drawn.get_context(step), drawn.get_candidates(step)
        assert context == {"hour_of_day": drawn.hour_of_day[step], "day_of_week": drawn.day_of_week[step]}
        assert [c["features"]["priority"] for c in candidates] == drawn.priority[step].tolist()
        assert [c["features"]["is_overdue"] for c in candidates] == drawn.is_overdue[step].tolist()
        assert [c["features"]["task_age_days"] for c in candidates] == drawn.task_age_days[step].tolist()
        assert {c["features"]["hour_of_day"] for c in candidates} == {context["hour_of_day"]}
        assert all(type(c["features"]["is_overdue"]) is bool for c in candidates)


@pytest.mark.parametrize("candidates", [1, 5, 24])
def test_ids_are_unique_over_a_run_and_contents_within_a_slate(candidates: int) -> None:
    drawn = draw_some_slates(candidates=candidates)
    offered = [drawn.get_candidates(step) for step in range(120)]
    ids = [candidate["id"] for slate in offered for candidate in slate]
    assert len(set(ids)) == len(ids) == 120 * candidates
    assert all(len({candidate["content"] for candidate in slate}) == candidates for slate in offered)
