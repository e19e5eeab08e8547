"""The loop's health: equal to a count over the ledger, quiet about a sound loop, and loud about a broken one."""

import math
import sqlite3
from collections import Counter
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandstand.bandit.chi_square import compute_p_value
from bandstand.service.loop import DAYS, LoopCondition, WeightCheck, compute_condition, load_loop_health
from bandstand.service.stats import load_deployment_stats
from bandstand.store.tables.loop_health import Draws, compute_delay
from tests.service.given import Service, on_disk
from tests.store.given import ledger_of

DAY = 86_400_000
POLICIES = ("linucb-v2", "linucb-v1", "egreedy-v1", "thompson-v1", "uniform-v1")


async def lived_through(service: Service, decisions: int = 300) -> None:
    """Some days of decisions of several policies, rewarded late, in both forms, some taken back, some not at all."""
    rewarded = []
    for _ in range(decisions):
        service.clock.now += service.random.uniform(0, 2000)
        policy, user_id = service.random.choice(POLICIES), f"user-{service.random.randrange(5)}"
        scored = await service.score(user_id=user_id, policy=policy, count=service.random.randint(1, 6))
        service.clock.now += service.random.choice([0, 0.3, 20, 3000])
        value = service.random.uniform(-1, 1)
        match service.random.randrange(4):
            case 0 | 1:
                rewarded.append(await service.reward({"decision_id": scored.decision_id, "reward": value}))
            case 2:
                tip = scored.tip_id if service.random.random() < 0.7 else "another"
                await service.reward(service.legacy(user_id, value, tip_id=tip), policy=policy)
    store = service.deployment.store
    seqs = [
        decision.reward.seq
        for each in rewarded[:20]
        if (decision := await store.find_decision(each.decision_id or "")) and decision.reward
    ]
    assert len(await store.revoke(seqs, cause="tests", client="tests")) == 20


def read_loop_counts(ledger: sqlite3.Connection, of: str | None = None, day: int | None = None) -> dict[str, Any]:
    """What ``condition`` says of one policy and one day, or of all, counted decision by decision."""
    decisions = [
        (exploring, floor, pick, propensity, np.frombuffer(numbers).reshape(4, -1)[3])
        for seq, name, exploring, floor, pick, propensity, numbers in ledger.execute(
            """SELECT d.seq, name, exploring, floor, pick, propensity, numbers
               FROM decisions AS d JOIN policies AS p ON p.id = d.policy"""
        )
        if of in (None, name) and day in (None, (seq >> 20) // DAY)
    ]
    rewards = [
        (value, source, None if of_seq is None else ts - (of_seq >> 20) / 1000)
        for seq, name, of_seq, value, source, ts in ledger.execute(
            """SELECT r.seq, name, coalesce(decision_seq, linked_seq), value, source, ts FROM rewards AS r
               JOIN policies AS p ON p.id = r.policy WHERE r.seq NOT IN (SELECT reward_seq FROM revocations)"""
        )
        if of in (None, name) and day in (None, ((of_seq or seq) >> 20) // DAY)
    ]
    n, explores = len(decisions), sum(each[0] for each in decisions)
    weights = np.array([1 / (len(p) * propensity) for *_, propensity, p in decisions])
    support = np.mean([(p > 0).mean() for *_, p in decisions]) if n else None
    floors = np.array([floor for _, floor, *_ in decisions])
    tenths: dict[int, list[tuple[int, float]]] = {}
    for _, _, pick, _, p in decisions:
        tenths.setdefault(min(9, int(p.max() * 10)), []).append((int(pick == p.argmax()), float(p.max())))
    terms = []
    for pairs in tenths.values():
        variance = sum(p * (1 - p) for _, p in pairs)
        if variance >= 5:
            terms.append(sum(hit - p for hit, p in pairs) ** 2 / variance)
    variance = float((floors * (1 - floors)).sum()) if n else 0.0
    exploration = compute_p_value((explores - floors.sum()) ** 2 / variance, 1) if variance >= 5 else None
    return {
        "decisions": n,
        "rewards": len(rewards),
        "answered": sum(delay is not None for *_, delay in rewards),
        "mean_reward": np.mean([value for value, *_ in rewards]) if rewards else None,
        "sources": {source: count / len(rewards) for source, count in Counter(s for _, s, _ in rewards).items()},
        "delays": sorted(delay for *_, delay in rewards if delay is not None),
        "rate": explores / n if n else None,
        "expected": floors.mean() if n else None,
        "exploration": exploration,
        "weight": weights.mean() if n else None,
        "support": support,
        "stderr": weights.std(ddof=1) / math.sqrt(n) if n > 1 else None,
        "ess": weights.sum() ** 2 / (weights**2).sum() if n else None,
        "chi_square": math.fsum(terms) if terms else None,
        "freedom": len(terms),
    }


def assert_condition(told: LoopCondition, expected: dict[str, Any]) -> None:
    for name in ("decisions", "rewards", "answered", "sources"):
        assert getattr(told, name) == expected[name], name
    found = {
        "mean_reward": told.mean_reward,
        "rate": told.exploration.rate,
        "expected": told.exploration.expected,
        "exploration": told.exploration.p_value,
        "weight": told.weight.mean,
        "support": told.weight.expected,
        "stderr": told.weight.stderr,
        "ess": told.ess,
        "chi_square": told.draws.chi_square,
        "freedom": told.draws.freedom,
    }
    for name, value in found.items():
        assert value == (None if expected[name] is None else pytest.approx(expected[name], abs=1e-7)), name
    if told.decisions:
        assert told.arrival_rate == pytest.approx(expected["answered"] / expected["decisions"])
    if expected["delays"]:
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
            exact = expected["delays"][math.ceil(share * len(expected["delays"])) - 1]
            assert getattr(told.delay, name) == pytest.approx(exact, abs=0.1 * (1 + exact)), name
    else:
        assert told.delay is None


async def test_it_is_what_a_count_over_the_ledger_says(tmp_path: Path) -> None:
    service = Service(on_disk(tmp_path))
    await service.deployment.store.open()
    await lived_through(service)
    told = await load_loop_health(service.deployment)
    assert (await load_deployment_stats(service.deployment)).loop == told
    await service.deployment.store.close()
    assert len(told.days) > 3
    with ledger_of(tmp_path / "state") as ledger:
        assert_condition(told.all, read_loop_counts(ledger))
        assert told.policies.keys() == set(POLICIES)
        for name, entry in told.policies.items():
            assert_condition(entry, read_loop_counts(ledger, name))
        for of_day in told.days:
            day = int(np.datetime64(of_day.day).astype(int))
            assert_condition(of_day.all, read_loop_counts(ledger, day=day))
            for name, of_policy in of_day.policies.items():
                assert_condition(of_policy, read_loop_counts(ledger, name, day))


async def test_memory_and_disk_say_the_same(service: Service) -> None:
    for _ in range(30):
        service.clock.now += 4000
        scored = await service.score(policy="egreedy-v1")
        service.clock.now += 10
        await service.reward({"decision_id": scored.decision_id, "reward": 0.5})
    told = await load_loop_health(service.deployment)
    assert [entry.day for entry in told.days] == ["2025-06-17", "2025-06-16", "2025-06-15"][-len(told.days) :]
    assert told.all.arrival_rate == 1.0
    assert told.all.delay is not None
    assert astuple(told.all.delay) == pytest.approx((10, 10, 10), abs=1)
    assert told.all.sources == {"client": 1.0}
    assert told.all.weight.expected == 1.0
    assert told.policies["egreedy-v1"] == told.all


async def test_nothing_is_said_of_nothing(service: Service) -> None:
    told = await load_loop_health(service.deployment)
    assert (told.days, told.policies) == ([], {})
    assert told.all.weight == WeightCheck(mean=None, stderr=None, expected=None, p_value=None)
    assert (told.all.delay, told.all.arrival_rate, told.all.warnings) == (None, None, [])


async def test_erasure_and_reset_take_nothing_out_of_it(service: Service) -> None:
    for _ in range(5):
        scored = await service.score()
        await service.reward({"decision_id": scored.decision_id, "reward": 0.5})
    before = await load_loop_health(service.deployment)
    await service.deployment.store.reset("anna", "tests")
    await service.deployment.store.erase("anna", "tests")
    assert await load_loop_health(service.deployment) == before


async def test_old_days_are_summed_and_not_listed(service: Service) -> None:
    await service.score()
    service.clock.now += DAYS * 86_400
    await service.score()
    told = await load_loop_health(service.deployment)
    assert told.all.decisions == 2
    assert [entry.all.decisions for entry in told.days] == [1]
    assert await load_loop_health(service.deployment, 0) == replace(told, days=[])


def build_draws(seed: int, *, biased: float = 0.0, count: int = 3000) -> list[Draws]:
    """Sums over decisions drawn as logged, or with a share that takes the likeliest candidate whatever was logged."""
    random = np.random.default_rng(seed)
    sums: dict[int, np.ndarray[Any, Any]] = {}
    for _ in range(count):
        k, floor = int(random.integers(2, 8)), 0.05
        p = (1 - floor) * random.dirichlet(np.ones(k)) + floor / k
        top = int(p.argmax())
        exploring = random.random() < floor
        pick = int(random.integers(k)) if exploring else int(random.choice(k, p=(p - floor / k) / (1 - floor)))
        if random.random() < biased:
            pick, exploring = top, False
        w = 1 / (k * p[pick])
        row = np.array(
            [1, exploring, floor, floor * (1 - floor), pick == top, p[top], p[top] * (1 - p[top]), w, w * w, 1.0]
        )
        part = min(9, int(p[top] * 10))
        sums[part] = sums.get(part, 0) + row
    return [Draws(None, "p", part, *row.tolist()) for part, row in sums.items()]


def test_a_sound_loop_warns_of_nothing_and_its_p_values_are_uniform() -> None:
    told = [compute_condition(build_draws(seed, count=800), []) for seed in range(60)]
    assert not any(each.warnings for each in told), "60 × 3 tests at 1 in 1,000"
    for of in ("exploration", "draws"):
        values = sorted(getattr(each, of).p_value for each in told)
        gap = max(abs(value - (rank + 0.5) / 60) for rank, value in enumerate(values))
        assert gap < 1.95 / math.sqrt(60), "Kolmogorov-Smirnov at 1 in 1,000"


def test_picks_that_were_not_drawn_as_logged_are_flagged() -> None:
    told = compute_condition(build_draws(1, biased=0.15), [])
    assert set(told.warnings) == {"draws", "weight"} | ({"exploration"} & set(told.warnings))
    mean, expected, stderr = told.weight.mean, told.weight.expected, told.weight.stderr
    assert mean is not None
    assert expected is not None
    assert stderr is not None
    assert mean < expected - 3 * stderr


def test_a_uniform_share_that_is_not_as_logged_is_flagged() -> None:
    sound = build_draws(2)
    silent = [each._replace(explores=int(each.explores * 0.5)) for each in sound]
    assert compute_condition(sound, []).warnings == []
    assert compute_condition(silent, []).warnings == ["exploration"]


def test_delays_are_told_within_their_bucket() -> None:
    for bucket in range(100):
        low, high = 2 ** (bucket / 4) - 1, 2 ** ((bucket + 1) / 4) - 1
        assert low < compute_delay(bucket) < high
        assert max(high - compute_delay(bucket), compute_delay(bucket) - low) <= 0.0906 * (1 + high)
