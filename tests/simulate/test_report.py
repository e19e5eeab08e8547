"""The figures are figures to Plotly, and the report needs nothing but itself."""

import asyncio
import json
import re
from dataclasses import replace
from typing import Any

import plotly.graph_objects  # type: ignore[import-untyped]  # it ships no types
import pytest

from bandstand.judge.gate import Gate
from bandstand.simulate.figures import build_action_shares, build_figures, build_reward_curve
from bandstand.simulate.judges.judge import RuleJudge
from bandstand.simulate.plan import ChatPlan, Plan
from bandstand.simulate.report import describe_world, render_report
from bandstand.simulate.run.listener import ChatPlayers, JudgeListener
from bandstand.simulate.run.result import build_result
from bandstand.simulate.run.runner import LocalPlayers, Runner
from bandstand.simulate.world.chat import load_taxonomy
from bandstand.simulate.world.persona import Persona
from tests.judge.given import local
from tests.simulate.given import CATALOGUE, SMALL, play_plan

HOSTILE = Persona(name="</script><script>alert(1)//", prefers_high_priority=0.2, prefers_overdue=0.2)


async def build_run_result(plan: Plan) -> dict[str, Any]:
    runner = await play_plan(plan)
    return build_result(plan, runner.tally, run=7, state="done", seconds=runner.seconds)


async def play_hostile_chat() -> dict[str, Any]:
    """A run of users who talk, one of them in words that would like to be markup."""
    plan = replace(SMALL, chat=ChatPlan(), world=(HOSTILE,), personas=1)
    runner = Runner(plan, ChatPlayers(LocalPlayers(CATALOGUE.policies), JudgeListener(local(), Gate())), RuleJudge())
    assert await runner.run(asyncio.Event())
    return build_result(plan, runner.tally, run=7, state="done", seconds=runner.seconds)


async def test_where_users_talk_the_report_tells_what_the_judge_heard() -> None:
    outcome = await play_hostile_chat()
    drawn = build_figures(outcome)
    assert [trace["name"] for trace in drawn["actions"]["data"]] == list(load_taxonomy().label_names)
    for figure in drawn.values():
        plotly.graph_objects.Figure(figure)
        json.dumps(figure, allow_nan=False)
    page = render_report(outcome)
    assert "What the judge heard" in page
    assert page.count("what was meant (rows) and heard") == 2
    assert "<th>Neg constraint restate</th>" in page
    assert "alert(1)//<" not in page
    assert "What the judge heard" not in render_report(await build_run_result(SMALL))


async def test_no_two_lines_of_a_figure_and_no_two_parts_of_a_bar_look_alike() -> None:
    summary = (await build_run_result(SMALL))["policies"]["linucb-v1"]
    many = {"policies": {f"policy-{number}": summary for number in range(16)}, "baselines": {}}
    lines = [each["line"] for each in build_reward_curve(many)["data"] if "name" in each]
    assert len({(line["color"], line["dash"]) for line in lines}) == 16
    meant = build_action_shares(await play_hostile_chat())["data"]
    assert len({trace["marker"]["color"] for trace in meant}) == len(load_taxonomy().label_names)


@pytest.mark.parametrize("seeds", [1, 3])
async def test_every_figure_is_one_that_plotly_takes(seeds: int) -> None:
    drawn = build_figures(await build_run_result(replace(SMALL, seeds=seeds)))
    assert set(drawn) == {"reward", "regret", "actions", "personas"}
    for figure in drawn.values():
        plotly.graph_objects.Figure(figure)
        json.dumps(figure, allow_nan=False)


async def test_a_curve_shows_every_policy_between_the_bounds_with_its_band() -> None:
    outcome = await build_run_result(SMALL)
    traces = build_figures(outcome)["reward"]["data"]
    lines = {trace["name"]: trace for trace in traces if "name" in trace}
    assert set(lines) == {"random", "oracle", *SMALL.policies}
    for name in SMALL.policies:
        curve = outcome["policies"][name]["by_decision"]
        assert lines[name]["y"] == curve["expected_reward"]
        (band,) = [trace for trace in traces if trace.get("fill") and trace["legendgroup"] == name]
        upper = [mean + error for mean, error in zip(curve["expected_reward"], curve["expected_stderr"], strict=True)]
        assert band["y"][: len(upper)] == upper


async def test_the_report_asks_no_server_for_anything() -> None:
    page = render_report(await build_run_result(SMALL))
    ours = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)  # without Plotly's own million letters
    assert "http" not in ours.replace("http-equiv", "")
    assert not re.search(r"\b(src|href)=", ours)
    assert page.count("<script") == 3
    assert all(name in ours for name in SMALL.policies)


async def test_words_of_a_persona_cannot_leave_their_place() -> None:
    page = render_report(await build_run_result(replace(SMALL, world=(HOSTILE,))))
    assert "<script>alert" not in page
    block = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert block is not None
    assert HOSTILE.name in json.loads(block[1])["personas"]["data"][0]["x"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, "shipped: 3 users, 5 days of 4 decisions among 5 candidates"),
        ({"world": (HOSTILE,), "personas": 1_000}, "1 personas of its own: 1,000 users, 5 days"),
        ({"day_of_week": 0, "reflex_rate": 0.25}, ", every day a Monday, 25% of what is done by reflex"),
    ],
)
def test_a_world_is_told_with_what_is_not_as_usual(more: dict[str, Any], told: str) -> None:
    assert told in describe_world(json.loads(replace(SMALL, **more).to_json()))


async def test_curves_are_averaged_over_a_day_as_far_as_there_is_one() -> None:
    outcome = await build_run_result(SMALL)
    known = outcome["policies"]["linucb-v1"]["by_decision"]["expected_reward"]
    [line] = [each for each in build_reward_curve(outcome, 4)["data"] if each.get("name") == "linucb-v1"]
    for at, mean in enumerate(line["y"]):
        assert mean == pytest.approx(sum(known[max(0, at - 3) : at + 1]) / min(at + 1, 4))
