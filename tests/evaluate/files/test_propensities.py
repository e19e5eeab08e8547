"""A log that says two things of one probability is refused, in every form that can say it twice."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pytest
from pyarrow import parquet

from bandstand.evaluate import EvaluationError, Formula
from bandstand.evaluate.files.decision_file import DecisionFile
from bandstand.evaluate.spec import EvaluationSpec, evaluate_rows

FLOAT32 = np.array([0.1, 0.7, 0.2], np.float32)

# The same decision in every form: three candidates, the second picked; ``p`` of the pick, and ``all`` of them.


def write_score_request(folder: Path, p: float, every: list[float]) -> Path:
    line = {"user_id": "u", "candidates": [{}, {}, {}], "action": 1, "propensity": p, "propensities": every}
    return write_lines(folder, line)


def write_dsjson(folder: Path, p: float, every: list[float]) -> Path:
    ranked = [2, 1, 3]
    line = {
        "_label_cost": 0,
        "_label_probability": p,
        "a": ranked,
        "p": [every[number - 1] for number in ranked],
        "c": {"_multi": [{}, {}, {}]},
    }
    return write_lines(folder, line)


def write_recogym(folder: Path, p: float, every: list[float]) -> Path:
    return write_lines(folder, {"t": 0, "u": 0, "z": "bandit", "v": None, "a": 1, "c": 0, "ps": p, "ps-a": every})


def write_obp(folder: Path, p: float, every: list[float]) -> Path:
    line = {"action": 1, "reward": 0, "pscore": p, "pi_b": [[each] for each in every]}
    return write_lines(folder, line)


def write_lines(folder: Path, *lines: dict[str, Any]) -> Path:
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def write_lists(folder: Path, p: float, every: list[float]) -> Path:
    row = {"reward": 1, "action": 1, "propensity": p, "propensities": every, "target": [0.2, 0.3, 0.5]}
    return write_lines(folder, row)


def write_csv(folder: Path, p: float, every: list[float]) -> Path:
    path = folder / "log.csv"
    names = "reward,action,propensity,propensity_0,propensity_1,propensity_2,target"
    path.write_text(f"{names}\n1,1,{p!r},{','.join(map(repr, every))},0.5\n", encoding="utf-8")
    return path


def write_named(folder: Path, p: float, every: list[float]) -> Path:
    columns: dict[str, Any] = {"reward": [1], "action": ["b"], "propensity": [p]}
    columns |= {f"target_{name}": [share] for name, share in zip("abc", (0.2, 0.3, 0.5), strict=True)}
    columns |= {f"propensities_{name}": [share] for name, share in zip("abc", every, strict=True)}
    parquet.write_table(pa.table(columns), folder / "log.parquet")
    return folder / "log.parquet"


WRITERS = [
    write_score_request,
    write_dsjson,
    write_recogym,
    write_obp,
    write_lists,
    write_csv,
    write_named,
]  # Personalizer's form has the pick's probability only once


def read(path: Path) -> None:
    decisions = DecisionFile.open(path)
    if decisions is None:
        evaluate_rows(EvaluationSpec((Formula.named("ips"),)), path)
    else:
        list(decisions.read_events())


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("p", "every"),
    [
        (0.7, [0.1, 0.7, 0.2]),
        (0.7, FLOAT32.astype(float).tolist()),
        (float(FLOAT32[1]), [0.1, 0.7, 0.2]),
        (0.333333, [0.333333, 0.333333, 0.333334]),
    ],
)
def test_what_agrees_to_single_precision_is_read(tmp_path: Path, write: Any, p: float, every: list[float]) -> None:
    read(write(tmp_path, p, every))


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("p", "every", "message"),
    [
        (0.5, [0.0, 1.0, 0.0], "propensity is 0.5, and that of the pick in propensities 1"),
        (0.1, [0.1, 0.7, 0.2], "propensity is 0.1, and that of the pick in propensities 0.7"),
        (0.7001, [0.1, 0.7, 0.2], "propensity is 0.7001, and that of the pick in propensities 0.7"),
        (0.7, [0.1, 0.7, 0.1], "propensities do not sum to 1, but to 0.9"),
        (0.33, [0.33, 0.33, 0.33], "propensities do not sum to 1, but to 0.99"),
    ],
)
def test_what_contradicts_itself_is_refused_by_line(
    tmp_path: Path, write: Any, p: float, every: list[float], message: str
) -> None:
    path = write(tmp_path, p, every)
    place = "row 0" if path.suffix == ".parquet" else f"line {1 + (path.suffix == '.csv')}"
    with pytest.raises(EvaluationError, match=re.escape(message)) as caught:
        read(path)
    assert place in caught.value.detail


def test_a_column_with_a_like_name_is_none_of_them(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("reward,action,propensity,propensity_model,propensity_0,target\n1,0,0.5,7,9,1\n", encoding="utf-8")
    read(path)
