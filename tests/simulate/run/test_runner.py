"""A run: the same by seed, whoever plays beside, however it was stopped and went on."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from bandstand.errors import ConfigurationError
from bandstand.simulate.errors import RunTakenError
from bandstand.simulate.judges.judge import RuleJudge
from bandstand.simulate.plan import Plan
from bandstand.simulate.run.play import decode_steps
from bandstand.simulate.run.runner import build_tally, require_policies
from tests.simulate.given import CATALOGUE, CONTRACT, SMALL, CountingJudge, Journal, build_runner, is_close, play_plan


async def stop_after(plan: Plan, after: int, journal: Journal, **more: Any) -> None:
    """Play until the judge has been asked so often."""
    stop = asyncio.Event()
    playing = build_runner(plan, CountingJudge(stop, after, seconds=0.001), journal=journal, at_once=2, **more)
    assert not await playing.run(stop)
    assert playing.decisions_done < plan.total


async def test_a_run_is_the_same_every_time() -> None:
    first, second = Journal(), Journal()
    assert (await play_plan(SMALL, journal=first)).tally.build_summary() == (
        await play_plan(SMALL, journal=second)
    ).tally.build_summary()
    assert first.plays == second.plays
    assert first.events == second.events
    assert first.done[-1] == SMALL.total


async def test_other_seeds_are_other_worlds_and_a_seed_is_the_same_world_in_every_run() -> None:
    one, other, both = Journal(), Journal(), Journal()
    await play_plan(replace(SMALL, seeds=1, first_seed=4), journal=one)
    await play_plan(replace(SMALL, seeds=1, first_seed=5), journal=other)
    await play_plan(replace(SMALL, seeds=2, first_seed=4), journal=both)
    assert both.plays == one.plays | other.plays
    assert {key[1:]: play for key, play in one.plays.items()} != {key[1:]: play for key, play in other.plays.items()}


async def test_who_plays_beside_changes_nothing_for_a_policy() -> None:
    alone, beside = Journal(), Journal()
    await play_plan(replace(SMALL, policies=("linucb-v2",)), journal=alone)
    await play_plan(replace(SMALL, policies=CONTRACT), journal=beside)
    assert alone.plays == {key: play for key, play in beside.plays.items() if key[2] == "linucb-v2"}


async def test_all_policies_meet_the_same_reactions() -> None:
    journal = Journal()
    await play_plan(replace(SMALL, policies=CONTRACT, days=30), journal=journal)
    met: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    agreed = 0
    for seed, user, _, step, _, tip, *_, action, dwell, reward, _, _, _, _ in journal.events:
        said = met.setdefault((seed, user, step, tip), (action, dwell, reward))
        agreed += said == (action, dwell, reward)
        assert said == (action, dwell, reward)
    assert agreed > len(met), "policies that never agree would prove nothing"


@pytest.mark.parametrize("at_once", [1, 5, 40])
async def test_how_many_are_waited_for_at_once_changes_nothing(at_once: int) -> None:
    in_order, waited = Journal(), Journal()
    await play_plan(SMALL, CountingJudge(), journal=in_order)
    await play_plan(SMALL, CountingJudge(), journal=waited, at_once=at_once)
    assert waited.plays == in_order.plays
    assert sorted(waited.events) == sorted(in_order.events)


@pytest.mark.parametrize("after", [1, 30, 100, 230])
async def test_stopped_and_played_on_it_ends_as_if_it_had_never_been_stopped(after: int) -> None:
    whole, first, second = Journal(), Journal(), Journal()
    ended = await play_plan(SMALL, CountingJudge(), journal=whole)
    await stop_after(SMALL, after, first)
    judge = CountingJudge()
    resumed = await play_plan(SMALL, judge, journal=second, kept=first.plays.items(), at_once=2)
    assert first.plays | second.plays == whole.plays
    assert sorted(first.events + second.events) == sorted(whole.events)
    assert is_close(resumed.tally.build_summary(), ended.tally.build_summary())
    kept = sum(len(decode_steps(each)) for each in first.plays.values())
    assert kept == first.done[-1]
    assert len(judge.asked) == SMALL.total - kept, "what was judged before is not asked again"


async def test_stopped_again_before_it_caught_up_it_forgets_nothing() -> None:
    first, second = Journal(), Journal()
    await stop_after(SMALL, 100, first)
    stop = asyncio.Event()
    stop.set()
    again = build_runner(SMALL, journal=second, kept=first.plays.items())
    assert not await again.run(stop)
    assert again.decisions_done == second.done[-1] == first.done[-1]
    # But for the order in which numbers were added.
    one, other = (
        json.loads(each.summaries[-1], parse_float=lambda text: round(float(text), 9)) for each in (first, second)
    )
    assert one == other


async def test_what_was_kept_tells_the_same_as_the_run_did() -> None:
    journal = Journal()
    ended = await play_plan(SMALL, journal=journal)
    assert build_tally(SMALL, journal.plays.items()).build_summary() == ended.tally.build_summary()
    assert json.loads(journal.summaries[-1]) == json.loads(json.dumps(ended.tally.build_summary()))


async def test_a_whole_run_played_again_asks_nobody() -> None:
    journal = Journal()
    await play_plan(SMALL, journal=journal)
    judge, again = CountingJudge(), Journal()
    await play_plan(SMALL, judge, journal=again, kept=journal.plays.items(), at_once=3)
    assert (judge.asked, again.plays, again.events) == ([], {}, [])


@pytest.mark.parametrize(("events", "seeds"), [("none", set()), ("sample", {3}), ("all", {3, 4})])
async def test_the_events_asked_for_are_kept_whole(events: Any, seeds: set[int]) -> None:
    journal = Journal()
    plan = replace(SMALL, events=events, first_seed=3)
    await play_plan(plan, journal=journal)
    assert {row[0] for row in journal.events} == seeds
    assert len(journal.events) == len(seeds) * plan.total // plan.seeds
    assert len({row[:4] for row in journal.events}) == len(journal.events)


async def test_an_event_says_what_happened() -> None:
    journal = Journal()
    await play_plan(SMALL, journal=journal)
    for seed, user, policy, step, persona, tip, hour, day, priority, overdue, age, *rest in journal.events:
        score, propensity, exploring, action, dwell, reward, expected, best, judge, fallback, *heard = rest
        episode = SMALL.build_world(seed).build_episode(user)
        past = decode_steps(journal.plays[seed, user, policy])[step]
        candidate = episode.slates.get_candidates(step)[past.pick]
        assert persona == episode.persona.name
        assert tip == candidate["id"]
        assert {"hour_of_day": hour, "day_of_week": day} == episode.slates.get_context(step)
        assert candidate["features"] == {
            "hour_of_day": hour,
            "is_overdue": overdue,
            "task_age_days": age,
            "priority": priority,
        }
        assert (action, dwell, reward) == past.judged.reaction == episode.get_reaction(step, past.pick)
        assert (expected, best) == (episode.expected_reward[step, past.pick], episode.expected_reward[step].max())
        assert (judge, fallback, heard) == ("rule", None, [None, None])
        assert 0 < propensity <= 1
        assert isinstance(score, float)
        assert exploring in {True, False}


async def test_a_run_that_somebody_else_took_ends_at_the_next_write() -> None:
    with pytest.raises(RunTakenError):
        await build_runner(SMALL, journal=Journal(lost_after=0)).run(asyncio.Event())


async def test_progress_is_told_and_ends_at_the_total() -> None:
    told: list[int] = []
    await play_plan(SMALL, on_progress=told.append)
    assert told == sorted(told)
    assert told[-1] == SMALL.total


async def test_what_is_waited_for_is_written_while_it_is_played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandstand.simulate.run.runner.FLUSH_SECONDS", 0.02)
    journal = Journal()
    await play_plan(replace(SMALL, seeds=1), CountingJudge(seconds=0.005), journal=journal, at_once=1)
    assert len({done for done in journal.done if 0 < done < 120}) > 3
    whole = Journal()
    await play_plan(replace(SMALL, seeds=1), CountingJudge(), journal=whole)
    assert journal.plays == whole.plays
    assert sorted(journal.events) == sorted(whole.events)


def test_a_definition_that_has_changed_since_is_refused_by_name() -> None:
    plan = require_policies(SMALL, CATALOGUE.policies)
    assert require_policies(plan, CATALOGUE.policies) == plan
    changed = {**CATALOGUE.policies, "linucb-v2": CATALOGUE.policies["egreedy-v1"]}
    with pytest.raises(ConfigurationError, match=r"definition of linucb-v2 has changed"):
        require_policies(plan, changed)


async def test_the_rule_is_the_judge_of_a_plain_run() -> None:
    summary = (await play_plan(SMALL, RuleJudge())).tally.build_summary()
    for policy in summary["policies"].values():
        assert policy["judges"] == [{"judge": "rule", "fallback": None, "decisions": SMALL.total // 2}]
