"""Each encoding is its formula, centred, whatever the values."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.bandit.encoding import ENCODINGS
from bandstand.bandit.encoding_base import LinearEncoder
from bandstand.bandit.features import FeatureSchema
from tests.bandit.given import LAW, schema_of

FINITE = st.floats(-1e6, 1e6)


def _encode_column(given_values: list[Any], /, **feature: Any) -> list[list[float]]:
    """The rows that one feature of the candidates makes of the values."""
    made = schema_of({"name": "f", "source": "candidate.v", **feature})
    rows: list[list[float]] = made.encode({}, [{"v": value} for value in given_values]).tolist()
    return rows


@LAW
@given(st.lists(FINITE, min_size=1, max_size=5), st.floats(0.01, 1e4))
def test_cyclic_is_a_point_on_the_circle(values: list[float], period: float) -> None:
    rows = _encode_column(values, encoding="cyclic", period=period)
    assert rows == [[math.sin(math.tau * v / period), math.cos(math.tau * v / period)] for v in values]


def test_a_cyclic_value_one_period_on_is_the_same_point() -> None:
    rows = _encode_column([0, 24, -24], encoding="cyclic", period=24)
    np.testing.assert_allclose(rows, [[0.0, 1.0]] * 3, rtol=0, atol=1e-12)


def test_a_flag_is_one_or_zero() -> None:
    assert _encode_column([True, False], encoding="flag") == [[1.0], [0.0]]


@LAW
@given(st.lists(FINITE, min_size=1, max_size=5), st.floats(-1e3, 1e3), st.floats(0.1, 1e3))
def test_clip_is_the_place_between_the_limits(values: list[float], low: float, span: float) -> None:
    high = low + span
    expected = [[(min(max(v, low), high) - low) / (high - low)] for v in values]
    rows = _encode_column(values, encoding="clip", low=low, high=high)
    assert rows == expected
    assert all(0.0 <= row[0] <= 1.0 for row in rows)


@LAW
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5), st.floats(-1e3, 1e3), st.floats(0.01, 1e3))
def test_scale_moves_and_divides(values: list[float], offset: float, divisor: float) -> None:
    rows = _encode_column(values, encoding="scale", offset=offset, divisor=divisor)
    assert rows == [[(v - offset) / divisor] for v in values]


@LAW
@given(st.lists(FINITE, min_size=1, max_size=5))
def test_number_is_the_number(values: list[float]) -> None:
    assert _encode_column(values, encoding="number") == [[v] for v in values]


@LAW
@given(st.lists(st.one_of(st.sampled_from("abc"), st.text()), min_size=1, max_size=5))
def test_onehot_marks_a_listed_value_and_nothing_else(values: list[str]) -> None:
    rows = _encode_column(values, encoding="onehot", values=["a", "b", "c"])
    assert rows == [[float(v == "a"), float(v == "b"), float(v == "c")] for v in values]


def test_onehot_of_integers_takes_integers() -> None:
    made = schema_of({"name": "f", "source": "candidate.v", "encoding": "onehot", "values": [3, 5]})
    assert made.candidate_fields["v"].type == "integer"
    assert made.encode({}, [{"v": 5}, {"v": 4}]).tolist() == [[0.0, 1.0], [0.0, 0.0]]


@LAW
@given(st.lists(st.text(), min_size=1, max_size=5), st.integers(1, 50))
def test_hash_marks_one_bucket_and_the_same_one_again(values: list[str], buckets: int) -> None:
    rows = _encode_column(values, encoding="hash", buckets=buckets)
    assert all(sorted(row) == [0.0] * (buckets - 1) + [1.0] for row in rows)
    assert rows == _encode_column(values, encoding="hash", buckets=buckets)


def test_hash_takes_a_lone_surrogate_as_json_may_hold_one() -> None:
    assert sum(_encode_column(["\ud800"], encoding="hash", buckets=8)[0]) == 1.0


def test_hash_is_the_same_in_every_process() -> None:
    script = (
        "from bandstand.bandit.encoding import Hash;"
        "columns = Hash(64).build_encoder((0.0,) * 64, 'colour')(['red', 'green', '人']);"
        "print([next(i for i, c in enumerate(columns) if c[row]) for row in range(3)])"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert answers == {"[31, 56, 44]\n"}


def test_hash_spreads_values_and_two_features_collide_apart() -> None:
    values = [f"value-{number}" for number in range(2_000)]
    one = np.array(_encode_column(values, encoding="hash", buckets=20))
    other = np.array(_encode_column(values, encoding="hash", buckets=20, name="g"))
    # 2,000 balls in 20 bins: 100 each, standard deviation 9.7; five of them either way.
    assert np.abs(one.sum(axis=0) - 100.0).max() < 50.0
    same_bucket = (one * other).sum()
    assert abs(same_bucket - 100.0) < 50.0


@pytest.mark.parametrize(
    ("feature", "values"),
    [
        ({"encoding": "cyclic", "period": 7}, [0, 3]),
        ({"encoding": "flag"}, [True, False]),
        ({"encoding": "clip", "low": -1, "high": 3}, [-7.0, 0.5]),
        ({"encoding": "scale", "offset": 2, "divisor": 4}, [0.0, 9.0]),
        ({"encoding": "number"}, [1.5, -2.5]),
        ({"encoding": "onehot", "values": ["a", "b", "c"]}, ["b", "?"]),
        ({"encoding": "hash", "buckets": 4}, ["b", "c"]),
        ({"encoding": "text", "columns": 6}, ["Sit down.", ""]),
        ({"encoding": "vector", "length": 2}, [[1.5, -2.0], [0, 7]]),
    ],
    ids=lambda value: value["encoding"] if isinstance(value, dict) else "",
)
def test_centre_is_subtracted_from_every_column(feature: dict[str, Any], values: list[Any]) -> None:
    plain = np.array(_encode_column(values, **feature))
    np.testing.assert_allclose(_encode_column(values, **feature, centre=0.25), plain - 0.25, rtol=0, atol=1e-12)
    centres = [0.5 * (column + 1) for column in range(plain.shape[1])]
    np.testing.assert_allclose(_encode_column(values, **feature, centre=centres), plain - centres, rtol=0, atol=1e-12)


@LAW
@given(
    st.lists(st.one_of(st.sampled_from([0, -0.0, 0.0, 3, True, False, 2**53 + 1]), FINITE), max_size=8),
    st.sampled_from([None, (0.0, 30.0), (-0.0, 0.5), (-3.5, 0.0)]),
    st.one_of(st.just(0.0), FINITE),
    st.floats(0.01, 1e4),
)
def test_many_numbers_are_encoded_as_few_are(
    values: list[float], limits: tuple[float, float] | None, origin: float, divisor: float
) -> None:
    encoder = LinearEncoder(origin, divisor, limits)
    [few] = encoder(values)
    assert encoder.encode_array(values).tobytes() == np.array(few).tobytes(), "bit for bit, signs of zeros too"


def test_the_centre_cases_cover_every_encoding() -> None:
    [mark] = test_centre_is_subtracted_from_every_column.pytestmark
    assert {feature["encoding"] for feature, _ in mark.args[1]} == set(ENCODINGS)


def test_an_interaction_multiplies_two_columns_as_they_stand() -> None:
    made = schema_of(
        {"name": "overdue", "source": "candidate.overdue", "encoding": "flag", "centre": 0.5},
        {"name": "hour", "source": "context.hour", "encoding": "cyclic", "period": 24},
        {"name": "late", "encoding": "interaction", "of": ["overdue", "hour_sin"], "centre": 0.125},
    )
    x = made.encode({"hour": 6}, [{"overdue": True}, {"overdue": False}])
    assert made.labels[-1] == "overdue:hour_sin"
    np.testing.assert_allclose(x[:, -1], [0.5 - 0.125, -0.5 - 0.125], rtol=0, atol=1e-15)


def test_an_interaction_of_two_features_multiplies_all_their_columns() -> None:
    made = schema_of(
        {"name": "hour", "source": "context.hour", "encoding": "cyclic", "period": 24},
        {"name": "colour", "source": "candidate.colour", "encoding": "onehot", "values": ["red", "blue"]},
        {"name": "both", "encoding": "interaction", "of": ["hour", "colour"]},
        {"name": "more", "encoding": "interaction", "of": ["both", "hour_cos"]},
    )
    x = made.encode({"hour": 5}, [{"colour": "red"}, {"colour": "blue"}, {"colour": "grey"}])
    assert made.labels[4:8] == (
        "hour_sin:colour=red",
        "hour_sin:colour=blue",
        "hour_cos:colour=red",
        "hour_cos:colour=blue",
    )
    np.testing.assert_array_equal(x[:, 4:8], np.einsum("ki,kj->kij", x[:, :2], x[:, 2:4]).reshape(3, 4))
    np.testing.assert_array_equal(x[:, 8:], x[:, 4:8] * x[:, 1:2])


def test_every_encoding_is_documented_where_a_deployment_copies_from() -> None:
    from importlib import resources  # noqa: PLC0415, only this test reads the comments

    comments = resources.files("bandstand").joinpath("defaults.toml").read_text("utf-8")
    assert all(f" {kind} " in comments for kind in (*ENCODINGS, "interaction", "open"))


def test_schemas_of_each_encoding_read_their_own_definition_back() -> None:
    made = schema_of(
        {"name": "hour", "source": "context.hour", "encoding": "cyclic", "period": 24, "type": "integer"},
        {"name": "flag", "source": "candidate.flag", "encoding": "flag", "default": True},
        {"name": "age", "source": "candidate.age", "encoding": "clip", "low": 0, "high": 9, "centre": 0.5},
        {"name": "old", "source": "candidate.old", "encoding": "scale", "divisor": 9, "minimum": 0, "maximum": 9},
        {"name": "price", "source": "candidate.price", "encoding": "number", "labels": ["p"]},
        {"name": "colour", "source": "candidate.colour", "encoding": "onehot", "values": ["red", "blue"]},
        {"name": "shop", "source": "context.shop", "encoding": "hash", "buckets": 3, "centre": [0.1, 0.2, 0.3]},
        {"name": "both", "encoding": "interaction", "of": ["colour", "p"]},
    )
    again = FeatureSchema.parse("made-up", made.definition)
    assert again.definition == made.definition
    assert again.hash == made.hash
    context, candidates = {"hour": 3, "shop": "x"}, [{"flag": False, "age": 3.0, "price": 2.0, "colour": "red"}]
    assert again.encode(context, candidates).tolist() == made.encode(context, candidates).tolist()
