"""Open features: rows of length one, the same everywhere, that add up from named parts."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.json_tokens import MAX_TOKENS
from bandstand.errors import ConfigurationError, InvalidRequestError
from tests.bandit.given import LAW, schema_of
from tests.bandit.test_json_tokens import OBJECTS

OPEN = {"name": "all", "encoding": "open", "columns": 31}
CONTEXT = {"reader": {"segment": "student", "age": 23}, "place": "west"}
MEALS: list[dict[str, object]] = [
    {"cuisine": "thai", "price": 9.5, "hot": True},
    {"cuisine": "greek", "tags": ["new", "mild"]},
    {},
]


def _build_schema(*more: dict[str, Any]) -> FeatureSchema:
    return schema_of(OPEN, *more, intercept=True)


@given(context=OBJECTS, candidates=st.lists(OBJECTS, min_size=1, max_size=4))
@settings(LAW, max_examples=40)
def test_rows_have_length_one_beside_the_intercept(context: dict[str, Any], candidates: list[dict[str, Any]]) -> None:
    x = _build_schema().encode(context, candidates)
    lengths = np.linalg.norm(x[:, 1:], axis=1)
    assert x.shape == (len(candidates), 32)
    assert (x[:, 0] == 1.0).all()
    assert (np.isclose(lengths, 1.0) | (lengths == 0.0)).all()


@given(context=OBJECTS, candidate=OBJECTS)
@LAW
def test_a_row_is_the_sum_of_its_named_parts(context: dict[str, Any], candidate: dict[str, Any]) -> None:
    schema = _build_schema()
    row = np.zeros(schema.dimension)
    for part in schema.list_parts(context, candidate):
        row[part.column] += part.value
    np.testing.assert_allclose(row, schema.encode(context, [candidate])[0], rtol=0, atol=1e-12)


def test_parts_are_called_by_what_was_sent() -> None:
    names = {part.name for part in _build_schema().list_parts({"place": "west"}, {"price": 9.5})}
    assert names == {
        "intercept",
        "context.place=west",
        "candidate.price",
        "context.place=west × candidate.price",
    }


def test_it_is_the_same_in_every_process_and_on_every_machine() -> None:
    code = (
        "import json; from bandstand.bandit.features import FeatureSchema;"
        f"schema = FeatureSchema.parse('s', {{'version': 1, 'features': [{OPEN!r}]}});"
        f"print(json.dumps(schema.encode({CONTEXT!r}, {MEALS!r}).tolist()))"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(said.stdout) == schema_of(OPEN).encode(CONTEXT, MEALS).tolist()
    row = schema_of({**OPEN, "columns": 4}).encode({"a": "x"}, [{"b": "Grüß", "c": 3}])[0]
    assert [float(cell).hex() for cell in row] == KNOWN_ROW


KNOWN_ROW = ["-0x1.076bfcd6fbeccp-1", "0x1.076bfcd6fbeccp-1", "0x0.0p+0", "0x1.5f3aa673fa910p-1"]


def test_pairs_tell_who_likes_what() -> None:
    """A model over the columns learns a product: what one reader likes, the other does not."""
    schema = schema_of({**OPEN, "columns": 127}, intercept=True)
    x = np.concatenate([schema.encode({"reader": r}, [{"meal": m} for m in "abc"]) for r in ("p", "q", "r")])
    wanted = np.eye(3).ravel()
    theta = np.linalg.solve(x.T @ x + 1e-6 * np.eye(x.shape[1]), x.T @ wanted)
    np.testing.assert_allclose(x @ theta, wanted, atol=0.01)


def test_all_ways_of_encoding_agree() -> None:
    schema = _build_schema({"name": "hour", "source": "context.hour", "encoding": "cyclic", "period": 24})
    contexts = [{"hour": 3, "place": "west"}, {"hour": 5, "place": "east"}]
    offered = [[{"a": 1}, {"a": 2}], [{"a": 3}, {"a": 4}]]
    together = schema.encode_requests(contexts, offered[0] + offered[1])
    for context, candidates, x in zip(contexts, offered, together, strict=True):
        np.testing.assert_array_equal(schema.encode(context, candidates), x)
    columns = schema.encode_columns({"hour": [3, 5], "place": ["west", "east"]}, {"a": [1, 2, 3, 4]}, (2, 2))
    np.testing.assert_array_equal(columns, together)
    assert not together.flags.writeable


def test_what_other_features_and_the_text_read_is_theirs() -> None:
    vector = {"name": "embedding", "source": "candidate.embedding", "encoding": "vector", "length": 2}
    schema = _build_schema(vector)
    one = schema.encode({}, [{"embedding": [1.0, 2.0], "content": "Hello", "a": 1}])[0]
    other = schema.encode({}, [{"embedding": [3, 4], "a": 1}])[0]
    np.testing.assert_array_equal(one[:32], other[:32])
    assert one[32:].tolist() == [1.0, 2.0]
    assert other[32:].tolist() == [3.0, 4.0]
    assert schema.encode({}, [{}])[0, 32:].tolist() == [0.0, 0.0]


def test_raw_values_are_all_that_was_sent() -> None:
    assert _build_schema().raw_values({"place": "west"}, {"a": [1]}) == {"place": "west", "a": [1]}


def test_too_many_pairs_are_refused() -> None:
    context = {f"c{n}": n for n in range(MAX_TOKENS)}
    schema = schema_of({**OPEN, "columns": 2})
    schema.encode(context, [{f"k{n}": n for n in range(MAX_TOKENS)}] * 4)
    with pytest.raises(InvalidRequestError, match="Too many features"):
        schema.encode(context, [{f"k{n}": n for n in range(MAX_TOKENS)}] * 5)


def test_tokens_and_collisions_are_counted() -> None:
    schema = _build_schema()
    assert schema_of({"name": "n", "source": "context.n", "encoding": "number"}).count_tokens() is None
    for _ in range(3):
        schema.encode({"place": "west"}, [{"a": "x"}, {"a": "y"}])
    counts = schema.count_tokens()
    assert counts is not None
    assert (counts.met, counts.unseen, counts.distinct, counts.columns) == (9, 3, 3, 31)
    schema.encode({}, [{"a": f"value-{n}"} for n in range(200)])
    counts = schema.count_tokens()
    assert counts is not None
    assert counts.colliding > 100


@pytest.mark.parametrize(
    ("features", "fault"),
    [
        ([OPEN, {**OPEN, "name": "again"}], "a second time"),
        ([{**OPEN, "columns": 1}], "columns"),
        ([{**OPEN, "columns": 257}], "columns"),
        ([{**OPEN, "source": "context.a"}], "source"),
        ([OPEN, {"name": "n", "source": "context.n", "encoding": "number"},
          {"name": "i", "encoding": "interaction", "of": ["all", "n"]}], "is open"),
        ([OPEN, {"name": "n", "source": "context.n", "encoding": "number"},
          {"name": "i", "encoding": "interaction", "of": ["all~3", "n"]}], "is open"),
        ([{"name": "v", "source": "context.v", "encoding": "vector", "length": 2, "default": [1]}], "list of 2"),
        ([{"name": "v", "source": "context.v", "encoding": "vector", "length": 2, "default": [1, 9], "maximum": 3}],
         "within minimum and maximum"),
        ([{"name": "v", "source": "context.v", "encoding": "vector"}], "length"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(features: list[dict[str, Any]], fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        schema_of(*features)


def test_a_definition_parses_back_to_the_same_schema() -> None:
    vector = {"name": "v", "source": "context.v", "encoding": "vector", "length": 2, "default": [1, 2], "minimum": -9}
    made = _build_schema(vector)
    again = FeatureSchema.parse(made.name, json.loads(json.dumps(made.definition)))
    assert again.hash == made.hash
    assert again.labels == made.labels
    np.testing.assert_array_equal(again.encode(CONTEXT, MEALS), made.encode(CONTEXT, MEALS))
    assert schema_of({"name": "all", "encoding": "open"}).dimension == 127


@pytest.mark.parametrize(
    ("value", "valid"),
    [([1, 2.5], True), ([1], False), ([1, 2, 3], False), ([1, "2"], False), ([1, float("nan")], False), ([1, 9], False),
     ([1, True], False), (3, False), (None, False)],
)  # fmt: skip
def test_a_vector_is_so_many_numbers_within_the_limits(value: object, valid: bool) -> None:
    vector = {"name": "v", "source": "context.v", "encoding": "vector", "length": 2, "maximum": 5}
    assert schema_of(vector).context_fields["v"].is_valid(value) is valid
