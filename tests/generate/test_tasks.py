"""Understanding tasks that may be anything."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.generate.tasks import MAX_TASKS, Task, read_task, select_most_urgent

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    [
        "id",
        "title",
        "content",
        "name",
        "description",
        "due_date",
        "priority",
        "is_overdue",
        "task_age_days",
        "extra",
    ],
)
tasks = st.dictionaries(names, json_values | st.integers(0, 5) | st.text(max_size=5), max_size=10)


def test_known_fields_are_understood() -> None:
    task = read_task(
        {
            "id": "t1",
            "title": "Pay",
            "description": "the rent",
            "due": "Friday",
            "priority": 3,
            "is_overdue": True,
            "task_age_days": 2,
            "list": "home",
        }
    )
    assert task == Task(
        id="t1",
        title="Pay",
        description="the rent",
        due="Friday",
        priority=3,
        is_overdue=True,
        age_days=2.0,
        extra={"list": "home"},
    )


def test_nothing_is_known_of_an_empty_task() -> None:
    assert read_task({}) == Task()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"id": 7}, Task(id="7")),
        ({"content": "Pay"}, Task(title="Pay")),
        ({"name": "Pay"}, Task(title="Pay")),
        ({"title": " ", "content": "Pay"}, Task(title="Pay", extra={"title": " "})),
        ({"title": "Pay", "content": "rent"}, Task(title="Pay", extra={"content": "rent"})),
        ({"notes": "n", "due_date": "d"}, Task(description="n", due="d")),
        ({"task_age_days": -3}, Task(age_days=0.0)),
    ],
)
def test_other_names_and_numbers(raw: dict[str, Any], expected: Task) -> None:
    assert read_task(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        {"id": True},
        {"id": 10**400},
        {"id": None},
        {"title": 7},
        {"title": ["Pay"]},
        {"priority": 0},
        {"priority": 5},
        {"priority": 2.5},
        {"priority": True},
        {"priority": "high"},
        {"is_overdue": 1},
        {"is_overdue": "yes"},
        {"task_age_days": math.inf},
        {"task_age_days": 10**400},
        {"task_age_days": True},
        {"task_age_days": "3"},
    ],
)
def test_the_wrong_type_is_kept_apart(raw: dict[str, Any]) -> None:
    assert read_task(raw) == Task(extra=raw)


@given(tasks)
def test_nothing_fails_and_nothing_is_lost(raw: dict[str, object]) -> None:
    task = read_task(raw)
    assert task.priority in {None, 1, 2, 3, 4}
    assert task.age_days is None or 0 <= task.age_days < 1e6
    understood = [task.id, task.title, task.description, task.due]
    for name, value in raw.items():
        kept = name in task.extra and (task.extra[name] is value)
        assert kept or str(value) in understood or name in {"priority", "is_overdue", "task_age_days"}


@given(st.lists(tasks, max_size=12), st.integers(0, 12))
def test_what_is_left_out_is_never_more_urgent_than_what_is_kept(raw: list[dict[str, object]], count: int) -> None:
    kept = select_most_urgent(raw, count)
    positions = [position for position, _ in kept]
    assert len(set(positions)) == len(kept) == min(count, len(raw))

    def rank(task: Task) -> tuple[bool, int, float]:
        return task.is_overdue, task.priority or 1, -(task.age_days or 0)

    ranks = [rank(task) for _, task in kept]
    assert ranks == sorted(ranks, reverse=True)
    left = [rank(read_task(task)) for position, task in enumerate(raw) if position not in positions]
    assert not kept or not left or min(ranks) >= max(left)


def test_at_most_two_hundred() -> None:
    assert len(select_most_urgent([{}] * 500)) == MAX_TASKS == 200


def test_a_whole_number_is_an_integer() -> None:
    assert read_task({"id": 7.0, "priority": 4.0}) == Task(id="7", priority=4)
