"""RecoGym's frames: what a user looked at is what is known of the products."""

import json
from pathlib import Path

import numpy as np
import pytest

from bandstand.evaluate import EvaluationError
from bandstand.evaluate.files.decision_file import DecisionFile
from bandstand.store.logged_events import LoggedDecision

FRAME = """t,u,z,v,a,c,ps,ps-a
0,0,organic,1.0,,,,
1,0,organic,1.0,,,,
2,0,bandit,,2.0,1.0,0.5,"{ps}"
3,1,organic,0.0,,,,
4,0,bandit,,0.0,,0.25,"{ps_2}"
"""


def read(folder: Path, text: str) -> list[LoggedDecision]:
    (folder / "log.csv").write_text(text, encoding="utf-8")
    found = DecisionFile.open(folder / "log.csv")
    assert found is not None
    events = [event for page in found.read_events() for event in page]
    return [event for event in events if isinstance(event, LoggedDecision)]


@pytest.mark.parametrize(
    "lists", [("[0.25 0.25 0.5]", "[0.25 0.25 0.5]"), ("(0.25, 0.25, 0.5)", "(0.25, 0.25, 0.5)"), ("()", "()")]
)
def test_bandit_rows_are_decisions_and_organic_rows_their_features(tmp_path: Path, lists: tuple[str, str]) -> None:
    first, second = read(tmp_path, FRAME.replace("{ps}", lists[0]).replace("{ps_2}", lists[1]))
    assert (first.pick, first.propensity, first.reward, first.ts) == (2, 0.5, 1.0, 2.0)
    assert (second.pick, second.propensity, second.reward) == (0, 0.25, None)
    assert first.uid == second.uid
    np.testing.assert_array_equal(first.probabilities, [] if lists[0] == "()" else [0.25, 0.25, 0.5])
    assert [each["features"]["views"] for each in json.loads(first.body)["candidates"]] == [0, 2, 0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("5,0,other,,2,1,0.5,", "z: is neither organic nor bandit"),
        ("5,0,bandit,,1.5,1,0.5,", "a: is no index"),
        ("5,0,bandit,,1,1,0,", "ps: is not in (0, 1]"),
        ("5,0,bandit,,1,x,0.5,", "c: is no number"),
        ("5,0,bandit,,2,1,0.25,(0.25 0.25 0.5)", "propensity is 0.25, and that of the pick in propensities 0.5"),
    ],
)
def test_a_row_that_is_wrong_is_refused(tmp_path: Path, row: str, message: str) -> None:
    text = FRAME.replace("{ps}", "(0.25, 0.25, 0.5)").replace("{ps_2}", "(0.25, 0.25, 0.5)")
    with pytest.raises(EvaluationError) as caught:
        read(tmp_path, text + row + "\n")
    assert caught.value.detail.startswith(f"line 7: {message}")
