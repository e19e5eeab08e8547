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
from bandstand.evaluate.figures import figures
from bandstand.evaluate.page import doubts, facts, heading, page, rows
from bandstand.evaluate.replay.policy_replay import LogFacts, Logger
from bandstand.evaluate.report import Answer, report
from bandstand.evaluate.spec import Question
from tests.evaluate.world import World

WORLD = World()
LOG = WORLD.draw(500, seed=61)
HOSTILE = "</script><script>alert(1)</script>"


def document(missing_reward: float | None = None, lost: int = 0, name: str = "mine-v1", **more: Any) -> dict[str, Any]:
    """A report about two policies: the world's target, and one without a chance."""
    question = Question((Formula.parse("snips"), Formula.parse("clipped_ips:3")), missing_reward=missing_reward)
    reward = np.where(np.arange(500) < lost, np.nan, LOG.reward)
    answers: list[Answer] = []
    for target in (LOG.target[np.arange(500), LOG.action], np.zeros(500)):
        evaluation = question.evaluation()
        evaluation.add(Chunk(reward, LOG.propensity, target, supported=np.full(500, 0.5)))
        answers.append(Answer(f"{name}{len(answers)}", "as trained on this log", 400, evaluation.result()))
    return report("state/ledger.db", question, answers, **more)


def test_it_is_json_without_anything_that_is_no_number() -> None:
    said = json.loads(json.dumps(document(), allow_nan=False))
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
    loggers = {"a": Logger(decisions=3, rewarded=2, reward_sum=1.0), "b": Logger(decisions=1)}
    log = LogFacts(first=1_750_000_000.0, last=1_750_086_400.0, loggers=loggers, users={1, 2})
    said = document(facts=log)["log"]
    assert (said["users"], said["first"], said["last"]) == (2, "2025-06-15T15:06:40+00:00", "2025-06-16T15:06:40+00:00")
    assert said["policies"] == {
        "a": {"decisions": 3, "rewarded": 2, "mean_reward": 0.5},
        "b": {"decisions": 1, "rewarded": 0, "mean_reward": None},
    }
    told = facts(document(facts=log))
    assert told["decided by a"] == "3, mean reward 0.5000"
    assert told["decided by b"] == "1, mean reward –"
    assert "from" not in facts(document(facts=LogFacts(first=0.0, last=0.0)))


def test_it_says_how_decisions_without_a_reward_were_treated() -> None:
    assert "without a reward" not in facts(document())
    assert facts(document(lost=100))["without a reward"].startswith("left out")
    assert facts(document(lost=100))["rewarded"] == "400 (80.0%)"
    assert facts(document(missing_reward=-0.5, lost=100))["without a reward"] == "counted as -0.5"


def test_a_table_has_a_row_for_every_estimator_and_dashes_for_what_is_not_known() -> None:
    sound, unknown = document()["policies"]
    assert heading(sound) == "mine-v10, as trained on this log (taught by 400 rewards)"
    assert heading(sound | {"rewards": None}) == "mine-v10, as trained on this log"
    [snips, clipped] = rows(sound)
    assert (snips[0], clipped[0]) == ("snips", "clipped_ips(clip=3)")
    assert re.fullmatch(r"\d\.\d{4} to \d\.\d{4}", snips[3])
    assert rows(unknown)[0][1:5] == ["–"] * 4
    assert any(doubt.startswith("snips: every weight is zero") for doubt in doubts(unknown))
    assert any("50.00% of what the target does" in doubt for doubt in doubts(sound))


def test_plotly_takes_every_figure() -> None:
    drawn = figures(json.loads(json.dumps(document(lost=100))))
    assert set(drawn) == {"estimates", "curve", "weights"}
    for figure in drawn.values():
        go.Figure(figure)  # refuses what plotly does not know
    estimates = drawn["estimates"]["data"]
    assert [len(trace["x"]) for trace in estimates] == [2, 1]  # the one without a value has no place on the axis


def test_the_page_needs_nothing_but_itself_and_escapes_names() -> None:
    said = document(name=HOSTILE)
    written = page(said)
    assert HOSTILE not in written
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in written
    head, _, drawn = written.partition('<script type="application/json" id="figures">')
    assert json.loads(drawn.partition("</script>")[0]) == figures(said)
    assert not re.search(r"(src|href)=", head)
    assert "Plotly.newPlot" in written
    assert len(written) > 1_000_000  # plotly itself is in it
    for name in figures(said):
        assert f'<div class="figure" id="{name}"></div>' in head
