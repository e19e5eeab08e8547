"""Gains: the sums follow the ledger exactly, whatever is taken back, erased or trimmed, in pages of any size."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandstand.evaluate.estimators.evaluation import LogEvaluationResult
from bandstand.evaluate.estimators.formulas import Formula
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from bandstand.evaluate.spec import EvaluationSpec, evaluate_decisions
from bandstand.service.gain import GainSpan, build_span
from bandstand.service.undo import undo
from bandstand.store.learners.erasure import begin_erasure
from bandstand.store.maintenance.decision_log import read_events
from bandstand.store.maintenance.offline import open_read_only
from bandstand.store.tables import gains
from bandstand.store.tables.gains import GainDay, GainSums
from bandstand.store.tables.undo import Selection
from tests.store.given import QUICK
from tests.store.populated import Served

TARGETS = {"random": "uniform-v1", "first": "first-v1"}
TODAY = 10**6


async def sum_up(served: Served) -> GainSums:
    await served.store.follow_gains()
    return await served.store.load_gain_sums()


async def live(served: Served, *users: str, rounds: int = 4) -> list[str]:
    """Decisions of several policies, three in four of them rewarded; returns those."""
    rewarded = []
    for round_ in range(rounds):
        for number, user in enumerate(users):
            policy = ("linucb-v2", "egreedy-v1", "first-v1")[(round_ + number) % 3]
            decision_id = await served.decide(user, policy)
            if (round_ + number) % 4:
                await served.reward(decision_id)
                rewarded.append(decision_id)
        served.clock.now += 40_000
    return rewarded


def evaluate_ledger(served: Served, state_dir: Path) -> dict[str, LogEvaluationResult]:
    """What ``bandstand evaluate`` says of the same log."""
    spec = EvaluationSpec((Formula.parse("dr_logged"),))
    candidates = [CandidatePolicy(served.catalogue.get_policy(name)) for name in TARGETS.values()]
    with open_read_only(state_dir, served.catalogue) as state:
        _, results = evaluate_decisions(spec, read_events(state), candidates, str)
    return dict(zip(TARGETS, results, strict=True))


def assert_equal(span: GainSpan | None, evaluated: dict[str, LogEvaluationResult]) -> None:
    assert span is not None
    for name, target in span.targets.items():
        estimate = evaluated[name].estimates["dr_logged"]
        assert span.rewarded == estimate.n
        assert target.value == pytest.approx(estimate.value, abs=1e-9)
        assert target.ess == pytest.approx(estimate.ess, abs=1e-9)
        assert target.mean_weight == pytest.approx(estimate.mean_weight, abs=1e-9)
        assert target.gain == pytest.approx(evaluated[name].logged_mean - estimate.value, abs=1e-9)


async def test_the_sums_are_what_evaluate_says_of_the_same_log(tmp_path: Path) -> None:
    async with Served(tmp_path) as served:
        rewarded = await live(served, "ada", "ben", "cleo", rounds=6)
        assert_equal(build_span((await sum_up(served)).days, TODAY), evaluate_ledger(served, tmp_path))
        selection = Selection(decision_id=rewarded[3])
        await undo(served.deployment, selection, client="tests")
        assert_equal(build_span((await sum_up(served)).days, TODAY), evaluate_ledger(served, tmp_path))
        await served.store.erase("ben", "tests")
        assert_equal(build_span((await sum_up(served)).days, TODAY), evaluate_ledger(served, tmp_path))
        await served.reward_legacy("ada")
        await served.store.reset("ada", "tests")
        await live(served, "ada", "dora")
        assert_equal(build_span((await sum_up(served)).days, TODAY), evaluate_ledger(served, tmp_path))


async def test_pages_of_any_size_add_up_to_the_same(tmp_path: Path) -> None:
    async with Served(tmp_path) as served:
        await live(served, "ada", "ben", rounds=5)
        whole = await sum_up(served)
    for size in (1, 3):
        with sqlite3.connect(tmp_path / "ledger.db", isolation_level=None) as ledger:
            forget_sums(ledger)
            pages = 0
            while (page := gains.read_page(ledger, size, b"")) is not None:
                assert gains.apply_page(ledger, page)
                assert not gains.apply_page(ledger, page)  # once, whoever tries again
                pages += 1
            assert pages > 1
            assert_same(gains.load_gain_sums(ledger), whole)
        ledger.close()


async def test_a_user_erased_since_a_page_was_read_adds_nothing(tmp_path: Path) -> None:
    async with Served(tmp_path) as served:
        await live(served, "ada")
        before = await sum_up(served)
        await live(served, "ben")
    with sqlite3.connect(tmp_path / "ledger.db", isolation_level=None) as ledger:
        forget_sums(ledger)
        page = gains.read_page(ledger, 100, b"")
        assert page is not None
        begin_erasure(ledger, uid=2, tombstone=b"ben", seq=page.until + 1, ts=served.clock(), client="tests")
        assert gains.apply_page(ledger, page)
        assert_same(gains.load_gain_sums(ledger), before)
    ledger.close()
    assert count_rows(tmp_path, "gain_users") == len(before.days)


async def test_what_retention_takes_stays_in_the_sums_and_names_nobody(tmp_path: Path) -> None:
    async with Served(tmp_path) as served:
        await live(served, "ada", "ben")
    async with Served(tmp_path, days=400, options=replace(QUICK, retention_days=90)) as served:
        await live(served, "ada", rounds=2)
        await served.store.apply_retention()
        whole = await sum_up(served)
        assert sum(each.rewarded for each in whole.days) == 7
        await served.store.erase("ben", "tests")  # nobody knows any more which part was theirs
        assert_same(await sum_up(served), whole)
        recent = [each for each in whole.days if each.day > whole.days[0].day + 300]
        assert count_rows(tmp_path, "gain_users") == len(recent)


def forget_sums(ledger: sqlite3.Connection) -> None:
    ledger.executescript("DELETE FROM gain_days; DELETE FROM gain_users; UPDATE followers SET seq = 0;")


def assert_same(sums: GainSums, others: GainSums) -> None:
    def by_key(each: GainSums) -> dict[Any, list[float]]:
        return {(day.day, day.policy): list(day[2:]) for day in each.days if day.rewarded}

    mine, theirs = by_key(sums), by_key(others)
    assert mine.keys() == theirs.keys()
    for key, amounts in mine.items():
        assert amounts == pytest.approx(theirs[key], abs=1e-9)


def count_rows(state_dir: Path, table: str) -> int:
    with sqlite3.connect(state_dir / "ledger.db") as ledger:
        found = ledger.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 (ours)
    ledger.close()
    return int(found)


def test_gains_of_parts_are_those_of_the_whole_in_whatever_order_they_are_merged() -> None:
    rng = np.random.default_rng(7)
    days = [
        GainDay(day, policy, int(rng.integers(1, 9)), *rng.normal(size=len(GainDay._fields) - 3).tolist())
        for day in (3, 4)
        for policy in ("a", "b", "b")  # one was redefined
        for _ in range(3)
    ]
    parts = [GainSums(days[part::3], seq) for part, seq in ((0, 30), (1, 10), (2, 20))]
    one, two, three = parts
    merged = [one.merge(two).merge(three), three.merge(one.merge(two)), two.merge(three.merge(one))]
    for sums in merged:
        assert sums.seq == 30
        assert [(each.day, each.policy) for each in sums.days] == [
            (day, policy) for day in (3, 4) for policy in ("a", "b", "b")
        ]
        for place, each in enumerate(sums.days):
            expected = np.sum([day[2:] for day in days[3 * place : 3 * place + 3]], axis=0)
            assert each[2:] == pytest.approx(expected, rel=1e-9)
