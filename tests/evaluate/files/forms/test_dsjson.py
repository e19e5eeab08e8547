"""Vowpal Wabbit's decisions: cost to reward, rank order to the order of the candidates."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandstand.evaluate import EvaluationError
from bandstand.evaluate.files.decision_file import DecisionFile
from bandstand.store.logged_events import LoggedDecision, LoggedEvent, LoggedReward

LINE: dict[str, Any] = {
    "_label_cost": -0.5,
    "_label_probability": 0.7,
    "_label_Action": 3,
    "_labelIndex": 2,
    "o": [{"v": 0.5, "EventId": "e1", "ActionTaken": False}],
    "Timestamp": "2026-01-01T00:00:00.5000000Z",
    "Version": "1",
    "EventId": "e1",
    "a": [3, 1, 2],
    "c": {
        "FromUrl": [{"timeofday": "Afternoon", "name": "Cathy"}],
        "_synthetic": False,
        "_multi": [
            {"_tag": "Latte", "i": {"constant": 1, "id": "latte"}, "j": [{"type": "hot", "size": [1, 2.5]}]},
            {"Tag": "Cold brew", "i": {"constant": 1}},
            {"i": {"constant": 1, "id": "Mocha"}},
        ],
    },
    "p": [0.7, 0.2, 0.1],
    "VWState": {"m": "model-7"},
}


def read(folder: Path, *lines: dict[str, Any], name: str = "log.dsjson") -> list[LoggedEvent]:
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = DecisionFile.open(path)
    assert found is not None
    return [event for page in found.read_events() for event in page]


def test_cost_is_negated_and_rank_order_becomes_candidate_order(tmp_path: Path) -> None:
    decision, reward = read(tmp_path, LINE)
    assert isinstance(decision, LoggedDecision)
    assert isinstance(reward, LoggedReward)
    assert (decision.pick, decision.propensity, decision.reward, reward.value) == (2, 0.7, 0.5, 0.5)
    np.testing.assert_array_equal(decision.probabilities, [0.2, 0.1, 0.7])
    assert (decision.policy, decision.ts) == ("model-7", 1767225600.5)
    body = json.loads(decision.body)
    assert body["context"] == {"timeofday": "Afternoon", "name": "Cathy"}
    assert [each["id"] for each in body["candidates"]] == ["Latte", "Cold brew", "Mocha"]
    assert body["candidates"][0]["features"] == {
        "constant": 1, "id": "latte", "type": "hot", "size_0": 1, "size_1": 2.5,
    }  # fmt: skip


def test_single_precision_and_no_cost_are_as_the_tool_writes_them(tmp_path: Path) -> None:
    fine = LINE | {"_label_cost": 0, "p": [0.699999988079071, 0.20000000298023224, 0.10000000149011612]}
    zero, _, waiting = read(tmp_path, fine, {name: LINE[name] for name in ("a", "c", "p", "EventId")})
    assert isinstance(zero, LoggedDecision)
    assert isinstance(waiting, LoggedDecision)
    assert str(zero.reward) == "0.0"
    assert (waiting.reward, waiting.pick, waiting.propensity) == (None, 2, 0.7)


def test_actions_that_were_not_ranked_could_not_be_picked(tmp_path: Path) -> None:
    [decision, _] = read(tmp_path, LINE | {"a": [3, 1], "p": [0.7, 0.3]})
    assert isinstance(decision, LoggedDecision)
    np.testing.assert_array_equal(decision.probabilities, [0.3, 0.0, 0.7])


def test_what_was_not_decided_is_left_out(tmp_path: Path) -> None:
    dangling = {"RewardValue": 1.0, "EnqueuedTimeUtc": "2026-01-01T00:00:00Z", "EventId": "e0"}
    assert len(read(tmp_path, LINE, dangling, LINE | {"_skipLearn": True})) == 2


def test_plain_vw_json_is_read_without_its_ranking(tmp_path: Path) -> None:
    line = {"User": {"age": 7}, "_multi": [{"x": 1}, {"x": 2}], "_labelIndex": 1}
    [decision, _] = read(tmp_path, line | {"_label_Cost": 1, "_label_Probability": 0.5}, name="log.json")
    assert isinstance(decision, LoggedDecision)
    assert (decision.pick, decision.reward, decision.probabilities.size) == (1, -1.0, 0)
    assert json.loads(decision.body)["context"] == {"age": 7}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"_label_probability": 0.2}, "propensity is 0.2, and that of the pick in propensities 0.7"),
        ({"_label_Action": 1}, "a and _labelIndex and _label_Action name different actions"),
        ({"p": [0.7, 0.2]}, "p: is no list of 3 probabilities"),
        ({"p": [0.7, 0.2, 0.2]}, "propensities do not sum to 1, but to 1.1"),
        ({"a": [4, 1, 2]}, "a: is no ranking of 3 actions"),
        ({"a": [3, 3, 2]}, "a: names an action twice"),
        ({"_label_cost": "none"}, "_label_cost: is no number"),
        ({"_label_probability": 0}, "_label_probability: is not in (0, 1]"),
        ({"Timestamp": "yesterday"}, "Timestamp: is no time"),
        ({"c": {}}, "c._multi: the actions are missing"),
        ({"c": {"_multi": [1, 2, 3]}}, "c._multi.0: is no object"),
        ({"pdrop": 0.5}, "pdrop: is 0.5, and 0 before"),
        ({"_outcomes": []}, "decisions over slots or continuous actions are not read"),
        ({"c": LINE["c"] | {"_slots": []}}, "decisions over slots or continuous actions are not read"),
    ],
)
def test_a_line_that_contradicts_itself_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        read(tmp_path, LINE, LINE | changed)
    assert caught.value.detail.startswith(f"line 2: {message}")
