"""Picks: every decision counts once in each table, with the reward that stands, and intervals of both kinds."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from bandstand.service.picks import PickTable, build_pick_report
from bandstand.store.records import RewardWindow
from bandstand.store.tables.console_queries import ConsoleQueries
from bandstand.store.tables.picks import LoggedPick, PickedCandidate, Value
from tests.store.given import Subject, make_embedded


def pick(
    number: int, item: str, reward: float | None = None, *, uid: int | None = None, **features: Value
) -> LoggedPick:
    candidate = PickedCandidate(item, 2, None if item == "bare" else f"of-{item}", tuple(features.items()))
    return LoggedPick(number, number if uid is None else uid, float(number), reward, candidate)


def count_picks(table: PickTable) -> int:
    return sum(each.picks for each in table.groups) + (table.others.picks if table.others else 0)


def test_no_decision_is_no_fault() -> None:
    report = build_pick_report([], 10)
    assert (report.decisions, report.since, report.mean_reward, report.items.groups) == (0, None, None, [])
    assert "Nothing was picked yet" in report.sentence


@pytest.mark.parametrize(("rewarded", "has_interval"), [(1, False), (4, False), (5, True)])
def test_a_few_rewards_that_are_alike_have_no_interval(rewarded: int, *, has_interval: bool) -> None:
    many = [pick(number, "often", (number % 3) / 2) for number in range(60)]
    report = build_pick_report([*many, *(pick(60 + number, "seldom", -0.5) for number in range(rewarded))], 10)
    often, seldom = report.items.groups
    assert often.difference is not None
    assert seldom.mean_reward is not None
    assert (often.difference.low is not None, seldom.mean_reward.low is not None) == (has_interval, has_interval)
    assert often.mean_reward is not None
    assert often.mean_reward.low is not None


@pytest.mark.parametrize("limit", [1, 3, 10, 1000])
def test_every_pick_is_counted_once_in_every_table(limit: int) -> None:
    random = np.random.default_rng(5)
    picks = [
        pick(
            number,
            f"tip-{random.integers(8)}",
            float(random.normal()) if number % 3 else None,
            uid=int(random.integers(6)),
            age=float(random.exponential()),
            priority=float(random.integers(1, 5)),
            mood=str(random.choice(["calm", "glad", "sad"])),
        )
        for number in range(300)
    ]
    report = build_pick_report(picks, limit)
    tables = {"item": report.items, "source": report.sources, **report.features}
    assert set(tables) == {"item", "source", "age", "priority", "mood"}
    for table in tables.values():
        assert count_picks(table) == 300
        is_number = table in (report.features["age"], report.features["priority"])
        assert len(table.groups) == (table.distinct if is_number else min(limit, table.distinct))
        listed = [*table.groups, *([table.others] if table.others else [])]
        assert sum(each.share for each in listed) == pytest.approx(1.0)
        assert sum(each.rewarded for each in listed) == report.rewarded == 200
        total = sum(each.mean_reward.value * each.rewarded for each in listed if each.mean_reward)
        assert report.mean_reward is not None
        assert total == pytest.approx(report.mean_reward.value * 200)
    counted = Counter(each.candidate.tip_id for each in picks)
    assert {each.name: each.picks for each in report.items.groups}.items() <= counted.items()


def test_a_number_of_few_values_stands_for_itself_and_of_many_for_a_range_in_its_order() -> None:
    picks = [pick(number, "tip", None, few=float(number % 8), many=float(number)) for number in range(100)]
    features = build_pick_report(picks, 10).features
    assert [each.name for each in features["few"].groups] == [str(value) for value in range(8)]
    ranges = features["many"].groups
    assert len(ranges) == 5
    assert [each.picks for each in ranges] == pytest.approx([20] * 5, abs=2)
    edges = [each.name.split(" to ") for each in ranges]
    assert (edges[0][0], edges[-1][1]) == ("0", "99")
    assert all(edges[place][1] == edges[place + 1][0] for place in range(4))


def test_an_interval_is_the_wider_of_decisions_and_of_users() -> None:
    alike = [pick(number, "tip", float(number % 2), uid=number // 10 % 2) for number in range(40)]
    apart = [pick(number, "tip", float(number // 10 % 2), uid=number // 10 % 4) for number in range(40)]
    of_alike, of_apart = (build_pick_report(picks, 1).mean_reward for picks in (alike, apart))
    assert of_alike is not None
    assert of_apart is not None
    assert of_alike.value == of_apart.value == 0.5
    assert of_alike.stderr == pytest.approx(np.sqrt(0.25 / 39)), "of decisions: those of users say no more"
    assert of_apart.stderr == pytest.approx(np.sqrt(4 * 5.0**2 / 40**2 * 4 / 3)), "of users: each is one of a kind"


def test_one_reward_says_no_interval() -> None:
    report = build_pick_report([pick(0, "a", 1.0), pick(1, "b", None)], 10)
    [first, second] = report.items.groups
    assert first.mean_reward is not None
    assert (first.mean_reward.value, first.mean_reward.low, first.difference) == (1.0, None, None)
    assert (second.rewarded, second.mean_reward, second.difference) == (0, None, None)


def test_an_interval_holds_what_it_is_of_nearly_always() -> None:
    random, held, runs = np.random.default_rng(11), 0, 400
    for _ in range(runs):
        tastes = random.normal(size=30) * 0.5
        picks = []
        for number in range(600):
            uid, item = int(random.integers(30)), int(random.integers(2))
            reward = 0.2 * item + tastes[uid] + float(random.normal())
            picks.append(pick(number, "ab"[item], reward, uid=uid))
        difference = next(each for each in build_pick_report(picks, 2).items.groups if each.name == "b").difference
        assert difference is not None
        assert difference.low is not None
        assert difference.high is not None
        held += difference.low <= 0.2 <= difference.high
    assert held >= 0.93 * runs


def test_features_are_left_out_where_they_may_not_be_seen() -> None:
    report = build_pick_report([pick(0, "a", 1.0, mood="sad")], 10, shows_content=False)
    assert report.features == {}
    assert report.content_withheld
    assert report.items.groups[0].picks == 1


@pytest.fixture
async def subject(tmp_path: Path) -> AsyncIterator[Subject]:
    async with Subject(make_embedded(tmp_path)) as living:
        yield living


async def test_what_stands_is_counted_as_it_stands_now(subject: Subject, tmp_path: Path) -> None:
    sight = ConsoleQueries(tmp_path)
    first, second = await subject.decide("ada"), await subject.decide("bea")
    await subject.decide("cleo", window=RewardWindow(held=True))
    taken = await subject.reward(first, 1.0)
    await subject.reward(second, -1.0)
    assert [(each.seq, each.reward) for each in await sight.list_picks()] == [(second.seq, -1.0), (first.seq, 1.0)]
    await subject.store.revoke([taken.reward.seq], cause="undo", client="tests")
    assert [each.reward for each in await sight.list_picks()] == [-1.0, None]
    await subject.store.erase("bea", "tests")
    [left] = await sight.list_picks()
    assert (left.seq, left.reward) == (first.seq, None)
    assert {name for name, _ in left.candidate.features} == {"is_overdue", "task_age_days", "priority"}
    await sight.close()
