"""What the readers of all forms share: times, numbers and nested features."""

from datetime import UTC, datetime

import pytest

from bandstand.evaluate import EvaluationError
from bandstand.evaluate.files.forms.form import flatten, parse_timestamp, read_index, read_number

MOMENT = 1767225600.0


@pytest.mark.parametrize(
    "value",
    [
        MOMENT,
        int(MOMENT),
        MOMENT * 1000,
        "1767225600.0 ",
        "2026-01-01T00:00:00Z",
        "2026-01-01 00:00:00",
        "2026-01-01T00:00:00.0000000Z",
        "2026-01-01T01:00:00+01:00",
        "2026-01-01",
        datetime(2026, 1, 1, tzinfo=UTC),
    ],
)
def test_a_time_is_read_by_its_size_or_as_iso_8601(value: object) -> None:
    assert parse_timestamp(value) == MOMENT


@pytest.mark.parametrize("value", [None, "", "NaN", float("nan")])
def test_no_time_is_the_epoch(value: object) -> None:
    assert parse_timestamp(value) == 0.0


@pytest.mark.parametrize(
    "value", [-1, "-5", 1e300, 10**400, 253402300800000, float("inf"), True, "noon", "1_0", [1], {}]
)
def test_what_is_no_time_is_refused_by_name(value: object) -> None:
    with pytest.raises(EvaluationError, match=r"^when: is no time in seconds or milliseconds since 1970, nor as ISO"):
        parse_timestamp(value, "when")


@pytest.mark.parametrize("value", [None, True, "1_0", "x", float("inf"), [1]])
def test_what_is_no_number_is_refused_by_name(value: object) -> None:
    with pytest.raises(EvaluationError, match=r"^p: is (no number|missing)"):
        read_number({"p": value}, "p")
    with pytest.raises(EvaluationError, match=r"^p: is (no|missing)"):
        read_index({"p": value}, "p")


def test_a_name_of_two_namespaces_belongs_to_the_first() -> None:
    nested = {"a": [{"x": 1, "y": "b"}], "b": {"x": 2, "empty": None}, "z": [0.5, 1]}
    assert flatten(nested) == {"x": 1, "y": "b", "b_x": 2, "z_0": 0.5, "z_1": 1}
    assert flatten("nothing") == {}


def test_features_have_a_bound() -> None:
    deep: object = {"x": 1}
    for _ in range(20):
        deep = {"a": deep}
    with pytest.raises(EvaluationError, match="nested too deeply"):
        flatten(deep)
    with pytest.raises(EvaluationError, match="more than 1000 features"):
        flatten({"v": list(range(2000))})
