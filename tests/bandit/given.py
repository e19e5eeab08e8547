"""What the tests of the learning core start from: the shipped catalogue, and random requests that fit any schema."""

import math
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import settings
from hypothesis import strategies as st

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.disjoint import create_empty_state
from bandstand.bandit.features import FeatureSchema, Field
from bandstand.bandit.ridge import Posterior, Prior, RidgeState

FloatArray = npt.NDArray[np.float64]
Values = dict[str, object]

SHIPPED: dict[str, Any] = tomllib.loads(resources.files("bandstand").joinpath("defaults.toml").read_text("utf-8"))
CATALOGUE = Catalogue.parse(SHIPPED)

LAW = settings(deadline=None, derandomize=True)
"""A property is a law or it is not: the same examples in every run, and no limit of time on a shared machine."""


def schema(name: str) -> FeatureSchema:
    return CATALOGUE.schemas[name]


def schema_of(*features: Mapping[str, object], **more: object) -> FeatureSchema:
    return FeatureSchema.parse("made-up", {"version": 1, "features": list(features), **more})


def random_value(field: Field, rng: np.random.Generator) -> object:
    """A valid value of a field, uniform where it has limits."""
    if field.type == "boolean":
        return bool(rng.integers(2))
    if field.type == "string":
        return str(rng.choice(["red", "green", "blue", "", "人"]))
    low = -100.0 if field.minimum is None else field.minimum
    high = 100.0 if field.maximum is None else field.maximum
    return int(rng.integers(int(low), int(high) + 1)) if field.type == "integer" else float(rng.uniform(low, high))


def random_request(schema: FeatureSchema, rng: np.random.Generator, count: int) -> tuple[Values, list[Values]]:
    """One context and ``count`` candidates' features."""
    context = {name: random_value(field, rng) for name, field in schema.context_fields.items()}
    fields = schema.candidate_fields.items()
    return context, [{name: random_value(field, rng) for name, field in fields} for _ in range(count)]


def random_rows(schema: FeatureSchema, rng: np.random.Generator, count: int) -> FloatArray:
    """``count`` candidates, each under a context of its own: (count, d)."""
    requests = [random_request(schema, rng, 1) for _ in range(count)]
    return np.concatenate([schema.encode(context, candidates) for context, candidates in requests])


def learn_rows(rows: FloatArray, rewards: FloatArray) -> RidgeState:
    """The state after one reward for each row."""
    state = create_empty_state(rows[0]) if len(rows) else RidgeState.empty(rows.shape[1])
    for x, reward in zip(rows, rewards, strict=True):
        state = state.with_reward(x, float(reward))
    return state


def posterior_of_prior(prior: Prior) -> Posterior:
    return Posterior(prior.mean, prior.covariance)


def random_prior(d: int, rng: np.random.Generator) -> Prior:
    """A prior with correlated directions whose scales differ a hundredfold, and noise that is not 1."""
    basis, _ = np.linalg.qr(rng.normal(size=(d, d)))
    scales = np.geomspace(0.1, 10.0, d)
    covariance = (basis * scales) @ basis.T
    return Prior(rng.normal(size=d), (covariance + covariance.T) / 2.0, float(rng.uniform(0.1, 2.0)))


def values_of(field: Field) -> st.SearchStrategy[object]:
    """Every valid value of a field."""
    if field.type == "boolean":
        return st.booleans()
    if field.type == "string":
        return st.text()
    if field.type == "integer":
        low = None if field.minimum is None else int(field.minimum)
        return st.integers(low, None if field.maximum is None else int(field.maximum))
    low_number = -math.inf if field.minimum is None else field.minimum
    high_number = math.inf if field.maximum is None else field.maximum
    return st.floats(low_number, high_number, allow_nan=False, allow_infinity=False)


def draw_partial(fields: Mapping[str, Field]) -> st.SearchStrategy[Values]:
    """A context or features in which any field may be missing."""
    return st.fixed_dictionaries({}, optional={name: values_of(field) for name, field in fields.items()})
