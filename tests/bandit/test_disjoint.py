"""Blocks: what one model over all products of block and feature would learn, kept apart."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bandstand.bandit.disjoint import (
    BLOCK_MARKER,
    DisjointPosterior,
    DisjointPrior,
    DisjointState,
    create_empty_state,
    prior_from_json,
    state_from_json,
    to_disjoint_posterior,
)
from bandstand.bandit.distribution import extract_second_uniform, hash_to_uniform
from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.memory import SECONDS_PER_DAY
from bandstand.bandit.policies import KINDS, LinUCB, Policy, Thompson
from bandstand.bandit.policy_state import PolicyState
from bandstand.bandit.ridge import Posterior, Prior, RidgeState, compute_posterior
from bandstand.errors import ConfigurationError, FieldError, InvalidRequestError
from tests.bandit import checks
from tests.bandit.given import CATALOGUE, FloatArray, schema, schema_of

ARMS = ["red", "green", "blue"]
FEATURES: list[dict[str, object]] = [
    {"name": "hour", "source": "context.hour", "encoding": "cyclic", "period": 24},
    {"name": "price", "source": "candidate.price", "encoding": "scale", "divisor": 100.0},
]
BLOCK: dict[str, object] = {"source": "candidate.colour", "values": ARMS}
PER_COLOUR = schema_of(*FEATURES, intercept=True, block=BLOCK)

COLOUR = {"name": "colour", "source": "candidate.colour", "encoding": "onehot", "values": ARMS}
PRODUCTS = schema_of(
    *FEATURES,
    COLOUR,
    *({"name": f"by_{name}", "encoding": "interaction", "of": ["colour", name]} for name in ("hour", "price")),
)
"""The same model as one: the products of every colour with the intercept, the hour and the price."""


def _requests(rng: np.random.Generator, count: int, candidates: int = 4) -> list[tuple[dict[str, object], Any]]:
    return [
        (
            {"hour": float(rng.uniform(0, 24))},
            [{"colour": str(rng.choice(ARMS)), "price": float(rng.uniform(-100, 100))} for _ in range(candidates)],
        )
        for _ in range(count)
    ]


def _build_wide_rows(requests: list[tuple[dict[str, object], Any]]) -> FloatArray:
    """The products alone: 3 colours × (1, sine, cosine, price)."""
    columns = [label for label in PRODUCTS.labels if label.startswith("colour")]
    places = [PRODUCTS.labels.index(label) for label in columns]
    return np.concatenate([PRODUCTS.encode(*request)[:, places] for request in requests])


def _rows(requests: list[tuple[dict[str, object], Any]]) -> FloatArray:
    return np.concatenate([PER_COLOUR.encode(*request) for request in requests])


def _learn_rows(rows: FloatArray, rewards: FloatArray, weights: FloatArray | None = None) -> RidgeState:
    state = create_empty_state(rows[0])
    for x, reward, weight in zip(rows, rewards, np.ones(len(rows)) if weights is None else weights, strict=True):
        state = state.with_reward(x, float(reward), float(weight))
    return state


def test_it_is_the_model_of_all_products() -> None:
    rng = np.random.default_rng(0)
    history, asked = _requests(rng, 40), _requests(rng, 10)
    rewards = rng.uniform(-1.0, 1.0, 160)
    prior = Prior(np.zeros(4), 0.3 * np.eye(4), 0.2)
    apart = _learn_rows(_rows(history), rewards).compute_posterior(prior)
    wide, state = _build_wide_rows(history), RidgeState.empty(12)
    for x, reward in zip(wide, rewards, strict=True):
        state = state.with_reward(x, float(reward))
    whole = compute_posterior(state, Prior(np.zeros(12), 0.3 * np.eye(12), 0.2))
    np.testing.assert_allclose(
        apart.compute_means(_rows(asked)), whole.compute_means(_build_wide_rows(asked)), rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        apart.compute_widths(_rows(asked)), whole.compute_widths(_build_wide_rows(asked)), rtol=0, atol=1e-12
    )


def test_a_carried_posterior_is_the_one_from_the_sums() -> None:
    rng = np.random.default_rng(1)
    rows, rewards = _rows(_requests(rng, 30)), rng.uniform(-1.0, 1.0, 120)
    prior = Prior(rng.normal(size=4), np.diag([0.5, 1.0, 2.0, 3.0]), 0.4)
    carried = to_disjoint_posterior(Posterior(prior.mean, prior.covariance), 4)
    for x, reward in zip(rows, rewards, strict=True):
        carried = carried.with_reward(x, float(reward), 0.5, prior.noise)
    batch = _learn_rows(rows, rewards, np.full(120, 0.5)).compute_posterior(prior)
    np.testing.assert_allclose(carried.mean, batch.mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(carried.covariance, batch.covariance, rtol=0, atol=1e-10)


def test_its_width_is_that_of_all_blocks() -> None:
    whole, alone = DisjointState.empty_blocks(3, 5), RidgeState.empty(5)
    assert (whole.width, alone.width) == (15, 5)
    assert (whole.b.size, alone.b.size) == (15, 5)


def test_a_revoked_reward_leaves_what_would_be_without_it() -> None:
    rng = np.random.default_rng(2)
    rows, rewards = _rows(_requests(rng, 5)), rng.uniform(-1.0, 1.0, 20)
    revoked = _learn_rows(rows, rewards).without_reward(rows[7], float(rewards[7]))
    without = _learn_rows(np.delete(rows, 7, axis=0), np.delete(rewards, 7))
    for name in ("gram", "b", "rr", "weight"):
        np.testing.assert_allclose(getattr(revoked, name), getattr(without, name), rtol=0, atol=1e-12)
    assert revoked.count == without.count == 19
    alone = _learn_rows(rows[:1], rewards[:1]).without_reward(rows[0], float(rewards[0]))
    assert alone.to_json() == create_empty_state(rows[0]).to_json()


def test_sums_survive_json_to_the_last_bit() -> None:
    rng = np.random.default_rng(3)
    for count in (1, 10):
        rows = _rows(_requests(rng, count, 1))
        state = _learn_rows(rows, rng.uniform(-1.0, 1.0, count))
        again = state_from_json(json.loads(json.dumps(state.to_json())))
        assert isinstance(again, DisjointState)
        assert (again.gram.tobytes(), again.b.tobytes()) == (state.gram.tobytes(), state.b.tobytes())
        assert (again.rr, again.weight, again.count) == (state.rr, state.weight, state.count)


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": []},
        {"blocks": [{"gram": [1.0]}]},
        {"blocks": [{"gram": [1.0], "b": [1.0]}, {"gram": [1.0, 0.0, 1.0], "b": [1.0, 0.0]}]},
        {"blocks": None},
        {"count": -1},
        {"weight": "much"},
    ],
)
def test_what_is_no_document_of_blocks_is_refused(change: dict[str, object]) -> None:
    document = _learn_rows(_rows(_requests(np.random.default_rng(4), 3, 1)), np.zeros(3)).to_json()
    with pytest.raises(ValueError, match=r".") as refusal:
        state_from_json({**document, **change})
    assert not isinstance(refusal.value, KeyError | IndexError)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("law", [checks.sums_to_one, checks.splits_ties, checks.is_pure])
def test_policies_over_blocks_obey_the_laws(kind: str, law: Callable[[Policy], None]) -> None:
    policy = KINDS[kind](kind, PER_COLOUR, {})
    if law in checks.list_laws(policy):
        law(policy)


@pytest.mark.parametrize("kind", ["linucb", "egreedy", "thompson", "squarecb"])
def test_it_learns_what_each_arm_is_good_for(kind: str) -> None:
    """Where every colour has weights of its own, half of what lies between random and the best is earned at least."""
    policy = KINDS[kind](kind, PER_COLOUR, {"variance": 0.25, "noise": 0.1})
    earned = random = best = 0.0
    for seed in range(4):
        rng = np.random.default_rng(100 + seed)
        theta, state = rng.normal(size=(4, 4)) / 2.0, None
        for number in range(200):
            context = {"hour": float(rng.uniform(0, 24))}
            x = PER_COLOUR.encode(context, [{"colour": colour, "price": 40.0} for colour in ARMS])
            means = np.vecdot(theta[:3], x[:, :-1])
            u = hash_to_uniform(checks.SECRET, f"{seed}-{number}")
            state = state or create_empty_state(x[0])
            pick = (
                policy.distribution(state.compute_posterior(policy.prior), x, extract_second_uniform(u)).draw(u).index
            )
            state = state.with_reward(x[pick], float(means[pick] + rng.normal(0.0, 0.3)))
            earned, random, best = earned + means[pick], random + means.mean(), best + means.max()
    assert earned - random > 0.5 * (best - random)


def test_thompson_draws_each_blocks_weights_apart() -> None:
    """Two arms of one θ would tie in every draw; of two θ each is best in half of them (four standard errors)."""
    policy = Thompson("any", PER_COLOUR, {})
    x = PER_COLOUR.encode({"hour": 7.0}, [{"colour": colour, "price": 50.0} for colour in ("red", "blue")])
    belief = create_empty_state(x[0]).compute_posterior(policy.prior)
    draws = belief.compute_draw_deviations(x, np.random.default_rng(5).standard_normal((4096, 4)), 0, 3000)
    correlation = np.asarray(np.corrcoef(draws))[0, 1]
    assert abs(correlation) < 4.0 / np.sqrt(3000)
    np.testing.assert_allclose(draws.std(axis=1), belief.compute_widths(x), rtol=0.06)
    unmet = Posterior(policy.prior.mean, policy.prior.covariance)
    assert policy.distribution(unmet, x).greedy.tolist() == policy.distribution(belief, x).greedy.tolist()
    assert 0.3 < policy.distribution(unmet, x).greedy[0] < 0.7


def test_a_value_that_is_not_listed_shares_a_block_with_all_others_that_are_not() -> None:
    x = PER_COLOUR.encode({}, [{"colour": each} for each in ("red", "pink", "", "blue")] + [{}])
    numbers = x[:, -1] - x[0, -1]
    assert numbers.tolist() == [0.0, 3.0, 3.0, 2.0, 3.0]
    taught = create_empty_state(x[1]).with_reward(x[1], 1.0).compute_posterior(Prior.build_standard(4))
    assert taught.compute_means(x).tolist() == pytest.approx([0.0, 2 / 3, 2 / 3, 0.0, 2 / 3])


def test_labels_name_every_weight_block_by_block() -> None:
    assert PER_COLOUR.labels == ("intercept", "hour_sin", "hour_cos", "price", "block")
    assert (PER_COLOUR.block_count, PER_COLOUR.weight_count, PER_COLOUR.shape) == (4, 4, (4, 4))
    assert PER_COLOUR.weight_labels[:4] == ("red:intercept", "red:hour_sin", "red:hour_cos", "red:price")
    assert (PER_COLOUR.weight_labels[4], PER_COLOUR.weight_labels[-1]) == ("green:intercept", "other:price")
    plain = schema("tips-v2")
    assert (plain.block_count, plain.weight_count, plain.weight_labels) == (0, 8, plain.labels)


def test_a_block_may_be_told_by_the_context_or_a_number() -> None:
    made = schema_of(FEATURES[1], block={"source": "context.shop", "values": [7, 9]})
    x = made.encode({"shop": 9}, [{"price": 10.0}, {"price": 20.0}])
    assert (x[:, -1] % 10_000_000).tolist() == [1.0, 1.0]
    assert made.context_fields["shop"].type == "integer"


def test_columns_are_encoded_as_requests_are() -> None:
    requests = _requests(np.random.default_rng(6), 7)
    columns = PER_COLOUR.encode_columns(
        {"hour": [context["hour"] for context, _ in requests]},
        {name: [each[name] for _, candidates in requests for each in candidates] for name in ("colour", "price")},
        (7, 4),
    )
    assert columns.tobytes() == _rows(requests).tobytes()


def test_the_definition_parses_back_and_the_hash_follows_the_block() -> None:
    again = FeatureSchema.parse("made-up", json.loads(json.dumps(PER_COLOUR.definition)))
    assert (again.hash, again.definition, again.labels) == (PER_COLOUR.hash, PER_COLOUR.definition, PER_COLOUR.labels)
    others = [schema_of(*FEATURES, intercept=True)]
    others += [
        schema_of(*FEATURES, intercept=True, block={**BLOCK, **change})
        for change in ({"values": ARMS[:2]}, {"source": "candidate.color"}, {"default": "red"})
    ]
    assert len({each.hash for each in others} | {PER_COLOUR.hash}) == 5


@pytest.mark.parametrize(
    ("features", "block", "field", "message"),
    [
        (FEATURES, {}, "block.source", "is missing"),
        (FEATURES, {"source": "candidate.colour"}, "block.values", "is missing"),
        (FEATURES, {**BLOCK, "colours": 3}, "block.colours", "unknown 'colours'"),
        (FEATURES, {**BLOCK, "values": ["red", "red"]}, "block.values", "must not name anything twice"),
        (FEATURES, "colour", "block", "must be a table"),
        ([{**FEATURES[0], "name": "block"}], BLOCK, "block.name", "taken by an earlier feature"),
        (
            [{"name": "shop", "source": "context.shop", "encoding": "hash", "buckets": 250}],
            {**BLOCK, "values": list(range(9))},
            "block.values",
            "10 blocks of 250² sums are more than 262,144",
        ),
        (
            [*FEATURES, {"name": "both", "encoding": "interaction", "of": ["block", "hour"]}],
            BLOCK,
            "features[2].of",
            "unknown 'block'",
        ),
    ],
)
def test_what_no_block_can_be_is_refused_by_name(features: Any, block: Any, field: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        schema_of(*features, block=block)
    faults = {fault.field: fault.message for fault in refusal.value.errors}
    assert message in faults[f"schemas.made-up.{field}"]


def _members(users: int, rounds: int = 12) -> dict[str, RidgeState]:
    """Users who all want more of 0.8 in red and less in green, each by their own measure; nobody was offered blue."""
    rng = np.random.default_rng(11)
    members: dict[str, RidgeState] = {}
    for user in range(users):
        requests = _requests(rng, rounds, 1)
        for _, (features,) in requests:
            features["colour"] = str(rng.choice(["red", "green"]))
        rows = _rows(requests)
        level = np.where(rows[:, -1] % BLOCK_MARKER == 0, 0.8, -0.8) + 0.1 * rng.normal()
        members[f"user-{user:02}"] = _learn_rows(rows, level + 0.2 * rng.normal(size=rounds))
    return members


def test_over_blocks_users_teach_each_other_block_by_block() -> None:
    policy = LinUCB("mine", PER_COLOUR, {"prior": "auto"})
    shared = policy.fit_prior(_members(30)).get_prior("a stranger")
    assert isinstance(shared, DisjointPrior)
    red, green, *untried = shared.blocks
    assert red.mean[0] > 0.4
    assert green.mean[0] < -0.4
    assert all(each.covariance.trace() > red.covariance.trace() for each in untried), "nobody knows these"
    assert policy.distribution(
        shared.to_posterior(), _rows(_requests(np.random.default_rng(0), 4, 1))
    ).probability.sum()


def test_over_blocks_few_users_own_rewards_are_left_out_and_one_has_the_blocks_own_prior() -> None:
    policy = LinUCB("mine", PER_COLOUR, {"prior": "auto"})
    few = _members(4)
    learnt = policy.fit_prior(few)
    assert set(learnt.leave_one_out) == set(few)
    lone = policy.fit_prior({"user-00": few["user-00"]})
    own = lone.get_prior("user-00")
    assert not isinstance(own, DisjointPrior)
    assert own.mean.shape == (PER_COLOUR.weight_count,)
    again = prior_from_json(json.loads(json.dumps(learnt.shared.to_json())))
    assert isinstance(again, DisjointPrior)
    np.testing.assert_array_equal(again.covariance, learnt.shared.covariance)


@pytest.mark.parametrize("change", [{"blocks": None}, {"blocks": []}, {"blocks": [{}]}])
def test_what_is_no_prior_of_blocks_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="prior"):
        prior_from_json(change)


def test_a_feature_that_is_too_large_is_refused_and_its_block_is_not() -> None:
    made = schema_of({"name": "price", "source": "candidate.price", "encoding": "number"}, block=BLOCK)
    with pytest.raises(InvalidRequestError) as refusal:
        made.encode({}, [{"colour": "red", "price": 2e6}])
    assert refusal.value.errors == (FieldError("price", "encodes to more than 1e+06"),)


@pytest.mark.parametrize("place", [4, 0])
def test_a_row_of_another_schema_is_refused(place: int) -> None:
    rng = np.random.default_rng(7)
    x = _rows(_requests(rng, 1, 1))[0]
    state = create_empty_state(x).with_reward(x, 1.0)
    other = np.delete(x, place)
    for change in (state.with_reward, state.without_reward):
        with pytest.raises(ValueError, match="does not fit 4 blocks of 4 features"):
            change(other, 1.0)


@pytest.mark.parametrize("half_life", [0.0, 2.0])
def test_a_policys_state_learns_unlearns_and_forgets_block_by_block(half_life: float) -> None:
    """As the state of the model of all products does, at every step."""
    rng = np.random.default_rng(8)
    requests = _requests(rng, 200, 1)
    asked, asked_wide = _rows(requests[:20]), _build_wide_rows(requests[:20])
    apart, whole = PolicyState(), PolicyState()
    narrow, wide = Prior.build_standard(4), Prior.build_standard(12)
    for number, (x, y) in enumerate(zip(_rows(requests), _build_wide_rows(requests), strict=True)):
        now, reward = number * SECONDS_PER_DAY / 8, float(rng.uniform(-1.0, 1.0))
        apart.learn(x, reward, 1.0, now, half_life)
        whole.learn(y, reward, 1.0, now, half_life)
        if number % 7 == 3:
            apart.unlearn(x, reward, 1.0, now)
            whole.unlearn(y, reward, 1.0, now)
        belief, expected = apart.get_posterior(narrow, now), whole.get_posterior(wide, now)
        assert isinstance(belief, DisjointPosterior)
        np.testing.assert_allclose(belief.compute_means(asked), expected.compute_means(asked_wide), rtol=0, atol=1e-9)
    again = PolicyState.from_json(json.loads(json.dumps(apart.to_json())))
    assert again.to_json() == apart.to_json()


def test_no_schema_that_ships_has_blocks() -> None:
    assert all(not each.block_count for each in CATALOGUE.schemas.values())
