"""The numbers of the tables, against a second computation of them from the single events."""

import asyncio
import json
import math
from collections import defaultdict
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.simulate.judges.judge import JudgedReaction, RuleJudge
from bandstand.simulate.plan import Plan
from bandstand.simulate.run.play import PlayedStep, decode_steps
from bandstand.simulate.run.tally import SimulationTally, compute_ratio
from bandstand.simulate.world.world import Episode
from tests.simulate.given import Journal, is_close, play_plan

PLAN = Plan(policies=("linucb-v1", "egreedy-v1", "squarecb-v1"), personas=4, days=3, seeds=5, events="all")


Told = tuple[dict[str, Any], list[tuple[Any, ...]]]


class Moody:
    """Fails every third time it is asked."""

    def __init__(self) -> None:
        self._asked = 0

    async def react(self, episode: Episode, step: int, pick: int) -> JudgedReaction:
        self._asked += 1
        rule = await RuleJudge().react(episode, step, pick)
        return rule._replace(fallback="exit-1") if self._asked % 3 == 0 else rule._replace(judge="command")


@pytest.fixture(scope="module")
def told() -> Told:
    journal = Journal()
    return asyncio.run(play_plan(PLAN, Moody(), journal=journal)).tally.build_summary(), journal.events


def by_seed(rows: list[tuple[Any, ...]], column: int) -> list[float]:
    """The mean of a column in each seed."""
    values = defaultdict(list)
    for row in rows:
        values[row[0]].append(row[column])
    return [mean(values[seed]) for seed in sorted(values)]


def compute_bounds(seed: int, user: int, step: int) -> tuple[float, float]:
    """The exact expected reward of a uniform pick, and of the best."""
    expected = PLAN.build_world(seed).build_episode(user).expected_reward[step]
    return float(expected.mean()), float(expected.max())


REWARD, EXPECTED, BEST, ACTION, JUDGE, FALLBACK, PERSONA = 16, 17, 18, 14, 19, 20, 4


def test_the_overall_row_of_every_policy_is_that_of_its_events(told: Told) -> None:
    summary, events = told
    for name, policy in summary["policies"].items():
        rows = [row for row in events if row[2] == name]
        received, expected = by_seed(rows, REWARD), by_seed(rows, EXPECTED)
        regrets = [best - got for best, got in zip(by_seed(rows, BEST), expected, strict=True)]
        assert policy["decisions"] == len(rows) == PLAN.total // 3
        for field, error, values in (
            ("mean_reward", "stderr", received),
            ("expected_reward", "expected_stderr", expected),
            ("regret", "regret_stderr", regrets),
        ):
            assert policy[field] == pytest.approx(mean(values), abs=1e-12)
            assert policy[error] == pytest.approx(stdev(values) / math.sqrt(PLAN.seeds), abs=1e-12)


def test_the_gap_is_that_between_random_and_the_oracle_on_the_same_steps(told: Told) -> None:
    summary, events = told
    for name, policy in summary["policies"].items():
        rows = [row for row in events if row[2] == name]
        earned: dict[int, float] = defaultdict(float)
        possible: dict[int, float] = defaultdict(float)
        for row in rows:
            random, oracle = compute_bounds(row[0], row[1], row[3])
            assert oracle == row[BEST]
            earned[row[0]] += row[EXPECTED] - random
            possible[row[0]] += oracle - random
        gap = sum(earned.values()) / sum(possible.values())
        residuals = [earned[seed] - gap * possible[seed] for seed in earned]
        error = stdev(residuals) / math.sqrt(PLAN.seeds) / mean(possible.values())
        assert policy["gap_closed"] == pytest.approx(gap, abs=1e-12)
        assert policy["gap_stderr"] == pytest.approx(error, abs=1e-12)


def test_the_curves_are_those_of_the_events_decision_by_decision(told: Told) -> None:
    summary, events = told
    for name, policy in summary["policies"].items():
        curve = policy["by_decision"]
        assert curve["decision"] == list(range(1, PLAN.decisions_per_user + 1))
        for step in range(PLAN.decisions_per_user):
            rows = [row for row in events if row[2] == name and row[3] == step]
            received, expected = by_seed(rows, REWARD), by_seed(rows, EXPECTED)
            limits = [compute_bounds(row[0], row[1], step) for row in rows]
            random, oracle = (mean(values) for values in zip(*limits, strict=True))
            assert curve["decisions"][step] == len(rows)
            assert curve["mean_reward"][step] == pytest.approx(mean(received), abs=1e-12)
            assert curve["stderr"][step] == pytest.approx(stdev(received) / math.sqrt(PLAN.seeds), abs=1e-12)
            assert curve["regret"][step] == pytest.approx(oracle - mean(expected), abs=1e-12)
            assert curve["gap_closed"][step] == pytest.approx((mean(expected) - random) / (oracle - random), abs=1e-9)
            assert summary["baselines"]["random"]["by_decision"]["mean_reward"][step] == pytest.approx(random)
            assert summary["baselines"]["oracle"]["by_decision"]["mean_reward"][step] == pytest.approx(oracle)


def test_an_advantage_is_over_the_first_policy_seed_by_seed(told: Told) -> None:
    summary, events = told
    first = by_seed([row for row in events if row[2] == "linucb-v1"], EXPECTED)
    assert summary["policies"]["linucb-v1"]["advantage"] is None
    for name in ("egreedy-v1", "squarecb-v1"):
        other = by_seed([row for row in events if row[2] == name], EXPECTED)
        differences = [mine - theirs for mine, theirs in zip(other, first, strict=True)]
        advantage = summary["policies"][name]["advantage"]
        assert advantage["mean"] == pytest.approx(mean(differences), abs=1e-12)
        assert advantage["stderr"] == pytest.approx(stdev(differences) / math.sqrt(PLAN.seeds), abs=1e-12)


def test_actions_judges_and_personas_are_counted(told: Told) -> None:
    summary, events = told
    for name, policy in summary["policies"].items():
        rows = [row for row in events if row[2] == name]
        assert list(policy["actions"]) == ["done", "snooze", "dismiss"]
        for action, share in policy["actions"].items():
            assert share == sum(row[ACTION] == action for row in rows) / len(rows)
        counted = {(each["judge"], each["fallback"]): each["decisions"] for each in policy["judges"]}
        assert counted.keys() == {("command", None), ("rule", "exit-1")}
        for (judge, fallback), count in counted.items():
            assert count == sum((row[JUDGE], row[FALLBACK]) == (judge, fallback) for row in rows)
        assert len(summary["personas"][name]) == PLAN.personas
        for persona, kept in summary["personas"][name].items():
            theirs = [row for row in rows if row[PERSONA] == persona]
            assert kept["decisions"] == len(theirs)
            assert kept["mean_reward"] == pytest.approx(mean(row[REWARD] for row in theirs))
            assert kept["regret"] == pytest.approx(mean(row[BEST] - row[EXPECTED] for row in theirs))
            assert sum(kept["actions"].values()) == pytest.approx(1)


def test_a_summary_is_json_with_no_number_that_is_none(told: Told) -> None:
    text = json.dumps(told[0], allow_nan=False)
    assert json.loads(text) == told[0]


async def test_the_oracle_closes_the_gap_and_random_none_of_it() -> None:
    plan = replace(PLAN, policies=("uniform-v1",), days=30, seeds=4)
    summary = (await play_plan(plan)).tally.build_summary()
    uniform = summary["policies"]["uniform-v1"]
    assert abs(uniform["gap_closed"]) < 4 * uniform["gap_stderr"]
    assert summary["baselines"]["oracle"]["mean_reward"] == pytest.approx(
        uniform["expected_reward"] + uniform["regret"]
    )


async def test_with_one_seed_there_is_no_standard_error_and_with_no_steps_nothing_at_all() -> None:
    one = (await play_plan(replace(PLAN, seeds=1))).tally.build_summary()["policies"]["linucb-v1"]
    assert one["mean_reward"] is not None
    assert one["stderr"] is one["gap_stderr"] is one["by_decision"]["stderr"][0] is None
    none = SimulationTally(PLAN).build_summary()
    assert none["policies"]["linucb-v1"]["mean_reward"] is None
    assert none["policies"]["linucb-v1"]["decisions"] == 0
    assert none["policies"]["linucb-v1"]["actions"] == {"done": 0, "snooze": 0, "dismiss": 0}
    assert none["baselines"]["random"]["mean_reward"] is None


async def test_a_long_run_has_curves_of_few_points_that_mean_the_same() -> None:
    journal = Journal()
    plan = replace(PLAN, policies=("linucb-v1",), days=5)
    await play_plan(plan, journal=journal)
    few = SimulationTally(plan, points=7)
    for key, each in journal.plays.items():
        few.add(key, plan.build_world(key[0]).build_episode(key[1]), decode_steps(each))
    curve = few.build_summary()["policies"]["linucb-v1"]["by_decision"]
    assert curve["decision"] == [1, 4, 7, 10, 13, 16, 19]
    for place, first in enumerate(curve["decision"]):
        rows = [row for row in journal.events if first <= row[3] + 1 < first + 3]
        assert curve["decisions"][place] == len(rows)
        assert curve["mean_reward"][place] == pytest.approx(mean(row[REWARD] for row in rows))


async def test_counted_in_pieces_it_is_the_same() -> None:
    journal = Journal()
    whole = await play_plan(PLAN, journal=journal)
    pieces = SimulationTally(PLAN)
    for key, each in journal.plays.items():
        past: list[PlayedStep] = decode_steps(each)
        episode = PLAN.build_world(key[0]).build_episode(key[1])
        for start, end in ((0, 5), (5, 6), (6, 12)):
            pieces.add(key, episode, past[:end], start)
    assert is_close(pieces.build_summary(), whole.tally.build_summary())


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(1, 10)), min_size=2, max_size=30))
def test_a_ratio_is_a_mean_where_the_denominators_are_equal_and_homogeneous_always(
    pairs: list[tuple[float, float]],
) -> None:
    numerator, denominator = (np.array(each) for each in zip(*pairs, strict=True))
    value, error = compute_ratio(numerator, np.full(len(pairs), 3.0))
    assert value == pytest.approx(mean(numerator.tolist()) / 3, abs=1e-9)
    assert error == pytest.approx(stdev(numerator.tolist()) / 3 / math.sqrt(len(pairs)), abs=1e-9)
    value, error = compute_ratio(numerator, denominator)
    doubled, doubled_error = compute_ratio(2 * numerator, denominator)
    assert doubled == pytest.approx(2 * value, abs=1e-9)
    assert doubled_error == pytest.approx(2 * error, abs=1e-9)


def test_a_seed_that_has_nothing_yet_does_not_count() -> None:
    value, error = compute_ratio(np.array([1.0, 2.0, 0.0]), np.array([1.0, 1.0, 0.0]))
    assert value == 1.5
    assert error == pytest.approx(0.5)
