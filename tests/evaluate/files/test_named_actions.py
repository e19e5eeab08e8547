"""Actions by name, and lists in a cell: the same rows as numbers in columns."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pytest
from pyarrow import parquet

from bandstand.evaluate import EvaluationError, Formula
from bandstand.evaluate.spec import EvaluationSpec, evaluate_rows

SPEC = EvaluationSpec((Formula.named("ips"), Formula.named("dr")))
TARGET = [[0.1, 0.1, 0.8], [0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]
MODEL = [[0.5, 0.25, 0.75], [0.0, 1.0, 0.5], [0.1, 0.2, 0.3]]
NUMBERED: dict[str, list[Any]] = {"reward": [1.0, 0.0, 1.0], "propensity": [0.5, 0.25, 0.5], "action": [2, 1, 0]}
ARMS = ["arm1", "arm2", "arm 3"]
NAMED = NUMBERED | {"action": [ARMS[number] for number in (2, 1, 0)]}


def spread(stem: str, names: list[Any], rows: list[list[float]]) -> dict[str, list[Any]]:
    return {f"{stem}_{name}": [row[number] for row in rows] for number, name in enumerate(names)}


def write_csv(folder: Path, columns: dict[str, list[Any]]) -> Path:
    lines = [";".join(columns), *(";".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    (folder / "log.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "log.csv"


def write_json(folder: Path, columns: dict[str, list[Any]]) -> Path:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (folder / "log.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder / "log.json"


def write_parquet(folder: Path, columns: dict[str, list[Any]]) -> Path:
    parquet.write_table(pa.table(columns), folder / "log.parquet")
    return folder / "log.parquet"


WIDE = spread("target", [0, 1, 2], TARGET) | spread("q_hat", [0, 1, 2], MODEL)
FORMS = {
    "names": NAMED | spread("target", ARMS, TARGET) | spread("q_hat", ARMS, MODEL),
    "names in another order": NAMED | spread("q_hat", ARMS, MODEL) | spread("target", ARMS, TARGET),
    "lists": NUMBERED | {"target": TARGET, "q_hat": MODEL},
    "lists of lists of one": NUMBERED
    | {name: [[[each] for each in row] for row in rows] for name, rows in (("target", TARGET), ("q_hat", MODEL))},
}
OBJECTS = NAMED | {
    name: [dict(zip(ARMS, row, strict=True)) for row in rows] for name, rows in (("target", TARGET), ("q_hat", MODEL))
}


@pytest.mark.parametrize("write", [write_csv, write_json, write_parquet])
@pytest.mark.parametrize("form", FORMS)
def test_names_and_lists_give_what_numbers_and_columns_give(tmp_path: Path, write: Any, form: str) -> None:
    expected = evaluate_rows(SPEC, write(tmp_path, NUMBERED | WIDE)).estimates
    assert evaluate_rows(SPEC, write(tmp_path, FORMS[form])).estimates == expected


@pytest.mark.parametrize("write", [write_json, write_parquet])
def test_an_object_names_its_actions(tmp_path: Path, write: Any) -> None:
    expected = evaluate_rows(SPEC, write(tmp_path, NUMBERED | WIDE)).estimates
    assert evaluate_rows(SPEC, write(tmp_path, OBJECTS)).estimates == expected


def test_a_category_is_a_name(tmp_path: Path) -> None:
    table = pa.table(FORMS["names"])
    table = table.set_column(2, "action", table.column("action").dictionary_encode())
    parquet.write_table(table, tmp_path / "log.parquet")
    expected = evaluate_rows(SPEC, write_json(tmp_path, NUMBERED | WIDE)).estimates
    assert evaluate_rows(SPEC, tmp_path / "log.parquet").estimates == expected


@pytest.mark.parametrize("write", [write_csv, write_json, write_parquet])
def test_an_action_without_a_column_is_named(tmp_path: Path, write: Any) -> None:
    columns = FORMS["names"] | {"action": ["arm1", "arm9", "arm2"]}
    with pytest.raises(EvaluationError, match=re.escape("column 'action': 'arm9' is none of arm1, arm2, arm 3")):
        evaluate_rows(SPEC, write(tmp_path, columns))


@pytest.mark.parametrize("write", [write_csv, write_json, write_parquet])
def test_a_name_where_columns_are_numbered_says_what_is_missing(tmp_path: Path, write: Any) -> None:
    with pytest.raises(
        EvaluationError, match=r"column 'action'.*; actions that have names are those of columns target_"
    ):
        evaluate_rows(SPEC, write(tmp_path, NAMED | WIDE))


def test_a_list_of_another_length_is_refused(tmp_path: Path) -> None:
    columns = NUMBERED | {"target": [[0.5, 0.5], [0.2, 0.3, 0.5], [1.0, 0.0]], "q_hat": MODEL}
    with pytest.raises(EvaluationError, match=r"item 2, column 'target': a list of 3, where others have 2"):
        evaluate_rows(SPEC, write_json(tmp_path, columns))
