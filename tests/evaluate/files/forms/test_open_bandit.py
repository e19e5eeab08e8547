"""The Open Bandit Pipeline's feedback without a policy's distribution: decisions over all of its actions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandstand.evaluate import EvaluationError
from bandstand.evaluate.files.decision_file import DecisionFile
from bandstand.store.logged_events import LoggedDecision

DATA = Path(__file__).resolve().parents[5] / "shared" / "data" / "ope"
PI = np.array([[0.25, 0.75], [0.5, 0.5]])
FEEDBACK: dict[str, Any] = {
    "n_rounds": 2,
    "n_actions": 2,
    "context": np.array([[0.5, 1.0], [0.0, -1.0]]),
    "action_context": np.array([[1.0, 0.0], [0.0, 1.0]]),
    "action": np.array([1, 0]),
    "position": None,
    "reward": np.array([1, 0]),
    "pscore": np.array([0.75, 0.5]),
    "pi_b": PI[:, :, np.newaxis],
}


def read(path: Path) -> list[LoggedDecision]:
    found = DecisionFile.open(path)
    assert found is not None
    events = [event for page in found.read_events() for event in page]
    return [event for event in events if isinstance(event, LoggedDecision)]


def test_arrays_are_decisions_over_the_actions(tmp_path: Path) -> None:
    np.savez(tmp_path / "log.npz", **FEEDBACK)
    first, second = read(tmp_path / "log.npz")
    assert (first.pick, first.propensity, first.reward, second.pick) == (1, 0.75, 1.0, 0)
    np.testing.assert_array_equal(first.probabilities, PI[0])
    body = json.loads(first.body)
    assert body["context"] == {"context_0": 0.5, "context_1": 1.0}
    assert body["candidates"][1] == {"id": "1", "features": {"action_context_0": 0.0, "action_context_1": 1.0}}


def test_without_a_number_of_actions_the_highest_tells(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("action,reward,pscore\n0,1,0.5\n4,NA,0.25\n", encoding="utf-8")
    first, second = read(tmp_path / "log.csv")
    assert len(json.loads(first.body)["candidates"]) == 5
    assert (second.pick, second.reward) == (4, None)


def test_a_number_out_of_range_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "log.npz", **FEEDBACK | {"action": np.array([1, 2])})
    with pytest.raises(EvaluationError, match=r"^row 1: action: is not in \[0, 2\)"):
        read(tmp_path / "log.npz")
    (tmp_path / "log.csv").write_text("item_id,click,propensity_score\n0,1,0\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"^line 2: propensity_score: is not in \(0, 1\]"):
        read(tmp_path / "log.csv")


@pytest.mark.skipif(not DATA.is_dir(), reason="the Open Bandit logs are not beside the project")
def test_the_dataset_s_own_frames_are_read() -> None:
    decisions = read(DATA / "obd_small_bts_all.csv.gz")
    assert len(decisions) == 10_000
    assert {len(json.loads(each.body)["candidates"]) for each in decisions[:100]} == {80}
    context = json.loads(decisions[0].body)["context"]
    assert context == {
        "position": 1,
        "user_feature_0": 1,
        "user_feature_1": 0,
        "user_feature_2": 4,
        "user_feature_3": 6,
    }
    assert decisions[0].ts == pytest.approx(1574553617.004101)
