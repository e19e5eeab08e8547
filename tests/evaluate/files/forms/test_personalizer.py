"""Personalizer's rank and reward calls: a reward belongs to its event, wherever in the log it stands."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandstand.evaluate import EvaluationError
from bandstand.evaluate.files.decision_file import DecisionFile
from bandstand.store.logged_events import LoggedDecision, LoggedEvent, LoggedReward

REQUEST: dict[str, Any] = {
    "contextFeatures": [{"user": {"age": 7}}, {"device": "phone"}],
    "actions": [
        {"id": "pasta", "features": [{"taste": "salty"}, {"nutrition": {"calories": 400}}]},
        {"id": "ice", "features": [{"taste": "sweet"}]},
        {"id": "soup", "features": [{"taste": "salty"}]},
    ],
    "excludedActions": ["soup"],
    "eventId": "e1",
}
RESPONSE: dict[str, Any] = {
    "ranking": [
        {"id": "ice", "probability": 0.8},
        {"id": "pasta", "probability": 0.2},
        {"id": "soup", "probability": 0},
    ],
    "eventId": "e1",
    "rewardActionId": "ice",
}
RANK = REQUEST | RESPONSE
REWARD = {"eventId": "e1", "value": 0.75}


def read(folder: Path, *lines: dict[str, Any]) -> list[LoggedEvent]:
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = DecisionFile.open(path)
    assert found is not None
    return [event for page in found.read_events(page=1) for event in page]


@pytest.mark.parametrize(
    "rank", [RANK, {"request": REQUEST, "response": RESPONSE}, {"rankRequest": REQUEST, "rankResponse": RESPONSE}]
)
def test_a_rank_call_and_its_reward_are_a_decision(tmp_path: Path, rank: dict[str, Any]) -> None:
    decision, reward = read(tmp_path, rank, REWARD)
    assert isinstance(decision, LoggedDecision)
    assert isinstance(reward, LoggedReward)
    assert (decision.pick, decision.propensity, decision.reward) == (1, 0.8, 0.75)
    np.testing.assert_array_equal(decision.probabilities, [0.2, 0.8, 0.0])
    assert (reward.decision_seq, reward.value, reward.pick) == (decision.seq, 0.75, 1)
    body = json.loads(decision.body)
    assert body["context"] == {"age": 7, "device": "phone"}
    assert body["candidates"][0] == {"id": "pasta", "features": {"taste": "salty", "calories": 400}}


def test_a_reward_teaches_where_it_stands_and_the_first_counts(tmp_path: Path) -> None:
    other = RANK | {"eventId": "e2"}
    events = read(tmp_path, RANK, other, REWARD, REWARD | {"value": -1.0}, {"eventId": "gone", "value": 1})
    assert [type(event) for event in events] == [LoggedDecision, LoggedDecision, LoggedReward]
    assert [event.reward for event in events if isinstance(event, LoggedDecision)] == [0.75, None]
    late = read(tmp_path, REWARD, RANK)
    assert [type(event) for event in late] == [LoggedDecision, LoggedReward]
    within = read(tmp_path, RANK | {"reward": 0.25}, REWARD)
    assert [event.value for event in within if isinstance(event, LoggedReward)] == [0.25]


def test_a_deferred_event_counts_if_it_was_rewarded(tmp_path: Path) -> None:
    deferred = {"deferActivation": True}
    events = read(tmp_path, RANK | deferred, RANK | deferred | {"eventId": "e2"}, REWARD)
    assert len([event for event in events if isinstance(event, LoggedDecision)]) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ranking": []}, "ranking: the answer to the rank call is missing"),
        ({"ranking": [{"id": "cake", "probability": 1}]}, "ranking.0: is not one of the actions"),
        ({"rewardActionId": "cake"}, "rewardActionId: is not one of the actions"),
        ({"rewardActionId": "soup"}, "ranking: the picked action's probability is not in (0, 1]"),
        ({"ranking": [{"id": "ice", "probability": 0.8}]}, "propensities do not sum to 1, but to 0.8"),
        ({"actions": []}, "actions: there are none"),
        ({"actions": [{"id": "ice"}, {"id": "ice"}]}, "actions: two have the same id"),
        ({"actions": [{"features": []}]}, "actions.0: is no action with an id"),
    ],
)
def test_a_call_that_is_wrong_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        read(tmp_path, RANK, RANK | changed)
    assert caught.value.detail.startswith(f"line 2: {message}")
    with pytest.raises(EvaluationError, match="line 2: is neither a rank call with its answer"):
        read(tmp_path, RANK, {"eventId": "e1"})
