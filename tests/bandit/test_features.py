"""Schemas: the contract's features exactly, defaults, order, and what a definition's hash covers."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.bandit.features import MAX_CELLS, FeatureSchema, Field
from bandstand.errors import InvalidRequestError
from tests.bandit.given import CATALOGUE, LAW, SHIPPED, Values, draw_partial, random_request, schema, schema_of

TIPS_7 = ("hour_sin", "hour_cos", "is_overdue", "task_age", "priority", "dow_sin", "dow_cos")


def _encode_x7(hour: int, day: int, overdue: bool, age: float, priority: int) -> list[float]:
    """Contract A2, written out."""
    return [
        math.sin(2 * math.pi * hour / 24),
        math.cos(2 * math.pi * hour / 24),
        1.0 if overdue else 0.0,
        min(max(age, 0), 30) / 30,
        (priority - 1) / 3,
        math.sin(2 * math.pi * day / 7),
        math.cos(2 * math.pi * day / 7),
    ]


@LAW
@given(
    st.integers(0, 23),
    st.integers(0, 6),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(1, 4),
)
def test_the_contracts_features_are_exact(hour: int, day: int, overdue: bool, age: float, priority: int) -> None:
    context: Values = {"hour_of_day": hour, "day_of_week": day}
    # A candidate's own hour is in the contract too; the context's is what counts.
    candidate: Values = {"hour_of_day": 3, "is_overdue": overdue, "task_age_days": age, "priority": priority}
    expected = _encode_x7(hour, day, overdue, age, priority)
    assert schema("tips-7").encode(context, [candidate])[0].tolist() == expected
    assert schema("tips-5").encode(context, [candidate])[0].tolist() == expected[:5]
    centred = [1.0, *expected[:2], *(value - 0.5 for value in expected[2:5]), *expected[5:]]
    np.testing.assert_allclose(schema("tips-v2").encode(context, [candidate])[0], centred, rtol=0, atol=1e-15)


def test_labels_are_the_contracts() -> None:
    assert schema("tips-7").labels == TIPS_7
    assert schema("tips-5").labels == TIPS_7[:5]
    assert schema("tips-v2").labels == ("intercept", *TIPS_7)


def test_fields_are_the_contracts() -> None:
    tips = schema("tips-7")
    assert dict(tips.context_fields) == {
        "hour_of_day": Field("hour_of_day", "context", "integer", 12, 0, 23),
        "day_of_week": Field("day_of_week", "context", "integer", 0, 0, 6),
    }
    assert dict(tips.candidate_fields) == {
        "is_overdue": Field("is_overdue", "candidate", "boolean", default=False),
        "task_age_days": Field("task_age_days", "candidate", "number", 0.0),
        "priority": Field("priority", "candidate", "integer", 1, 1, 4),
    }


def test_nothing_given_is_the_contracts_defaults() -> None:
    assert schema("tips-7").encode({}, [{}])[0].tolist() == _encode_x7(12, 0, overdue=False, age=0, priority=1)


@LAW
@given(st.data(), st.sampled_from(sorted(CATALOGUE.schemas)))
def test_a_missing_field_is_its_default(data: st.DataObject, name: str) -> None:
    tips = CATALOGUE.schemas[name]
    context = data.draw(draw_partial(tips.context_fields))
    candidates = data.draw(st.lists(draw_partial(tips.candidate_fields), min_size=1, max_size=5))
    filled_context = {key: context.get(key, field.default) for key, field in tips.context_fields.items()}
    filled = [
        {key: features.get(key, field.default) for key, field in tips.candidate_fields.items()}
        for features in candidates
    ]
    assert tips.encode(context, candidates).tolist() == tips.encode(filled_context, filled).tolist()
    assert [tips.raw_values(context, features) for features in candidates] == [
        {**filled_context, **features} for features in filled
    ]


@LAW
@given(st.data(), st.sampled_from(sorted(CATALOGUE.schemas)))
def test_rows_follow_the_candidates_and_stay_within_one(data: st.DataObject, name: str) -> None:
    tips = CATALOGUE.schemas[name]
    context = data.draw(draw_partial(tips.context_fields))
    candidates = data.draw(st.lists(draw_partial(tips.candidate_fields), min_size=1, max_size=6))
    order = data.draw(st.permutations(range(len(candidates))))
    x = tips.encode(context, candidates)
    assert x.shape == (len(candidates), tips.dimension)
    assert x.dtype == np.float64
    assert x.flags["C_CONTIGUOUS"]
    assert np.abs(x).max() <= 1.0
    assert tips.encode(context, [candidates[place] for place in order]).tolist() == x[list(order)].tolist()
    alone = [tips.encode(context, [features])[0].tolist() for features in candidates]
    assert x.tolist() == alone


def test_encoding_changes_neither_its_arguments_nor_an_earlier_answer() -> None:
    tips = schema("tips-7")
    context: Values = {"hour_of_day": 5}
    candidates: list[Values] = [{"priority": 2}, {}]
    first = tips.encode(context, candidates)
    kept = first.copy()
    tips.encode({"hour_of_day": 9}, [{"priority": 4}, {"is_overdue": True}])
    assert (context, candidates) == ({"hour_of_day": 5}, [{"priority": 2}, {}])
    assert first.tolist() == kept.tolist()
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 1.0


@pytest.mark.parametrize("source", ["context", "candidate"])
def test_what_was_encoded_before_does_not_show(source: str) -> None:
    """1, 1.0 and True are equal and yet different texts to hash."""
    values: list[object] = [1, 1.0, True]
    feature = {"name": "f", "source": f"{source}.v", "encoding": "hash", "buckets": 256, "type": "integer"}
    used = schema_of(feature)
    for value in values:
        row = used.encode({"v": value}, [{"v": value}]).tolist()
        assert row == schema_of(feature).encode({"v": value}, [{"v": value}]).tolist()


def test_no_candidates_make_no_rows() -> None:
    assert schema("tips-5").encode({}, []).shape == (0, 5)


def test_values_hold_what_the_schema_reads_and_nothing_else() -> None:
    assert schema("tips-5").raw_values({"hour_of_day": 7, "day_of_week": 3}, {"priority": 4, "colour": "red"}) == {
        "hour_of_day": 7,
        "is_overdue": False,
        "task_age_days": 0.0,
        "priority": 4,
    }


def test_the_intercept_is_a_leading_column_of_ones() -> None:
    made = schema_of({"name": "f", "source": "candidate.v", "encoding": "number"}, intercept=True)
    assert made.labels == ("intercept", "f")
    assert made.encode({}, [{"v": 3.0}, {"v": 4.0}]).tolist() == [[1.0, 3.0], [1.0, 4.0]]


def test_one_field_may_feed_several_features() -> None:
    number = {"source": "candidate.age", "minimum": 0, "maximum": 90}
    made = schema_of(
        {"name": "age", "encoding": "scale", "divisor": 90, **number},
        {"name": "young", "encoding": "clip", "low": 0, "high": 3, **number},
    )
    assert list(made.candidate_fields) == ["age"]
    assert made.encode({}, [{"age": 9.0}]).tolist() == [[0.1, 1.0]]


def test_labels_may_be_given() -> None:
    made = schema_of(
        {"name": "h", "source": "context.h", "encoding": "cyclic", "period": 24, "labels": ["east", "north"]}
    )
    assert made.labels == ("east", "north")


@pytest.mark.parametrize("name", sorted(CATALOGUE.schemas))
def test_a_definition_parses_back_to_the_same_schema_through_json(name: str) -> None:
    tips = CATALOGUE.schemas[name]
    again = FeatureSchema.parse(name, json.loads(json.dumps(tips.definition)))
    assert (again.hash, again.labels, again.definition) == (tips.hash, tips.labels, tips.definition)
    assert (again.context_fields, again.candidate_fields) == (tips.context_fields, tips.candidate_fields)


def test_the_shipped_hashes_never_change_for_every_state_directory_holds_them() -> None:
    assert {name: each.hash for name, each in CATALOGUE.schemas.items()} == {
        "tips-5": "5b4a99102566091e",
        "tips-7": "e3001e20a892e0fb",
        "tips-v2": "368c4e5545c3d1a1",
    }


def test_the_hash_covers_meaning_and_not_spelling() -> None:
    definition: dict[str, Any] = SHIPPED["schemas"]["tips-7"]
    spelled_out = {
        **definition,
        "intercept": False,
        "features": [dict(reversed(f.items())) for f in definition["features"]],
    }
    assert FeatureSchema.parse("other-name", spelled_out).hash == schema("tips-7").hash
    changes: list[dict[str, object]] = [
        {"period": 23},
        {"default": 11},
        {"maximum": 22},
        {"centre": 0.1},
        {"labels": ["a", "b"]},
        {"source": "context.hour"},
    ]
    hashes = {
        FeatureSchema.parse(
            "changed",
            {**definition, "features": [{**definition["features"][0], **change}, *definition["features"][1:]]},
        ).hash
        for change in changes
    }
    assert len(hashes | {schema("tips-7").hash}) == len(changes) + 1
    assert FeatureSchema.parse("tips-7", {**definition, "version": 2}).hash not in hashes | {schema("tips-7").hash}


def test_too_many_cells_are_refused_and_as_many_as_allowed_are_not() -> None:
    wide = schema_of({"name": "f", "source": "candidate.v", "encoding": "hash", "buckets": 256})
    most = MAX_CELLS // 256
    assert wide.encode({}, [{}] * most).shape == (most, 256)
    with pytest.raises(InvalidRequestError) as refusal:
        wide.encode({}, [{}] * (most + 1))
    assert refusal.value.errors[0].field == "candidates"


@pytest.mark.parametrize("value", [2e6, -2e6, math.nan, math.inf])
def test_a_column_without_limits_refuses_what_would_swallow_the_ridge(value: float) -> None:
    made = schema_of(
        {"name": "flag", "source": "candidate.flag", "encoding": "flag"},
        {"name": "price", "source": "candidate.price", "encoding": "number"},
    )
    assert made.encode({}, [{"price": 1e6}]).tolist() == [[0.0, 1e6]]
    with pytest.raises(InvalidRequestError) as refusal:
        made.encode({}, [{"price": 1.0}, {"price": value}])
    assert [error.field for error in refusal.value.errors] == ["price"]


def test_it_names_itself() -> None:
    assert repr(schema("tips-5")) == f"FeatureSchema('tips-5', version=1, hash='{schema('tips-5').hash}')"


EVERYTHING = schema_of(
    {"name": "hour", "source": "context.hour", "encoding": "cyclic", "period": 24, "minimum": 0, "maximum": 23},
    {"name": "country", "source": "context.country", "encoding": "hash", "buckets": 3},
    {"name": "kind", "source": "candidate.kind", "encoding": "onehot", "values": ["a", "b"]},
    {"name": "age", "source": "candidate.age", "encoding": "scale", "divisor": 7, "centre": 0.1, "default": 3},
    {"name": "pair", "encoding": "interaction", "of": ["hour", "age"], "centre": 0.25},
    intercept=True,
)


@pytest.mark.parametrize("tips", [*CATALOGUE.schemas.values(), EVERYTHING], ids=lambda each: each.name)
@pytest.mark.parametrize(("requests", "count"), [(1, 1), (7, 1), (1, 5), (30, 4)])
def test_requests_encoded_together_are_encoded_as_they_are_alone(
    tips: FeatureSchema, requests: int, count: int
) -> None:
    rng = np.random.default_rng(requests)
    asked = [random_request(tips, rng, count) for _ in range(requests)]
    context = {name: [values[name] for values, _ in asked] for name in tips.context_fields}
    features = {name: [each[name] for _, candidates in asked for each in candidates] for name in tips.candidate_fields}
    together = tips.encode_columns(context, features, (requests, count))
    assert together.shape == (requests, count, tips.dimension)
    assert not together.flags.writeable
    offered = [candidate for _, candidates in asked for candidate in candidates]
    gathered = tips.encode_requests([values for values, _ in asked], offered)
    for row, same, (values, candidates) in zip(together, gathered, asked, strict=True):
        assert row.tobytes() == same.tobytes() == tips.encode(values, candidates).tobytes()
    assert not gathered.flags.writeable


def test_fields_that_are_missing_from_all_requests_take_their_defaults_together_too() -> None:
    together = EVERYTHING.encode_columns({"hour": [5, 6]}, {"kind": ["a", "b", "c", "a"]}, (2, 2))
    for row, hour, kinds in zip(together, (5, 6), ("ab", "ca"), strict=True):
        assert row.tobytes() == EVERYTHING.encode({"hour": hour}, [{"kind": kind} for kind in kinds]).tobytes()


def test_what_is_refused_alone_is_refused_together() -> None:
    many = MAX_CELLS // EVERYTHING.dimension + 1
    with pytest.raises(InvalidRequestError, match="Too many candidates"):
        EVERYTHING.encode_columns({}, {}, (1, many))
    with pytest.raises(InvalidRequestError, match="too large"):
        EVERYTHING.encode_columns({}, {"age": [1.0, 1e300]}, (2, 1))
    with pytest.raises(InvalidRequestError, match="too large"):
        EVERYTHING.encode_requests([{}, {}], [{"age": 1.0}, {"age": 1e300}])
