"""CSV as spreadsheets, databases and pandas write it: each of them gives the same numbers."""

import re
from pathlib import Path

import numpy as np
import pytest

from bandstand.evaluate import EvaluationError
from bandstand.evaluate.files.csv_table import CsvTable

PLAIN = "reward,propensity,target\n1,0.6,0.5\n,0.25,0.75\n0,1,1\n"

SAME = {
    "semicolons and decimal commas": "reward;propensity;target\n1;0,6;0,5\n;0,25;0,75\n0;1;1\n",
    "tabs": "reward\tpropensity\ttarget\n1\t0.6\t0.5\n\t0.25\t0.75\n0\t1\t1\n",
    "bars": "reward|propensity|target\n1|0.6|0.5\n|0.25|0.75\n0|1|1\n",
    "commas quoted": 'reward,propensity,target\n1,"0,6","0,5"\n,"0,25","0,75"\n0,1,1\n',
    "a line sep=": "sep=;\nreward;propensity;target\n1;0,6;0,5\n;0,25;0,75\n0;1;1\n",
    "a quoted line sep=": '"sep=;"\r\nreward;propensity;target\r\n1;0,6;0,5\r\n;0,25;0,75\r\n0;1;1\r\n',
    "a line sep= of a comma": "sep=,\nreward,propensity,target\n1,0.6,0.5\n,0.25,0.75\n0,1,1\n",
    "blanks": "reward, propensity , target\n 1, 0.6, 0.5\n , 0.25 ,0.75\n 0 , 1 , 1\n",
    "blanks before quotes": '"reward", "propensity", "target"\n"1", "0.6", "0.5"\n"", "0.25", "0.75"\n"0", "1", "1"\n',
    "flags": "reward,propensity,target\nTrue,0.6,0.5\nNA,0.25,0.75\nFalse,1,1\n",
    "flags in capitals": "reward,propensity,target\nTRUE,0.6,0.5\nNULL,0.25,0.75\nFALSE,1,1\n",
    "nothing": "reward,propensity,target\n1,.6,.5\nNone,.25,.75\n0,1.,1e0\n",
    "a database's nothing": "reward,propensity,target\n1,0.6,0.5\n\\N,0.25,0.75\n0,1,1\n",
    "a spreadsheet's nothing": "reward,propensity,target\n1,0.6,0.5\n#N/A,0.25,0.75\n0,1,1\n",
    "empty lines": "\n\nreward,propensity,target\n1,0.6,0.5\n\n,0.25,0.75\n,,\n0,1,1\n \n",
    "a mark": "\ufeffreward,propensity,target\r\n1,0.6,0.5\r\n,0.25,0.75\r\n0,1,1\r\n",
}


def write(folder: Path, text: str, encoding: str = "utf-8") -> CsvTable:
    path = folder / "log.csv"
    path.write_text(text, encoding=encoding, newline="")
    return CsvTable(path)


def read(table: CsvTable) -> np.ndarray:
    [batch] = table.read_batches(["reward", "propensity", "target"])
    return np.stack([batch.columns[name].astype(float) for name in ("reward", "propensity", "target")])


@pytest.mark.parametrize("text", SAME.values(), ids=SAME.keys())
def test_every_dialect_gives_the_same_numbers(tmp_path: Path, text: str) -> None:
    table = write(tmp_path, text)
    assert table.read_header().names == ("reward", "propensity", "target")
    np.testing.assert_array_equal(read(table), [[1, np.nan, 0], [0.6, 0.25, 1], [0.5, 0.75, 1]])
    assert [set(row) for _, row in table.read_records()] == [{"reward", "propensity", "target"}] * 3


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_file_with_a_mark_is_read_in_its_encoding(tmp_path: Path, encoding: str) -> None:
    table = write(tmp_path, SAME["tabs"], encoding)
    np.testing.assert_array_equal(read(table)[1], [0.6, 0.25, 1])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1_0,0.5,0.5", "line 2, column 'reward': not a number"),
        ("1,0.5,0.5\n0x1,0.5,0.5", "line 3, column 'reward': not a number"),
        ("\u0661,0.5,0.5", "line 2, column 'reward': not a number"),
        ("yes,0.5,0.5", "line 2, column 'reward': not a number"),
        ("1 0,0.5,0.5", "line 2, column 'reward': not a number"),
        ('"1,000,000",0.5,0.5', "line 2, column 'reward': not a number"),
        ('0.5,0.5,0.5\n"1,5",0.5,0.5', "line 3, column 'reward': '1,5' has a decimal comma, rows before it a decimal"),
        ('"1,5",0.5,0.5', "line 2, column 'propensity': '0.5' has a decimal point, rows before it a decimal comma"),
        ("1,0.5", "line 2 has 2 cells, the first line 3"),
    ],
)
def test_what_is_no_number_is_refused_by_line_and_column(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=re.escape(message)):
        read(write(tmp_path, f"reward,propensity,target\n{rows}\n"))


def test_a_line_s_number_counts_all_before_it(tmp_path: Path) -> None:
    table = write(tmp_path, "sep=;\n\nreward;propensity;target\n1;1;1\n\n2;x;1\n")
    with pytest.raises(EvaluationError, match=r"^line 6, column 'propensity': not a number$"):
        read(table)


@pytest.mark.parametrize("cell", ["[0.2 0.8]", "[0.2, 0.8]", "(0.2, 0.8)", "[[0.2], [0.8]]"])
def test_a_cell_may_be_a_list(tmp_path: Path, cell: str) -> None:
    table = write(tmp_path, f'reward;ps\n1;"{cell}"\n0;[0.5 0.5]\n')
    assert table.read_header().vectors == {"ps"}
    [batch] = table.read_batches(["ps"])
    np.testing.assert_array_equal(batch.columns["ps"], [[0.2, 0.8], [0.5, 0.5]])


@pytest.mark.parametrize("cell", ["[0.2]", "0.5", "[a b]", "[]"])
def test_a_list_that_is_none_or_of_another_length_is_refused(tmp_path: Path, cell: str) -> None:
    table = write(tmp_path, f"reward;ps\n1;[0.5 0.5]\n1;{cell}\n")
    with pytest.raises(EvaluationError, match=r"^line 3, column 'ps': (a list of|not a list)"):
        list(table.read_batches(["ps"]))
