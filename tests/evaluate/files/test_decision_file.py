"""A log of decisions from elsewhere: replayed as a ledger's is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandstand.evaluate import EvaluationError
from bandstand.evaluate.files.decision_file import DecisionFile
from bandstand.store.logged_events import LoggedDecision, LoggedEvent, LoggedReward
from tests.evaluate.ledgers import pages_of, persona_world, play_world, replay_log

LINE: dict[str, Any] = {
    "user_id": "anna",
    "context": {"hour_of_day": 9},
    "candidates": [{"id": "a", "features": {"priority": 4}}, {"id": "b"}],
    "tip_id": "b",
    "propensity": 0.25,
    "reward": 0.5,
}


def write_file(folder: Path, *lines: dict[str, Any]) -> Path:
    path = folder / "decisions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def events(path: Path, page: int = 1000) -> list[LoggedEvent]:
    return [event for events in read_decisions(path, page) for event in events]


def read_decisions(path: Path, page: int = 1000) -> Iterator[list[LoggedEvent]]:
    found = DecisionFile.open(path)
    assert found is not None
    return found.read_events(page)


def test_a_line_is_a_decision_and_its_reward(tmp_path: Path) -> None:
    path = write_file(tmp_path, LINE, LINE | {"user_id": "bob", "tip_id": None, "action": 0, "reward": None, "ts": 7.5})
    found = DecisionFile.open(path)
    assert found is not None
    [[first, reward, second]] = found.read_events()
    assert isinstance(first, LoggedDecision)
    assert isinstance(reward, LoggedReward)
    assert isinstance(second, LoggedDecision)
    assert (first.pick, first.propensity, first.reward, first.policy) == (1, 0.25, 0.5, "unknown")
    assert (reward.uid, reward.value, reward.weight, reward.decision_seq, reward.pick) == (
        first.uid, 0.5, 1.0, first.seq, 1,
    )  # fmt: skip
    assert (second.pick, second.reward, second.ts) == (0, None, 7.5)
    assert second.uid != first.uid
    assert [found.format_location(event.seq) for event in (first, reward, second)] == ["line 1", "line 1", "line 2"]
    assert 0 <= first.seed < 1
    assert first.seed != second.seed
    assert json.loads(first.body)["context"] == {"hour_of_day": 9}


def test_only_objects_with_candidates_are_decisions(tmp_path: Path) -> None:
    assert DecisionFile.open(write_file(tmp_path, LINE)) is not None
    assert DecisionFile.open(write_file(tmp_path, {"reward": 1, "propensity": 1, "target": 1})) is None


@pytest.mark.parametrize("page", [1, 3, 1000])
def test_pages_of_any_length_hold_the_same(tmp_path: Path, page: int) -> None:
    path = write_file(tmp_path, *[LINE | {"reward": number / 10} for number in range(8)])
    assert list(map(str, events(path, page))) == list(map(str, events(path)))
    assert len(next(read_decisions(path, page))) == 2 * min(page, 8)


def test_a_ledger_written_out_is_replayed_alike(tmp_path: Path) -> None:
    """Every reward of this world comes at once, so the order of the file is the ledger's."""
    play_world(tmp_path / "state", persona_world(users=5, days=10), "my-squarecb")
    pages = pages_of(tmp_path / "state")
    lines = []
    for event in (event for page in pages for event in page):
        if isinstance(event, LoggedDecision):
            more = {"action": event.pick, "propensity": event.propensity, "reward": event.reward, "ts": event.ts}
            told = {"propensities": event.probabilities.tolist(), "policy": event.policy}
            lines.append(json.loads(event.body) | more | told)
    file = list(read_decisions(write_file(tmp_path, *lines)))
    names = ("my-squarecb", "my-linucb", "linucb-v1", "my-forgetful")
    for ours, theirs in zip(replay_log(pages, *names), replay_log(file, *names), strict=True):
        np.testing.assert_allclose(theirs.target, ours.target, rtol=1e-12)
        np.testing.assert_array_equal(theirs.reward, ours.reward)
        assert ours.supported is not None
        assert theirs.supported is not None
        np.testing.assert_allclose(theirs.supported, ours.supported, rtol=1e-12)


def test_without_the_propensities_of_all_the_support_is_not_known(tmp_path: Path) -> None:
    [chunk] = replay_log(list(read_decisions(write_file(tmp_path, LINE))), "my-uniform")
    assert chunk.supported is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"user_id": 7}, "user_id: "),
        ({"candidates": []}, "candidates: "),
        ({"candidates": [7]}, "candidates.0: "),
        ({"propensity": 0}, "propensity: "),
        ({"propensity": 1.5}, "propensity: "),
        ({"propensity": None}, "propensity: "),
        ({"reward": "1"}, "reward: "),
        ({"reward": 1e7}, "reward: "),
        ({"tip_id": "c"}, "the pick is not one of the candidates"),
        ({"tip_id": None}, "give one of tip_id and action"),
        ({"action": 0}, "give one of tip_id and action"),
        ({"tip_id": None, "action": 2}, "the pick is not one of the candidates"),
        ({"tip_id": None, "action": -1}, "the pick is not one of the candidates"),
        ({"propensities": [0.5]}, "there are 1 propensities and 2 candidates"),
        ({"propensities": [0.5, 2.0]}, "propensities.1: "),
        ({"ts": -1}, "ts: "),
    ],
)
def test_a_line_that_is_no_decision_is_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        events(write_file(tmp_path, LINE, LINE | changed))
    assert caught.value.detail.startswith(f"line 2: {message}")


def test_a_line_that_is_no_object_is_named(tmp_path: Path) -> None:
    path = write_file(tmp_path, LINE)
    path.write_text(path.read_text() + "{\n")
    with pytest.raises(EvaluationError, match=r"^line 2: "):
        events(path)
