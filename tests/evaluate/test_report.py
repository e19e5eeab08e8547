"""The report: one document for machines, and the page and the tables that are made of it."""

import json
import math
import re
from typing import Any

import numpy as np
import plotly.graph_objects as go  # type: ignore[import-untyped]  # it ships no types
import pytest

from bandstand.evaluate import Formula
from bandstand.evaluate.estimators.chunk import Chunk
from bandstand.evaluate.figures import build_figures
from bandstand.evaluate.page import format_heading, format_rows, format_summary, format_warnings, render_report
from bandstand.evaluate.policy_replay.replay import LoggingPolicy, LogSummary
from bandstand.evaluate.report import PolicyResult, build_report
from bandstand.evaluate.spec import EvaluationSpec
from tests.evaluate.world import World

WORLD = World()
LOG = WORLD.draw_log(500, seed=61)
HOSTILE = "</script><script>alert(1)</script>"


def build_document(
    missing_reward: float | None = None, lost: int = 0, name: str = "mine-v1", **more: Any
) -> dict[str, Any]:
    """A report about two policies: the world's target, and one without a chance."""
    question = EvaluationSpec((Formula.parse("snips"), Formula.parse("clipped_ips:3")), missing_reward=missing_reward)
    reward = np.where(np.arange(500) < lost, np.nan, LOG.reward)
    answers: list[PolicyResult] = []
    for target in (LOG.target[np.arange(500), LOG.action], np.zeros(500)):
        evaluation = question.build_evaluation()
        evaluation.add(Chunk(reward, LOG.propensity, target, supported=np.full(500, 0.5)))
        answers.append(PolicyResult(f"{name}{len(answers)}", "as trained on this log", 400, evaluation.result()))
    return build_report("state/ledger.db", question, answers, **more)


def test_it_is_json_without_anything_that_is_no_number() -> None:
    said = json.loads(json.dumps(build_document(), allow_nan=False))
    first, second = said["policies"]
    [snips, clipped] = first["estimates"]
    assert (snips["estimator"], clipped["estimator"]) == ("snips", "clipped_ips(clip=3)")
    assert snips["lift"] == pytest.approx(snips["value"] - said["log"]["mean_reward"])
    assert snips["low"] < snips["value"] < snips["high"]
    assert second["estimates"][0]["value"] is None
    assert said["log"] == {
        "decisions": 500,
        "rewarded": 500,
        "coverage": 1.0,
        "mean_reward": pytest.approx(LOG.reward.mean()),
        "stderr": pytest.approx(LOG.reward.std(ddof=1) / math.sqrt(500)),
    }
    assert first["supported"] == 0.5
    assert sum(first["weights"].values()) == 500
    assert first["curve"][-1]["until"] == 500


def test_it_says_who_decided_and_when() -> None:
    loggers = {"a": LoggingPolicy(decisions=3, rewarded=2, reward_sum=1.0), "b": LoggingPolicy(decisions=1)}
    log = LogSummary(first=1_750_000_000.0, last=1_750_086_400.0, logging_policies=loggers, users={1, 2})
    said = build_document(summary=log)["log"]
    assert (said["users"], said["first"], said["last"]) == (2, "2025-06-15T15:06:40+00:00", "2025-06-16T15:06:40+00:00")
    assert said["policies"] == {
        "a": {"decisions": 3, "rewarded": 2, "mean_reward": 0.5},
        "b": {"decisions": 1, "rewarded": 0, "mean_reward": None},
    }
    told = format_summary(build_document(summary=log))
    assert told["decided by a"] == "3, mean reward 0.5000"
    assert told["decided by b"] == "1, mean reward –"
    assert "from" not in format_summary(build_document(summary=LogSummary(first=0.0, last=0.0)))


def test_it_says_how_decisions_without_a_reward_were_treated() -> None:
    assert "without a reward" not in format_summary(build_document())
    assert format_summary(build_document(lost=100))["without a reward"].startswith("left out")
    assert format_summary(build_document(lost=100))["rewarded"] == "400 (80.0%)"
    assert format_summary(build_document(missing_reward=-0.5, lost=100))["without a reward"] == "counted as -0.5"


def test_a_table_has_a_row_for_every_estimator_and_dashes_for_what_is_not_known() -> None:
    sound, unknown = build_document()["policies"]
    assert format_heading(sound) == "mine-v10, as trained on this log (taught by 400 rewards)"
    assert format_heading(sound | {"rewards": None}) == "mine-v10, as trained on this log"
    [snips, clipped] = format_rows(sound)
    assert (snips[0], clipped[0]) == ("snips", "clipped_ips(clip=3)")
    assert re.fullmatch(r"\d\.\d{4} to \d\.\d{4}", snips[3])
    assert format_rows(unknown)[0][1:5] == ["–"] * 4
    assert any(doubt.startswith("snips: every weight is zero") for doubt in format_warnings(unknown))
    assert any("50.00% of what the target does" in doubt for doubt in format_warnings(sound))


def test_plotly_takes_every_figure() -> None:
    drawn = build_figures(json.loads(json.dumps(build_document(lost=100))))
    assert set(drawn) == {"estimates", "curve", "weights"}
    for figure in drawn.values():
        go.Figure(figure)  # refuses what plotly does not know
    estimates = drawn["estimates"]["data"]
    assert [len(trace["x"]) for trace in estimates] == [2, 1]  # the one without a value has no place on the axis


def test_the_page_needs_nothing_but_itself_and_escapes_names() -> None:
    said = build_document(name=HOSTILE)
    written = render_report(said)
    assert HOSTILE not in written
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in written
    head, _, drawn = written.partition('<script type="application/json" id="figures">')
    assert json.loads(drawn.partition("</script>")[0]) == build_figures(said)
    assert not re.search(r"(src|href)=", head)
    assert "Plotly.newPlot" in written
    assert len(written) > 1_000_000  # plotly itself is in it
    for name in build_figures(said):
        assert f'<div class="figure" id="{name}"></div>' in head
