"""The pages of simulations: started, followed, looked at, compared, deleted."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bandstand.simulate.judges.judge_prompt import load_shipped_prompt
from bandstand.simulate.judges.llm_judge import LlmJudge
from bandstand.simulate.plan import JudgePlan
from bandstand.simulate.run.runner import LocalPlayers, Runner
from tests.console.given import Page, Person, keep, play_conversations
from tests.simulate.given import CATALOGUE
from tests.simulate.given import SMALL as TINY

SMALL: dict[str, Any] = {
    "policies": ["linucb-v1", "linucb-v2"],
    "world": "shipped",
    "personas": "3",
    "days": "2",
    "decisions_per_day": "4",
    "candidates": "5",
    "seeds": "2",
    "first_seed": "0",
    "judge": "rule",
    "events": "none",
}


async def start(person: Person, **fields: Any) -> Page:
    token = (await person.open("/simulations/new")).token
    return await person.send("/simulations/new", token=token, **{**SMALL, **fields})


async def wait_until_ended(person: Person, run: int) -> Page:
    for _ in range(1200):
        told = (await person.open(f"/simulations/{run}/progress.json")).response.json()
        if not told["alive"]:
            return await person.open(f"/simulations/{run}")
        await asyncio.sleep(0.05)
    raise AssertionError(f"run {run} did not end")


async def test_an_empty_list_says_what_a_simulation_is(person: Person) -> None:
    page = await person.open("/simulations")
    assert "No simulation has been played" in page.text
    assert "/console/simulations/new" in page.links


async def test_a_run_is_started_followed_looked_at_compared_and_deleted(person: Person) -> None:
    started = await start(person)
    assert (started.status, started.response.headers["location"]) == (303, "/console/simulations/1")
    waiting = await person.open("/simulations/1")
    assert "progress.js" in str(waiting.scripts) or "done" in waiting.text
    page = await wait_until_ended(person, 1)
    assert "progress.js" not in str(page.scripts)
    told = (await person.service.get("/simulations/1")).json()
    (row,) = [row for row in page.rows() if row[0] == "linucb-v2" and len(row) == 8]
    assert row[1].startswith(f"{told['policies']['linucb-v2']['mean_reward']:.4f}".replace("-", "−"))
    figures = (await person.open("/simulations/1/figures.json")).response.json()
    assert set(figures) == {"reward", "regret", "actions", "personas"}
    await start(person, policies=["thompson-v1", "linucb-v2"], days="4")
    await wait_until_ended(person, 2)
    listed = await person.open("/simulations")
    assert [row[1] for row in listed.rows()[1:]] == ["2", "1"]
    both = await person.open("/simulations/compare?run=2&run=1&run=2")
    assert both.text.index("Simulation 2") < both.text.index("Simulation 1")
    (difference,) = [row for row in both.rows() if row[:3] == ["linucb-v2", "1", "2"]]
    first, second = [
        (await person.service.get(f"/simulations/{run}")).json()["policies"]["linucb-v2"] for run in (2, 1)
    ]
    assert difference[3].startswith(f"{second['expected_reward'] - first['expected_reward']:.4f}".replace("-", "−"))
    assert difference[4] in ("earns more", "earns less", "not told apart")
    curves = (await person.open("/simulations/compare.json?run=2&run=1")).response.json()["reward"]["data"]
    assert {"linucb-v1 (run 1)", "thompson-v1 (run 2)"} <= {each.get("name") for each in curves}
    asked = await person.open("/simulations/1/delete")
    assert "cannot be taken back" in asked.text
    assert (await person.send("/simulations/1/delete", token=asked.token)).status == 303
    assert (await person.open("/simulations/1")).status == 404


async def test_a_run_in_which_users_talked_tells_what_the_judge_heard(person: Person, tmp_path: Path) -> None:
    plan, summary = await play_conversations()
    keep(tmp_path / "state", plan, summary)
    page = await person.open("/simulations/1")
    assert page.status == 200, page.text
    assert "local reads what they say, hard gate, τ = 0.6" in page.text
    heard = summary["hearing"]["linucb-v1"]
    (row,) = [row for row in page.rows() if row[0] == "linucb-v1" and len(row) == 8]
    assert row[1] == f"{100 * heard['coverage']:.1f} %"
    confused = [row for row in page.rows() if row[0] == "neutral"]
    assert [int(cell) for cell in confused[0][1:]] == list(heard["labels"]["confusion"]["neutral"].values())
    assert (await person.open("/simulations/1/figures.json")).status == 200
    keep(tmp_path / "state", plan, summary)
    assert "linucb-v1 by truth" in (await person.open("/simulations/compare?run=1&run=2")).text


async def test_more_than_four_runs_do_not_fit_side_by_side(person: Person, tmp_path: Path) -> None:
    plan, summary = await play_conversations()
    for _ in range(6):
        keep(tmp_path / "state", plan, summary)
    four = await person.open("/simulations/compare?run=1&run=2&run=3&run=4")
    assert "left out" not in four.text
    six = await person.open("/simulations/compare?run=6&run=5&run=4&run=3&run=2&run=1&run=6")
    assert "2 of those you ticked are left out" in six.text
    assert ("Simulation 3" in six.text, "Simulation 2" in six.text) == (True, False)


async def test_a_run_of_another_judge_tells_who_decided(person: Person, tmp_path: Path) -> None:
    plan = replace(TINY, judge=JudgePlan(kind="llm"))
    runner = Runner(plan, LocalPlayers(CATALOGUE.policies), LlmJudge(None, load_shipped_prompt()))
    assert await runner.run(asyncio.Event())
    keep(tmp_path / "state", plan, runner.tally.build_summary())
    page = await person.open("/simulations/1")
    assert ["linucb-v1", "rule", "no-key", f"{plan.total // 2:,}"] in page.rows()


async def test_what_is_not_as_usual_in_a_world_is_told(person: Person) -> None:
    form = await person.open("/simulations/new")
    assert "always a Monday" in form.text
    await start(person, day_of_week="0")
    page = await wait_until_ended(person, 1)
    assert "shipped: 3 users, 2 days of 4 decisions among 5 candidates, every day a Monday" in page.text
    assert (await person.service.get("/simulations/1")).json()["plan"]["day_of_week"] == 0


async def test_a_run_is_stopped_by_hand(person: Person) -> None:
    await start(person, personas="100", days="100", seeds="100")
    token = (await person.open("/simulations/1")).token
    assert (await person.send("/simulations/1/cancel", token=token)).status == 303
    page = await wait_until_ended(person, 1)
    assert "stopped by hand" in page.text


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"seeds": "0"}, "seeds"),
        ({"seeds": "1001"}, "seeds"),
        ({"days": "-3"}, "days"),
        ({"days": "two"}, "days"),
        ({"days": ""}, "days"),
        ({"personas": "9" * 400}, "personas"),
        ({"candidates": "²"}, "candidates"),
        ({"policies": []}, "policies"),
        ({"world": "/etc/passwd"}, "world"),
        ({"judge": "command"}, "judge"),
        ({"events": "some"}, "events"),
        ({"day_of_week": "7"}, "day_of_week"),
        ({"personas": "10000", "days": "3650", "decisions_per_day": "100"}, "seeds"),
    ],
)
async def test_what_cannot_be_played_is_said_beside_its_field(
    person: Person, fields: dict[str, Any], where: str
) -> None:
    page = await start(person, **fields)
    assert page.status == 422
    assert f'id="fault-{where}"' in page.html
    assert "nothing was started" in page.text
    assert not (await person.service.get("/simulations")).json()["simulations"]


async def test_an_unknown_policy_is_a_page(person: Person) -> None:
    assert (await start(person, policies="nothing-v9")).status == 404


async def test_fewer_than_two_are_no_comparison(person: Person) -> None:
    for path in ("/simulations/compare", "/simulations/compare.json"):
        assert (await person.open(path)).status == 200
    assert "Tick two" in (await person.open("/simulations/compare")).text
    assert (await person.open("/simulations/compare?run=1&run=2")).status == 404
