"""Shadows: what they would have done is what they would have said when asked, and its value is estimated truly."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandstand.bandit.choice import choose
from bandstand.bandit.eligibility import spread
from bandstand.errors import StorageFullError
from bandstand.evaluate import ips, snips
from bandstand.learning.shadows import ShadowRunner
from bandstand.service.context import ServiceContext
from bandstand.service.history import ReceiptShadow, load_receipt
from bandstand.service.policies import build_overview
from bandstand.service.promotion import promote
from bandstand.service.score import ScoreResult
from bandstand.service.shadow_value import ShadowComparison, ValueEstimate, build_comparison
from bandstand.service.stats import load_deployment_stats
from bandstand.service.undo import undo
from bandstand.store.tables.shadows import ShadowSums
from bandstand.store.tables.undo import Selection
from bandstand.testing.memory_store import MemoryStore
from tests.service.given import Make, Service, in_memory
from tests.store.given import CATALOGUE

NAMES = ("thompson-v1", "linucb-v1")


@pytest.fixture
async def shadowed(make: Make, tmp_path: Path) -> AsyncIterator[Service]:
    service = Service(make(tmp_path), shadow_policies=NAMES)
    await service.deployment.store.open()
    await service.deployment.start()
    yield service
    await service.deployment.store.close()


def shadows(service: Service) -> ShadowRunner:
    assert service.deployment.shadows is not None
    return service.deployment.shadows


async def wait_until_looked(service: Service) -> None:
    """All decisions so far have been looked at, and that is in the ledger."""
    while shadows(service).get_status().waiting:  # noqa: ASYNC110 (the loop's own turns are what it waits for)
        await asyncio.sleep(0)
    await service.reward(service.legacy("somebody else", reward=0.0))  # commits are in order


async def wait_for_shadows(service: Service, scored: ScoreResult) -> Sequence[ReceiptShadow]:
    assert scored.decision_id is not None
    return (await load_receipt(service.deployment, scored.decision_id)).shadows


async def compared(service: Service) -> Mapping[str, ShadowComparison]:
    """What the deployment's stats say of its shadows."""
    found = (await load_deployment_stats(service.deployment)).shadows
    assert found is not None
    return found


def value_of(estimate: ValueEstimate | None) -> ValueEstimate:
    assert estimate is not None
    return estimate


async def test_a_receipt_says_what_each_shadow_would_have_done(shadowed: Service) -> None:
    await shadowed.reward(shadowed.legacy(reward=-0.5))
    for excluding in (False, True, False, True):
        request = shadowed.request(exclude=["tip-0"] if excluding else [])
        profile = (await shadowed.deployment.store.load_profile("anna")).copy()
        scored = await shadowed.score(request)
        await wait_until_looked(shadowed)
        logged = await load_receipt(shadowed.deployment, scored.decision_id or "")
        assert [each.policy for each in logged.shadows] == sorted(NAMES)
        for each in logged.shadows:
            policy = CATALOGUE.policies[each.policy]
            x = policy.schema.encode(request["context"], [tip["features"] for tip in request["candidates"]])
            among = np.arange(excluding, len(x))
            answer = choose(policy, profile, x[among], logged.seed, now=shadowed.clock())
            p = spread(answer.distribution.probability, among, len(x))
            pick = among[answer.pick]
            served = next(at for at, tip in enumerate(request["candidates"]) if tip["id"] == scored.tip_id)
            assert each.probabilities == pytest.approx(p.tolist(), abs=1e-12)
            assert each.tip_id == request["candidates"][pick]["id"]
            assert each.agrees == (each.tip_id == scored.tip_id)
            assert each.exploring == answer.exploring
            assert each.propensity == pytest.approx(p[pick])
            assert each.weight == pytest.approx(p[served] / scored.propensity)
            assert each.policy_hash == policy.hash
        await shadowed.reward({"decision_id": scored.decision_id, "reward": 0.5})


async def test_it_is_seen_as_of_the_decision_whatever_was_taught_since(shadowed: Service) -> None:
    deployment, looking = shadowed.deployment, shadows(shadowed)
    await shadowed.reward(shadowed.legacy(reward=0.5))
    before = (await deployment.store.load_profile("anna")).copy()
    request = shadowed.request()
    scored = await shadowed.score(request)
    decision = await deployment.store.find_decision(scored.decision_id or "")
    assert decision is not None
    caught = looking.capture(decision, await deployment.store.load_profile("anna"), request)
    await shadowed.reward(shadowed.legacy(reward=-1.0))
    for belief in caught.shadow_states:
        then = belief.build_profile("anna").policies[belief.policy.name, belief.policy.schema.name]
        assert then.ridge is before.policies[belief.policy.name, belief.policy.schema.name].ridge
        assert then.reward_count == 1


async def test_what_serves_is_not_its_own_shadow_and_a_promoted_one_starts_warm(shadowed: Service) -> None:
    await shadowed.reward(shadowed.legacy(reward=0.5))
    await promote(shadowed.deployment, "thompson-v1", "tests")
    scored = await shadowed.score()
    await wait_until_looked(shadowed)
    assert scored.policy == "thompson-v1"
    assert [each.policy for each in await wait_for_shadows(shadowed, scored)] == ["linucb-v1"]
    state = (await shadowed.deployment.store.load_profile("anna")).policies["thompson-v1", "tips-v2"]
    assert (state.pulls, state.reward_count) == (1, 1)


async def test_live_and_shadow_stand_side_by_side(shadowed: Service) -> None:
    terms: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
    agreed = dict.fromkeys(NAMES, 0)
    for number in range(12):
        scored = await shadowed.score()
        await wait_until_looked(shadowed)
        value = round(shadowed.random.uniform(-1, 1), 3)
        for each in await wait_for_shadows(shadowed, scored):
            agreed[each.policy] += each.agrees
            if number % 3:
                terms[each.policy].append((each.weight, value))
        if number % 3:
            await shadowed.reward({"decision_id": scored.decision_id, "reward": value})
    for _ in range(2):
        standing = await compared(shadowed)
        assert standing.keys() == set(NAMES)
        for name in NAMES:
            w, r = np.array(terms[name]).T
            entry = standing[name]
            assert (entry.decisions, entry.rewarded) == (12, 8)
            assert entry.agreement == agreed[name] / 12
            assert entry.hash == CATALOGUE.policies[name].hash
            assert value_of(entry.live).value == pytest.approx(r.mean())
            assert value_of(entry.ips).value == pytest.approx((w * r).mean())
            assert value_of(entry.snips).value == pytest.approx((w @ r) / w.sum())
            assert value_of(entry.gain).value == pytest.approx((w @ r) / w.sum() - r.mean())
            assert entry.ess == pytest.approx(w.sum() ** 2 / (w @ w))
        await shadowed.reopen()


async def test_what_is_taken_back_is_in_no_estimate(shadowed: Service) -> None:
    scored = await shadowed.score()
    await wait_until_looked(shadowed)
    await shadowed.reward({"decision_id": scored.decision_id, "reward": 1.0}, client="wrong")
    assert (await compared(shadowed))["thompson-v1"].rewarded == 1
    await undo(shadowed.deployment, Selection(client="wrong"), "tests")
    entry = (await compared(shadowed))["thompson-v1"]
    assert (entry.decisions, entry.rewarded, entry.snips) == (1, 0, None)
    state = (await shadowed.deployment.store.load_profile("anna")).policies["thompson-v1", "tips-v2"]
    assert state.reward_count == 0


async def test_a_repeated_decision_is_looked_at_once(shadowed: Service) -> None:
    request = shadowed.request(decision_id="mine")
    for _ in range(3):
        await shadowed.score(request)
        await wait_until_looked(shadowed)
    assert (await compared(shadowed))["linucb-v1"].decisions == 1


async def test_without_shadows_nothing_is_told_and_nothing_looks(service: Service) -> None:
    scored = await service.score()
    assert service.deployment.shadows is None
    assert (await load_deployment_stats(service.deployment)).shadows is None
    assert await wait_for_shadows(service, scored) == []
    assert not any(entry.shadow for entry in build_overview(service.deployment).policies)


async def test_the_policies_in_the_shadow_are_named(shadowed: Service) -> None:
    assert {entry.name for entry in build_overview(shadowed.deployment).policies if entry.shadow} == set(NAMES)


async def test_who_is_in_the_shadow_may_change_from_start_to_start(make: Make, tmp_path: Path) -> None:
    make_store = make(tmp_path)
    counts = []
    for shadow in ((), ("thompson-v1",), ("thompson-v1", "linucb"), ("linucb",), ()):
        service = Service(make_store, shadow_policies=shadow)
        await service.deployment.store.open()
        await service.deployment.start()
        await service.reward(service.legacy())
        profile = await service.deployment.store.load_profile("anna")
        known = {name: state.reward_count for (name, _), state in profile.policies.items()}
        counts.append([known.get(name, 0) for name in ("linucb-v2", *NAMES)])
        await service.deployment.store.close()
    assert counts == [[1, 0, 0], [2, 1, 0], [3, 2, 1], [4, 2, 2], [5, 2, 2]]


# ── under load, and when things fail ──────────────────────────────────────────────────────────────────────────────────


def narrow_queue(service: Service, most_waiting: int) -> ShadowRunner:
    """The same shadows with a queue of so many."""
    deployment = service.deployment
    policies = [CATALOGUE.policies[name] for name in NAMES]
    looking = ShadowRunner(
        policies, deployment.policy_refs, deployment.store, deployment.get_prior, max_waiting=most_waiting
    )
    deployment.shadows = looking
    return looking


async def test_where_the_queue_is_full_scoring_goes_on_and_learning_misses_nothing(shadowed: Service) -> None:
    looking = narrow_queue(shadowed, 0)
    for _ in range(3):
        scored = await shadowed.score()
        await shadowed.reward({"decision_id": scored.decision_id, "reward": 0.5})
        assert await wait_for_shadows(shadowed, scored) == []
    assert looking.get_status() == (0, 3, 0)
    state = (await shadowed.deployment.store.load_profile("anna")).policies["thompson-v1", "tips-v2"]
    assert state.reward_count == 3


async def test_closing_looks_at_what_waits(shadowed: Service) -> None:
    deployment, looking = shadowed.deployment, shadows(shadowed)
    scored = await shadowed.score()
    looking.close()
    assert looking.get_status() == (0, 0, 0)
    await shadowed.reopen()
    assert len(await wait_for_shadows(shadowed, scored)) == 2
    assert deployment is not shadowed.deployment


async def test_one_that_has_no_answer_leaves_the_others_theirs(
    shadowed: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_error(*_: object, **__: object) -> None:
        raise ValueError("scores must be finite")

    monkeypatch.setattr(CATALOGUE.policies["thompson-v1"], "distribution", raise_error)
    scored = await shadowed.score()
    await wait_until_looked(shadowed)
    assert [each.policy for each in await wait_for_shadows(shadowed, scored)] == ["linucb-v1"]
    assert shadows(shadowed).get_status() == (0, 0, 1)


async def test_what_was_answered_without_logging_is_not_looked_at(
    shadowed: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def raise_full(*_: object) -> None:
        raise StorageFullError("full")

    shadowed.deployment.score_when_full = True
    monkeypatch.setattr(shadowed.deployment.store, "decide", raise_full)
    assert (await shadowed.score()).decision_id is None
    assert shadows(shadowed).get_status() == (0, 0, 0)


async def test_what_the_ledger_does_not_take_is_counted(shadowed: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_full(*_: object) -> None:
        raise StorageFullError("full")

    monkeypatch.setattr(shadowed.deployment.store, "log_shadows", raise_full)
    await shadowed.score()
    await wait_until_looked(shadowed)
    assert shadows(shadowed).get_status() == (0, 1, 0)


# ── its prior ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_population_prior_of_a_shadow_is_learned_from_its_own_sums() -> None:
    store = MemoryStore(CATALOGUE)
    deployment = ServiceContext(CATALOGUE, store, shadow_policies=("thompson-v1",), prior_refresh_rewards=200)
    service = Service(lambda _: store)
    service.deployment = deployment
    await deployment.start()
    await deployment.population.open()
    for number in range(3):
        await service.reward(service.legacy(f"user-{number}"))
    await deployment.population.refresh_prior("thompson-v1")
    learned = deployment.population.build_summary()["thompson-v1"]
    assert (learned["generation"], learned["users"], learned["rewards"]) == (1, 3, 3)
    await undo(deployment, Selection(client="tests"), "tests")
    assert deployment.population.build_summary()["thompson-v1"]["users"] == 0
    await deployment.population.close()


# ── the estimates ─────────────────────────────────────────────────────────────────────────────────────────────────────


def sums_of(w: Any, r: Any) -> ShadowSums:
    sums = ShadowSums(len(r), 0)
    for weight, reward in zip(w, r, strict=True):
        sums = sums.with_reward(float(reward), float(weight), 1)
    return sums


def test_estimates_are_those_of_the_evaluation() -> None:
    rng = np.random.default_rng(3)
    n = 300
    p = rng.uniform(0.05, 1.0, n)
    target = rng.uniform(0.0, 1.0, n)
    r = rng.uniform(-1.0, 1.0, n)
    found = build_comparison("", sums_of(target / p, r))
    for name, estimator in (("ips", ips), ("snips", snips)):
        expected = estimator(r, None, p, target)
        got = astuple(value_of(getattr(found, name)))
        assert got == pytest.approx((expected.value, expected.stderr, expected.low, expected.high), abs=1e-9)
    assert found.ess == pytest.approx(ips(r, None, p, target).ess)
    w = target / p
    v = (w @ r) / w.sum()
    terms = w * (r - v) / w.mean() - (r - r.mean())
    assert value_of(found.gain).value == pytest.approx(v - r.mean())
    assert value_of(found.gain).stderr == pytest.approx(terms.std(ddof=1) / np.sqrt(n))
    assert value_of(found.live).stderr == pytest.approx(r.std(ddof=1) / np.sqrt(n))


def test_a_policy_that_does_the_same_gains_nothing_and_says_so_exactly() -> None:
    found = build_comparison("", sums_of(np.ones(50), np.linspace(-1, 1, 50)))
    assert astuple(value_of(found.gain)) == pytest.approx((0.0,) * 4, abs=1e-9)
    assert (found.ess, found.warnings) == (50, [])


@pytest.mark.parametrize(
    ("w", "warnings"),
    [
        ([0.0, 0.0], ["weight", "ess"]),
        ([0.9, 0.91, 0.9] * 20, ["weight"]),
        ([0.5, 1.5] * 20, []),
        ([0.5, 1.5], ["ess"]),
        ([0.0] * 4000 + [100.0] * 39, ["ess"]),
        ([0.0] * 4000 + [100.0] * 41, []),
    ],
)
def test_weights_that_cannot_be_right_are_warned_of(w: list[float], warnings: list[str]) -> None:
    assert build_comparison("", sums_of(w, [0.5] * len(w))).warnings == warnings


@pytest.mark.parametrize("n", [0, 1])
def test_of_too_few_rewards_no_error_is_stated(n: int) -> None:
    found = build_comparison("", sums_of([1.0] * n, [0.5] * n))
    for name in ("live", "ips", "snips", "gain"):
        estimate = getattr(found, name)
        assert estimate is None if n == 0 else estimate.stderr is None
    json.dumps(asdict(found), allow_nan=False)


async def test_a_value_is_estimated_without_bias(tmp_path: Path) -> None:
    """Served uniformly, with a shadow that learns all the while; its truth is Σ π(a) E[r|a], decision by decision."""
    service = Service(in_memory(tmp_path), active_policy="uniform-v1", shadow_policies=("squarecb-v1", "first-v1"))
    service.deployment.store.secret = b"fixed"
    await service.deployment.start()
    truth: dict[str, list[float]] = {"squarecb-v1": [], "first-v1": []}
    ids = (f"{number}" for number in range(1500))
    for decision_id in ids:
        request = service.request(f"user-{int(decision_id) % 3}", 3, decision_id=decision_id)
        means = [0.6 if tip["features"]["is_overdue"] else -0.3 for tip in request["candidates"]]
        scored = await service.score(request)
        await wait_until_looked(service)
        for each in await wait_for_shadows(service, scored):
            truth[each.policy].append(float(np.dot(each.probabilities, means)))
        mean = next(mean for mean, tip in zip(means, request["candidates"], strict=True) if tip["id"] == scored.tip_id)
        value = mean + service.random.uniform(-0.4, 0.4)
        await service.reward({"decision_id": decision_id, "reward": value})
    standing = await compared(service)
    for name, values in truth.items():
        for estimate in ("ips", "snips"):
            found = value_of(getattr(standing[name], estimate))
            assert found.stderr is not None
            assert abs(found.value - np.mean(values)) < 3 * found.stderr < 0.15
        assert standing[name].warnings == []
    low = value_of(standing["squarecb-v1"].gain).low
    assert low is not None
    assert low > 0.1, "it learned what users like"


def test_what_taking_back_leaves_in_the_last_digits_is_no_weight() -> None:
    left = sums_of([0.0] * 20, [0.5] * 20)._replace(w=3e-17, wr=-1.2e-16, ww=1e-33)
    found = build_comparison("", left)
    assert (found.snips, found.gain) == (None, None)
    assert value_of(found.ips).value == pytest.approx(0.0, abs=1e-12)
