"""Policies that decide again over somebody's log: they know what had happened by then, and nothing else."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.eligibility import spread
from bandstand.evaluate import Accumulator, EvaluationError, Formula
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from bandstand.evaluate.policy_replay.replay import PolicyReplay
from bandstand.evaluate.policy_replay.requests import LoggedRequest, encode_requests
from bandstand.store.logged_events import LoggedDecision, LoggedEvent, LoggedReset, LoggedReward
from tests.evaluate.ledgers import KINDS, build_catalogue, pages_of, persona_world, play_world, replay_log
from tests.evaluate.world import FloatArray
from tests.store.given import DAY, NOON
from tests.store.populated import Served, trim_directory

POLICIES = [*KINDS, "my-forgetful"]
USERS = ("anna", "bob", "carol")


def decisions_of(pages: list[list[LoggedEvent]]) -> list[LoggedDecision]:
    return [event for page in pages for event in page if isinstance(event, LoggedDecision)]


def compute_chosen(candidate: CandidatePolicy, decision: LoggedDecision) -> float:
    """The probability with which a candidate would pick what was picked."""
    request = LoggedRequest.parse("", decision.body)
    [x] = encode_requests(candidate.policy.schema, [request])
    offered = x if request.eligible is None else x[request.eligible]
    distribution = candidate.distribution(decision.uid, offered, decision.seed, decision.ts)
    return float(spread(distribution.probability, request.eligible, len(x))[decision.pick])


async def serve_history(served: Served, policy: str, rounds: int) -> None:
    """Decisions of one policy, rewards of both forms, late and never, and a reset."""
    waiting = []
    for turn in range(rounds):
        user = USERS[turn % len(USERS)]
        waiting.append(await served.decide(user, policy, exclude=["0"] if turn % 5 == 3 else ()))
        if turn % 4 == 2:
            await served.reward_legacy(user, policy)
        if turn % 3 == 1:
            await served.reward(waiting.pop(served.random.randrange(len(waiting))))
        if turn == rounds // 2:
            await served.store.reset("bob", "tests")


@pytest.mark.parametrize("policy", POLICIES)
async def test_the_policy_that_made_the_log_does_again_what_it_did(tmp_path: Path, policy: str) -> None:
    async with Served(tmp_path, build_catalogue()) as served:
        await serve_history(served, policy, 90)
        served.clock.now += 10 * DAY
        await serve_history(served, policy, 90)
    for cut in (False, True):
        if cut:
            trim_directory(tmp_path, NOON + 5 * DAY, build_catalogue())
        pages = pages_of(tmp_path)
        [chunk] = replay_log(pages, policy)
        assert len(chunk) == (90 if cut else 180)
        np.testing.assert_allclose(chunk.target, chunk.propensity, rtol=1e-9)
        assert chunk.supported is not None
        np.testing.assert_allclose(chunk.supported, 1.0, rtol=1e-12)


@pytest.mark.parametrize("policy", POLICIES)
async def test_the_frozen_logger_gives_the_mean_of_what_it_did_while_nobody_taught_it(
    tmp_path: Path, policy: str
) -> None:
    async with Served(tmp_path, build_catalogue()) as served:
        await serve_history(served, policy, 60)
        served.clock.now += DAY
        since = served.clock.now
        made = [await served.decide(USERS[turn % 3], policy) for turn in range(40)]
        served.clock.now += 1.0
        rewards = [served.random.uniform(-1, 1) for _ in made]
        for decision_id, reward in zip(made, rewards, strict=True):
            await served.reward(decision_id, reward)
    pages = pages_of(tmp_path, since=since)
    [frozen] = replay_log(pages, policy, frozen_since=since)
    for name in ("ips", "snips"):
        accumulator = Accumulator(Formula.named(name))
        accumulator.add(frozen.to_logged_rows())
        assert accumulator.estimate().value == pytest.approx(np.mean(rewards), rel=1e-9)
    np.testing.assert_array_equal(frozen.reward, rewards)


async def test_a_frozen_policy_knows_the_start_and_stays_there(tmp_path: Path) -> None:
    async with Served(tmp_path, build_catalogue()) as served:
        await serve_history(served, "my-uniform", 60)
        served.clock.now += 10 * DAY
        await serve_history(served, "my-uniform", 60)
    pages = pages_of(tmp_path)
    nobody = CandidatePolicy(build_catalogue().get_policy("my-linucb"))
    [unmoved] = replay_log(pages, "my-linucb", frozen_since=0.0)
    assert unmoved.target.tolist() == pytest.approx(
        [compute_chosen(nobody, event) for event in decisions_of(pages)], rel=1e-12
    )
    since = NOON + 5 * DAY
    early, late = (
        replay_log(pages_of(tmp_path, since=since), "my-squarecb", frozen_since=at)[0] for at in (0.0, since)
    )
    assert len(early) == len(late) == 60
    assert np.abs(early.target - late.target).max() > 0.01
    trim_directory(tmp_path, since, build_catalogue())
    [kept] = replay_log(pages_of(tmp_path), "my-uniform", frozen_since=0.0)
    assert len(kept) == 60


async def test_a_policy_is_frozen_as_of_a_time_also_where_a_clock_was_ahead(tmp_path: Path) -> None:
    async with Served(tmp_path, build_catalogue()) as served:
        served.clock.now += 10 * DAY
        await serve_history(served, "my-uniform", 3)
        served.clock.now -= 10 * DAY  # set right: numbers go on from where they were
        await serve_history(served, "my-uniform", 60)
        served.clock.now += DAY
        await serve_history(served, "my-uniform", 60)
    since = NOON + DAY
    untaught, taught = (
        replay_log(pages_of(tmp_path, since=since), "my-squarecb", frozen_since=at)[0] for at in (0.0, since)
    )
    assert np.abs(untaught.target - taught.target).max() > 0.01


async def test_what_retention_kept_is_known_at_the_start(tmp_path: Path) -> None:
    async with Served(tmp_path, build_catalogue()) as served:
        for _ in range(40):
            await served.reward(await served.decide("anna", "my-squarecb"), 1.0)
        served.clock.now += 10 * DAY
        made = await served.decide("anna", "my-squarecb")
        decision = await served.store.find_receipt(made)
    assert decision is not None
    trim_directory(tmp_path, NOON + 5 * DAY, build_catalogue())
    [chunk] = replay_log(pages_of(tmp_path), "my-squarecb", frozen_since=0.0)
    assert chunk.target.tolist() == pytest.approx([decision.propensity], rel=1e-9)


@pytest.fixture(scope="module")
def uniform_log(tmp_path_factory: pytest.TempPathFactory) -> list[list[LoggedEvent]]:
    """One log for all tests, which only read it."""
    state_dir = tmp_path_factory.mktemp("uniform")
    play_world(state_dir, persona_world(users=6, days=10), "my-uniform")
    return pages_of(state_dir)


@pytest.mark.parametrize("policy", ["my-linucb", "my-thompson", "my-squarecb", "linucb-v2", "thompson-v1"])
def test_no_reward_moves_a_decision_before_it(uniform_log: list[list[LoggedEvent]], policy: str) -> None:
    flat = [event for page in uniform_log for event in page]
    changed_at = [event.seq for event in flat if isinstance(event, LoggedReward)][120]
    changed = [
        event._replace(value=-event.value) if isinstance(event, LoggedReward) and event.seq >= changed_at else event
        for event in flat
    ]
    [before], [after] = replay_log([flat], policy), replay_log([changed], policy)
    numbers = np.array([event.seq for event in decisions_of([flat])])
    past = numbers < changed_at
    assert 100 < past.sum() < len(past)
    np.testing.assert_array_equal(before.target[past], after.target[past])
    assert np.abs(before.target[~past] - after.target[~past]).max() > 0.1


@pytest.mark.parametrize("size", [1, 17])
def test_pages_of_any_length_give_the_same(uniform_log: list[list[LoggedEvent]], size: int) -> None:
    flat = [event for page in uniform_log for event in page]
    pages = [flat[start : start + size] for start in range(0, len(flat), size)]
    whole = replay_log([flat], "my-thompson", "linucb-v1", model=True)
    parts = replay_log(pages, "my-thompson", "linucb-v1", model=True)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one.target, other.target)
        assert one.model is not None
        assert other.model is not None
        np.testing.assert_array_equal(one.model, other.model)


def compute_truth(pages: list[list[LoggedEvent]], true: FloatArray, policy: str, catalogue: Catalogue) -> float:
    """The exact mean reward of the policy as trained on the log: at every decision, under all it could have done."""
    candidate = CandidatePolicy(catalogue.get_policy(policy))
    schema = candidate.policy.schema
    values: list[float] = []
    for event in (event for page in pages for event in page):
        if isinstance(event, LoggedDecision):
            [x] = encode_requests(schema, [LoggedRequest.parse("", event.body)])
            values.append(candidate.distribution(event.uid, x, event.seed, event.ts).probability @ true[len(values)])
        elif isinstance(event, LoggedReward):
            [x] = encode_requests(schema, [LoggedRequest.parse("", event.body, event.pick)])
            candidate.learn(event.uid, x[0], event.value, event.weight, event.ts)
    return float(np.mean(values))


LOGGERS = [
    (("my-uniform",), 1),
    pytest.param(("my-squarecb",), 3, marks=pytest.mark.slow),
    pytest.param(("my-thompson", "my-uniform", "my-egreedy"), 4, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("loggers", "seed"), LOGGERS)
def test_estimates_are_within_three_errors_of_the_true_value(
    tmp_path: Path, loggers: tuple[str, ...], seed: int
) -> None:
    """A world whose true rewards are known; up to ten policies, 800 decisions, all within 3.3 standard errors."""
    catalogue = build_catalogue()
    true = play_world(tmp_path, persona_world(users=10, days=20, seed=seed), *loggers)
    pages = pages_of(tmp_path)
    names = [*POLICIES, "linucb-v1", "linucb-v2", "thompson-v1"]
    if loggers != ("my-uniform",):
        names = names[::2]
    for name, chunk in zip(names, replay_log(pages, *names, model=True), strict=True):
        exact = compute_truth(pages, true, name, catalogue)
        errors = {}
        for formula in ("ips", "snips", "dr"):
            accumulator = Accumulator(Formula.named(formula))
            accumulator.add(chunk.to_logged_rows())
            estimate = accumulator.estimate()
            assert abs(estimate.value - exact) <= 3.3 * estimate.stderr, (name, formula)
            errors[formula] = estimate.stderr
        if loggers == ("my-uniform",) != (name,):
            assert errors["dr"] < errors["ips"]


@pytest.mark.slow
def test_memory_grows_with_users_and_not_with_decisions() -> None:
    body = json.dumps({"context": {"hour_of_day": 7}, "candidates": [{"features": {"priority": 2}}, {}, {}]}).encode()

    def iter_pages(count: int) -> Iterator[list[LoggedEvent]]:
        probabilities = np.full(3, 1 / 3)
        for seq in range(0, 40 * count, 40):
            page: list[LoggedEvent] = []
            for at in range(seq, seq + 40, 2):
                page.append(LoggedDecision(at, at % 5, "p", at, 0.5, 1, 1 / 3, probabilities, body, 0.5))
                page.append(LoggedReward(at + 1, at % 5, at, 0.5, 1.0, at, 1, body))
            yield page

    def measure_peak(count: int) -> int:
        replay = PolicyReplay(
            [CandidatePolicy(build_catalogue().get_policy(name)) for name in ("my-linucb", "thompson-v1")], str
        )
        tracemalloc.start()
        for page in iter_pages(count):
            replay.replay_page(page)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert sum(logger.decisions for logger in replay.summary.logging_policies.values()) == 20 * count
        return most

    # What is imported and cached at first is not the log's, nor are the tuples that Python keeps to use again.
    measure_peak(120)
    assert measure_peak(60) < 1.2 * measure_peak(10) + 20_000


def test_what_the_logger_could_not_do_shows_in_the_support(tmp_path: Path) -> None:
    play_world(tmp_path, persona_world(users=4, days=10), "linucb-v1")
    pages = pages_of(tmp_path)
    coin, itself, floored = replay_log(pages, "my-uniform", "linucb-v1", "my-linucb")
    assert coin.supported is not None
    assert floored.supported is not None
    assert itself.supported is not None
    assert coin.supported.mean() < 0.5  # of five candidates one had a chance, but for ties
    assert coin.supported.min() == pytest.approx(0.2)
    np.testing.assert_allclose(itself.supported, 1.0)
    assert coin.supported.mean() < floored.supported.mean() < 1.0


def test_the_log_is_counted(uniform_log: list[list[LoggedEvent]]) -> None:
    replay = PolicyReplay([], str)
    for page in uniform_log:
        assert replay.replay_page(page) == []
    facts = replay.summary
    decisions = decisions_of(uniform_log)
    assert facts.logging_policies.keys() == {"my-uniform"}
    logger = facts.logging_policies["my-uniform"]
    assert (logger.decisions, logger.rewarded) == (len(decisions), len(decisions))
    assert logger.reward_sum == pytest.approx(sum(event.reward or 0.0 for event in decisions))
    assert (facts.first, facts.last, len(facts.users)) == (decisions[0].ts, decisions[-1].ts, 6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"context": {"hour_of_day": "noon"}}, "hour_of_day must be a whole number from 0 to 23"),
        ({"context": {"hour_of_day": 24}}, "hour_of_day must be a whole number from 0 to 23"),
        ({"candidates": [{}, {"features": {"priority": True}}]}, "priority must be a whole number from 1 to 4"),
        ({"candidates": [{}, {"features": []}]}, "not a score request"),
        ({"candidates": [{}]}, "the pick is not one of the candidates"),
        ({"candidates": []}, "not a score request"),
        ({"candidates": 7}, "not a score request"),
    ],
)
def test_a_request_that_cannot_be_encoded_is_named(
    uniform_log: list[list[LoggedEvent]], changed: dict[str, Any], message: str
) -> None:
    page = list(uniform_log[0])
    numbers = [index for index, event in enumerate(page) if isinstance(event, LoggedDecision) and event.pick == 1]
    index = numbers[3]
    decision = page[index]
    assert isinstance(decision, LoggedDecision)
    page[index] = decision._replace(body=json.dumps(json.loads(decision.body) | changed).encode())
    replay = PolicyReplay([CandidatePolicy(build_catalogue().get_policy("my-linucb"))], "event {}".format)
    with pytest.raises(EvaluationError, match=f"event {decision.seq}: {message}"):
        replay.replay_page(page)


def test_a_reset_forgets_one_user(uniform_log: list[list[LoggedEvent]]) -> None:
    flat = [event for page in uniform_log for event in page]
    at = len(flat) // 2
    uid = flat[at - 1].uid
    forgotten = [*flat[:at], LoggedReset(flat[at - 1].seq, uid, NOON), *flat[at:]]
    [without], [with_reset] = replay_log([flat], "my-squarecb"), replay_log([forgotten], "my-squarecb")
    decisions = decisions_of([flat])
    moved = without.target != with_reset.target
    assert moved.any()
    assert {event.uid for event, each in zip(decisions, moved, strict=True) if each} == {uid}
