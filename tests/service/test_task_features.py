"""What a task says becomes a tip's features, if a request could have said it."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.bandit.columns import Field
from bandstand.service.task_features import build_task_features
from tests.generate.test_tasks import json_values
from tests.store.given import CATALOGUE

FIELDS = CATALOGUE.candidate_fields
NAMES = st.sampled_from([*FIELDS, "title", "hour_of_day"])


def features(task: dict[str, Any]) -> dict[str, object]:
    return build_task_features(FIELDS, task)


def test_the_fields_that_the_schemas_read_are_taken_and_no_others() -> None:
    task = {"is_overdue": True, "task_age_days": 3.5, "priority": 4, "title": "x", "hour_of_day": 3, "age": 9}
    assert features(task) == {"is_overdue": True, "task_age_days": 3.5, "priority": 4}


@pytest.mark.parametrize(
    "task",
    [
        {"priority": 5},
        {"priority": 0},
        {"priority": 2.5},
        {"priority": True},
        {"priority": "4"},
        {"is_overdue": 1},
        {"is_overdue": None},
        {"task_age_days": "3"},
        {"task_age_days": math.nan},
        {"task_age_days": math.inf},
        {"task_age_days": 1e300},
        {"task_age_days": [3]},
    ],
)
def test_what_a_request_could_not_say_is_left_out(task: dict[str, Any]) -> None:
    assert features(task) == {}


@given(st.dictionaries(NAMES, json_values | st.integers() | st.floats(), max_size=6))
def test_whatever_a_task_says_its_features_can_be_scored(task: dict[str, Any]) -> None:
    for policy in CATALOGUE.policies.values():
        policy.schema.encode({}, [features(task)])


def test_a_text_is_taken_up_to_the_length_of_a_request_s() -> None:
    fields = {"list": Field("list", "candidate", "string", "")}
    taken: dict[object, dict[str, object]] = {"home": {"list": "home"}, "x" * 256: {"list": "x" * 256}}
    for text in ("home", "x" * 256, "x" * 257, 7):
        assert build_task_features(fields, {"list": text}) == taken.get(text, {})


def test_a_whole_number_is_an_integer_where_one_is_meant() -> None:
    read = features({"priority": 4.0, "task_age_days": 3, "is_overdue": True})
    assert read == {"priority": 4, "task_age_days": 3, "is_overdue": True}
    assert type(read["priority"]) is int
