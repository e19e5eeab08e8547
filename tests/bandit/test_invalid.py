"""Everything the learning core refuses, in one place: what is wrong, and what it says."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.distribution import Distribution, compute_greedy_probabilities, hash_to_uniform
from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.policies import EpsilonGreedy, LinUCB, Policy
from bandstand.bandit.rewards import compute_reaction_reward, validate_reward
from bandstand.bandit.ridge import Prior, RidgeState, compute_posterior
from bandstand.errors import ConfigurationError, InvalidRequestError
from tests.bandit.given import CATALOGUE, SHIPPED, FloatArray, posterior_of_prior, schema

HOUR = {"name": "hour", "source": "context.hour", "encoding": "cyclic", "period": 24}
FLAG = {"name": "flag", "source": "candidate.flag", "encoding": "flag"}


def _list_faults(definition: Mapping[str, object], name: str = "made-up") -> dict[str, str]:
    with pytest.raises(ConfigurationError) as error:
        FeatureSchema.parse(name, definition)
    assert "\n" not in error.value.detail
    assert all(f"{fault.field}: {fault.message}" in error.value.detail for fault in error.value.errors)
    return {fault.field.removeprefix(f"schemas.{name}").lstrip("."): fault.message for fault in error.value.errors}


def _feature_faults(*features: object) -> dict[str, str]:
    return _list_faults({"version": 1, "features": list(features)})


# ── feature schemas ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "key", "message"),
    [
        ({"perod": 7}, "perod", "unknown 'perod', did you mean 'period'?"),
        ({"encoding": "cylic"}, "encoding", "unknown 'cylic', did you mean 'cyclic'?"),
        ({"encoding": None}, "encoding", "is missing"),
        ({"encoding": 7}, "encoding", "must be a string that is not empty"),
        ({"name": None}, "name", "is missing"),
        ({"name": ""}, "name", "must be a string that is not empty"),
        ({"name": "an hour"}, "name", "must match [A-Za-z_][A-Za-z0-9_]{0,63}"),
        ({"source": None}, "source", "is missing"),
        ({"source": "hour"}, "source", "must be context.NAME or candidate.NAME"),
        ({"source": "user.hour"}, "source", "must be context.NAME or candidate.NAME"),
        ({"source": "context.hour.of"}, "source", "must be context.NAME or candidate.NAME"),
        ({"period": None}, "period", "is missing"),
        ({"period": 0}, "period", "must be a finite number > 0"),
        ({"period": "24"}, "period", "must be a finite number > 0"),
        ({"period": True}, "period", "must be a finite number > 0"),
        ({"period": math.inf}, "period", "must be a finite number > 0"),
        ({"type": "string"}, "type", "unknown 'string'; allowed: number, integer"),
        ({"type": "interger"}, "type", "unknown 'interger', did you mean 'integer'?"),
        ({"type": "integer", "default": 1.5}, "default", "must be of type integer"),
        ({"default": "noon"}, "default", "must be of type number"),
        ({"default": math.nan}, "default", "must be of type number"),
        ({"default": 24, "maximum": 23}, "default", "must lie within minimum and maximum"),
        ({"minimum": 1}, "default", "must lie within minimum and maximum"),
        ({"minimum": "0"}, "minimum", "must be of type number"),
        ({"centre": [0.5]}, "centre", "must be a finite number, or a list of 2, one per column"),
        ({"centre": "middle"}, "centre", "must be a finite number, or a list of 2, one per column"),
        ({"centre": [0.5, math.nan]}, "centre", "must be a finite number, or a list of 2, one per column"),
        ({"labels": ["sin"]}, "labels", "must be 2 labels, one per column"),
        ({"labels": ["sin", "sin"]}, "labels", "must not name anything twice"),
        ({"labels": "sin"}, "labels", "must be a list of strings that are not empty"),
        ({"labels": ["sin", ""]}, "labels", "must be a list of strings that are not empty"),
    ],
)
def test_features(change: dict[str, object], key: str, message: str) -> None:
    feature = {name: value for name, value in {**HOUR, **change}.items() if value is not None}
    assert _feature_faults(feature) == {f"features[0].{key}": message}


@pytest.mark.parametrize(
    ("options", "key", "message"),
    [
        ({"encoding": "clip", "low": 3, "high": 3}, "high", "must be a finite number > 3"),
        ({"encoding": "clip", "high": 3}, "low", "is missing"),
        ({"encoding": "scale", "divisor": -1}, "divisor", "must be a finite number > 0"),
        (
            {"encoding": "scale", "divisor": 1e-7, "maximum": 1, "minimum": 0},
            "encoding",
            "can exceed 1e+06; scale it down",
        ),
        ({"encoding": "number", "minimum": 0, "maximum": 2e6}, "encoding", "can exceed 1e+06; scale it down"),
        ({"encoding": "flag", "centre": 1e6}, "encoding", "can exceed 1e+06; scale it down"),
        (
            {"encoding": "flag", "minimum": 0},
            "minimum",
            "unknown 'minimum'; allowed: name, encoding, source, type, default, labels, centre",
        ),
        ({"encoding": "flag", "default": 1}, "default", "must be of type boolean"),
        ({"encoding": "flag", "type": "integer"}, "type", "unknown 'integer'; allowed: boolean"),
        ({"encoding": "onehot"}, "values", "is missing"),
        ({"encoding": "onehot", "values": "abc"}, "values", "must be a list that is not empty"),
        ({"encoding": "onehot", "values": ["a", 1]}, "values", "must be all strings or all integers"),
        ({"encoding": "onehot", "values": [True]}, "values", "must be all strings or all integers"),
        ({"encoding": "onehot", "values": ["a", "a"]}, "values", "must not name anything twice"),
        ({"encoding": "onehot", "values": ["a"], "default": 3}, "default", "must be of type string"),
        ({"encoding": "hash"}, "buckets", "is missing"),
        ({"encoding": "hash", "buckets": 0}, "buckets", "must be an integer from 1 to 256"),
        ({"encoding": "hash", "buckets": 4.0}, "buckets", "must be an integer from 1 to 256"),
    ],
)
def test_options_of_encodings(options: dict[str, object], key: str, message: str) -> None:
    assert _feature_faults({"name": "f", "source": "candidate.v", **options})[f"features[0].{key}"] == message


@pytest.mark.parametrize(
    ("second", "key", "message"),
    [
        (
            {**HOUR, "name": "h2", "default": 6},
            "source",
            "an earlier feature gives context.hour another type, default, minimum or maximum",
        ),
        (
            {**FLAG, "source": "candidate.hour"},
            "source",
            "hour is already read from the context; give one of them another name",
        ),
        ({**FLAG, "name": "hour"}, "name", "'hour' is taken by an earlier feature or column"),
        ({**FLAG, "labels": ["hour_sin"]}, "labels", "'hour_sin' is taken by an earlier feature or column"),
        ({"name": "i", "encoding": "interaction"}, "of", "must name two different earlier features or columns"),
        (
            {"name": "i", "encoding": "interaction", "of": ["hour"]},
            "of",
            "must name two different earlier features or columns",
        ),
        (
            {"name": "i", "encoding": "interaction", "of": ["hour", "hour_sun"]},
            "of",
            "unknown 'hour_sun', did you mean 'hour_sin'? (only earlier features and columns can be named)",
        ),
        (
            {"name": "i", "encoding": "interaction", "of": ["hour_sin", "hour_cos"], "source": "context.x"},
            "source",
            "unknown 'source'; allowed: name, encoding, of, labels, centre",
        ),
        (
            {"name": "i", "encoding": "interaction", "of": ["hour_sin", "hour_cos"], "centre": -1e6},
            "encoding",
            "can exceed 1e+06; scale it down",
        ),
        ("flag", "", "must be a table"),
    ],
)
def test_second_features(second: object, key: str, message: str) -> None:
    assert _feature_faults(HOUR, second)[f"features[1].{key}".rstrip(".")] == message


@pytest.mark.parametrize(
    ("definition", "key", "message"),
    [
        ({"features": [FLAG]}, "version", "is missing"),
        ({"version": 0, "features": [FLAG]}, "version", "must be an integer from 1 to 1000000"),
        ({"version": "1", "features": [FLAG]}, "version", "must be an integer from 1 to 1000000"),
        ({"version": 1}, "features", "is missing"),
        ({"version": 1, "features": []}, "features", "must be a list that is not empty"),
        ({"version": 1, "features": FLAG}, "features", "must be a list that is not empty"),
        ({"version": 1, "intercept": 1, "features": [FLAG]}, "intercept", "must be true or false"),
        ({"version": 1, "features": [FLAG], "feature": []}, "feature", "unknown 'feature', did you mean 'features'?"),
    ],
)
def test_schemas(definition: dict[str, object], key: str, message: str) -> None:
    assert _list_faults(definition) == {key: message}


def test_the_intercept_keeps_its_label() -> None:
    faults = _list_faults({"version": 1, "intercept": True, "features": [{**FLAG, "name": "intercept"}]})
    assert faults["features[0].name"] == "'intercept' is taken by an earlier feature or column"


def test_a_schema_has_at_most_256_columns_buckets_and_intercept_included() -> None:
    buckets = {"name": "h", "source": "candidate.v", "encoding": "hash", "buckets": 256}
    assert FeatureSchema.parse("made-up", {"version": 1, "features": [buckets]}).dimension == 256
    too_many = "has 257 columns; at most 256 are allowed"
    assert _list_faults({"version": 1, "intercept": True, "features": [buckets]}) == {"": too_many}
    values = {"name": "v", "source": "candidate.w", "encoding": "onehot", "values": list(range(257))}
    assert _feature_faults(values)["features[0].values"] == "must be at most 256"


@pytest.mark.parametrize("name", ["", "Tips", "../tips", "a" * 65])
def test_schema_names(name: str) -> None:
    assert _list_faults({"version": 1, "features": [FLAG]}, name) == {
        "": "the name must match [a-z0-9][a-z0-9._-]{0,63}"
    }


def test_all_faults_of_a_schema_are_named_at_once() -> None:
    faults = _list_faults(
        {
            "version": 0,
            "intersept": True,
            "features": [{**HOUR, "perod": 24}, {**FLAG, "default": 0}, {"name": "x", "encoding": "flagg"}],
        }
    )
    assert set(faults) == {
        "version",
        "intersept",
        "features[0].perod",
        "features[1].default",
        "features[2].encoding",
    }


# ── the catalogue ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _catalogue_faults(deployment: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as error:
        Catalogue.parse(SHIPPED, deployment)
    return {fault.field: fault.message for fault in error.value.errors}


RESERVED = "is reserved for the contract; give yours another name"
LINUCB = {"kind": "linucb", "schema": "tips-5"}


@pytest.mark.parametrize(
    ("deployment", "field", "message"),
    [
        ({"polices": {}}, "polices", "unknown 'polices', did you mean 'policies'?"),
        ({"taxonomies": {}}, "taxonomies", "unknown 'taxonomies'; allowed: schemas, policies"),
        ({"policies": []}, "policies", "must be a table"),
        ({"schemas": 1}, "schemas", "must be a table"),
        ({"schemas": {"s": 1}}, "schemas.s", "must be a table"),
        ({"policies": {"Bad": LINUCB}}, "policies.Bad", "the name must match [a-z0-9][a-z0-9._-]{0,63}"),
        ({"policies": {"p": {"schema": "tips-5"}}}, "policies.p.kind", "is missing"),
        (
            {"policies": {"p": {**LINUCB, "kind": "linucp"}}},
            "policies.p.kind",
            "unknown 'linucp', did you mean 'linucb'?",
        ),
        ({"policies": {"p": {"kind": "linucb"}}}, "policies.p.schema", "is missing"),
        (
            {"policies": {"p": {**LINUCB, "schema": "tip-5"}}},
            "policies.p.schema",
            "unknown 'tip-5', did you mean 'tips-5'?",
        ),
        ({"policies": {"p": {**LINUCB, "alfa": 1}}}, "policies.p.alfa", "unknown 'alfa', did you mean 'alpha'?"),
        (
            {"policies": {"p": {**LINUCB, "epsilon": 0.1}}},
            "policies.p.epsilon",
            "unknown 'epsilon'; allowed: kind, schema, alpha, floor, half_life, variance, noise, prior",
        ),
        (
            {"policies": {"p": {"kind": "uniform", "schema": "tips-5", "prior": "population"}}},
            "policies.p.prior",
            "unknown 'prior'; allowed: kind, schema",
        ),
        (
            {"policies": {"p": {**LINUCB, "prior": "populaton"}}},
            "policies.p.prior",
            "unknown 'populaton', did you mean 'population'?",
        ),
        (
            {"policies": {"p": {**LINUCB, "prior": True}}},
            "policies.p.prior",
            "unknown 'True'; allowed: auto, population, standard",
        ),
        (
            {"policies": {"p": {**LINUCB, "half_life": -1}}},
            "policies.p.half_life",
            'must be a number from 0 to 36500 or "auto"',
        ),
        (
            {"policies": {"p": {**LINUCB, "kind": "thomson"}}},
            "policies.p.kind",
            "unknown 'thomson', did you mean 'thompson'?",
        ),
        ({"policies": {"p": {**LINUCB, "alpha": -1}}}, "policies.p.alpha", "must be a number from 0 to 1e+06"),
        ({"policies": {"p": {**LINUCB, "alpha": "1"}}}, "policies.p.alpha", "must be a number from 0 to 1e+06"),
        ({"policies": {"p": {**LINUCB, "floor": 1.01}}}, "policies.p.floor", "must be a number from 0 to 1"),
        ({"policies": {"p": {**LINUCB, "floor": math.nan}}}, "policies.p.floor", "must be a number from 0 to 1"),
        ({"policies": {"linucb-v1": LINUCB}}, "policies.linucb-v1", RESERVED),
        ({"policies": {"egreedy-v1": LINUCB}}, "policies.egreedy-v1", RESERVED),
        ({"policies": {"linucb": LINUCB}}, "policies.linucb", RESERVED),
        ({"policies": {"egreedy": LINUCB}}, "policies.egreedy", RESERVED),
        ({"schemas": {"tips-5": {"version": 2, "features": [FLAG]}}}, "schemas.tips-5", RESERVED),
        ({"schemas": {"tips-7": {"version": 2, "features": [FLAG]}}}, "schemas.tips-7", RESERVED),
        (
            {"schemas": {"s": {"version": 1, "features": [{**FLAG, "source": "candidate.priority"}]}}},
            "schemas.s",
            (
                "candidate.priority is boolean, default False, "
                "but candidate.priority is integer from 1 to 4, default 1 in another schema"
            ),
        ),
        (
            {"schemas": {"s": {"version": 1, "features": [{**HOUR, "source": "candidate.hour_of_day"}]}}},
            "schemas.s",
            (
                "candidate.hour_of_day is number, default 0.0, "
                "but context.hour_of_day is integer from 0 to 23, default 12 in another schema"
            ),
        ),
    ],
)
def test_deployments(deployment: dict[str, Any], field: str, message: str) -> None:
    assert _catalogue_faults(deployment)[field] == message


def test_a_policy_over_a_faulty_schema_adds_no_fault_of_its_own() -> None:
    deployment = {
        "schemas": {"s": {"version": 1, "features": [{**FLAG, "encoding": "flagg"}]}},
        "policies": {"p": {"kind": "linucb", "schema": "s"}},
    }
    assert set(_catalogue_faults(deployment)) == {"schemas.s.features[0].encoding"}


def test_all_faults_of_a_deployment_are_named_at_once() -> None:
    deployment = {
        "polices": {},
        "schemas": {"s": {"version": 1, "features": [{**HOUR, "perod": 1}]}},
        "policies": {"p": {**LINUCB, "alfa": 1, "floor": 2}, "linucb": LINUCB},
    }
    assert set(_catalogue_faults(deployment)) == {
        "polices",
        "schemas.s.features[0].perod",
        "policies.p.alfa",
        "policies.p.floor",
        "policies.linucb",
    }


def test_parameters_given_in_code() -> None:
    with pytest.raises(ConfigurationError, match="unknown 'alpa', did you mean 'alpha'"):
        LinUCB("p", schema("tips-5"), {"alpa": 1.0})
    with pytest.raises(ConfigurationError, match=r"policies\.p\.epsilon: must be a number from 0 to 1"):
        EpsilonGreedy("p", schema("tips-5"), {"epsilon": True})


# ── ridge sums, priors, distributions ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("x", "r", "w"),
    [
        ([1.0, 2.0], 0.5, 1.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 1.0),
        ([1.0, math.nan, 0.0], 0.5, 1.0),
        ([1.0, math.inf, 0.0], 0.5, 1.0),
        ([1e80, 0.0, 0.0], 0.5, 1.0),
        ([1.0, 0.0, 0.0], math.nan, 1.0),
        ([1.0, 0.0, 0.0], -math.inf, 1.0),
        ([1.0, 0.0, 0.0], 0.5, 0.0),
        ([1.0, 0.0, 0.0], 0.5, -1.0),
        ([1.0, 0.0, 0.0], 0.5, math.nan),
        ([0.0, 0.0, 0.0], 0.5, math.inf),
    ],
)
def test_rewards_that_cannot_be_summed_change_nothing(x: list[float], r: float, w: float) -> None:
    state = RidgeState.empty(3).with_reward(np.array([1.0, 2.0, 3.0]), 0.5)
    before = state.to_json()
    for change in (state.with_reward, state.without_reward):
        with pytest.raises(ValueError, match=r"x of shape|must be finite"):
            change(np.array(x), r, w)
    assert state.to_json() == before


@pytest.mark.parametrize(("x", "r", "w"), [([2.0, 0.0], 0.5, 1.0), ([1.0, 0.0], 0.9, 1.0), ([0.1, 0.0], 0.1, 1.5)])
def test_a_reward_that_is_not_in_the_sums_cannot_be_revoked(x: list[float], r: float, w: float) -> None:
    state = RidgeState.empty(2).with_reward(np.array([1.0, 0.0]), 0.5)
    with pytest.raises(ValueError, match="not in the sums"):
        state.without_reward(np.array(x), r, w)
    with pytest.raises(ValueError, match="not in the sums"):
        RidgeState.empty(2).without_reward(np.zeros(2), 0.0)


@pytest.mark.parametrize(
    "change",
    [
        {"gram": [1.0, 0.0]},
        {"gram": [1.0, 0.0, math.nan]},
        {"gram": "abc"},
        {"gram": None},
        {"b": [1.0]},
        {"b": []},
        {"b": [[1.0, 2.0]]},
        {"b": [1.0, math.inf]},
        {"rr": -1.0},
        {"rr": "1"},
        {"weight": -0.5},
        {"weight": None},
        {"weight": math.nan},
        {"count": -1},
        {"count": None},
    ],
)
def test_ridge_documents(change: dict[str, object]) -> None:
    document = {"gram": [1.0, 0.0, 1.0], "b": [0.5, 0.5], "rr": 1.0, "weight": 1.0, "count": 1}
    assert RidgeState.from_json(document).to_json() == document
    with pytest.raises(ValueError, match=r"."):
        RidgeState.from_json({**document, **change})
    for key in change:
        with pytest.raises(ValueError, match=key):
            RidgeState.from_json({name: value for name, value in document.items() if name != key})


def test_sums_must_be_symmetric() -> None:
    with pytest.raises(ValueError, match="symmetric"):
        RidgeState.from_sums(np.array([[1.0, 0.5], [0.4, 1.0]]), np.zeros(2), 0.0, 1.0, 1)


@pytest.mark.parametrize(
    ("mean", "covariance", "noise"),
    [
        (np.zeros(2), np.eye(3), 1.0),
        (np.zeros((2, 1)), np.eye(2), 1.0),
        (np.array([0.0, math.nan]), np.eye(2), 1.0),
        (np.zeros(2), np.diag([1.0, math.inf]), 1.0),
        (np.zeros(2), np.eye(2), 0.0),
        (np.zeros(2), np.eye(2), -1.0),
        (np.zeros(2), np.eye(2), math.nan),
        (np.zeros(2), np.array([[1.0, 0.5], [0.0, 1.0]]), 1.0),
        (np.zeros(2), np.array([[1.0, 2.0], [2.0, 1.0]]), 1.0),
    ],
)
def test_priors(mean: FloatArray, covariance: FloatArray, noise: float) -> None:
    with pytest.raises(ValueError, match=r"prior|fit"):
        Prior(mean, covariance, noise)


@pytest.mark.parametrize("scores", [[], [math.nan], [1.0, math.nan], [math.inf, 0.0], [-math.inf]])
def test_scores(scores: list[float]) -> None:
    with pytest.raises(ValueError, match=r"finite|empty"):
        compute_greedy_probabilities(np.array(scores))


@pytest.mark.parametrize("u", [-1e-9, 1.0, 2.0, math.nan])
def test_numbers_to_draw_with(u: float) -> None:
    one = np.ones(1)
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        Distribution(one, one, one, one, 0.5).draw(u)


def test_a_draw_needs_a_secret() -> None:
    with pytest.raises(ValueError, match="secret"):
        hash_to_uniform(b"", "decision-1")


@pytest.mark.parametrize("policy", CATALOGUE.policies.values(), ids=lambda policy: policy.name)
def test_features_of_another_schema(policy: Policy) -> None:
    d = policy.schema.dimension
    belief = compute_posterior(RidgeState.empty(d), policy.prior)
    for shape in ((0, d), (3, d + 1)):
        with pytest.raises(ValueError, match=r"empty|aligned"):
            policy.distribution(belief, np.zeros(shape))
    with pytest.raises(ValueError, match="aligned"):
        posterior_of_prior(policy.prior).with_reward(np.ones(d + 1), 0.5, 1.0, 1.0)


# ── rewards ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("action", "dwell_ms", "field"),
    [
        ("done", None, "reaction.dwell_ms"),
        ("done", -1, "reaction.dwell_ms"),
        ("done", -1e-9, "reaction.dwell_ms"),
        ("done", math.nan, "reaction.dwell_ms"),
        ("done", math.inf, "reaction.dwell_ms"),
        ("done", True, "reaction.dwell_ms"),
        ("done", "15000", "reaction.dwell_ms"),
        ("dismiss", -1, "reaction.dwell_ms"),
        ("snooze", math.nan, "reaction.dwell_ms"),
        ("Done", 20_000, "reaction.action"),
        ("", None, "reaction.action"),
        ("like", None, "reaction.action"),
    ],
)
def test_reactions(action: str, dwell_ms: Any, field: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        compute_reaction_reward(action, dwell_ms)
    assert [fault.field for fault in error.value.errors] == [field]


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 1.0000001, -1.0000001, 2, 10**400, True, False, "0.5", None, [0.5], 1j]
)
def test_reward_values(value: object) -> None:
    with pytest.raises(InvalidRequestError) as error:
        validate_reward(value)
    assert [fault.field for fault in error.value.errors] == ["reward"]
    assert str(value) not in error.value.detail
