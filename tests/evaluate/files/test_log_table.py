"""Which reader a log has, whatever it is called and however it is packed."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pytest
from pyarrow import parquet

from bandstand.evaluate import EvaluationError, Formula
from bandstand.evaluate.files.log_table import open_table
from bandstand.evaluate.files.row_file import read_rows
from bandstand.evaluate.spec import EvaluationSpec, evaluate_rows

IPS = EvaluationSpec((Formula.named("ips"),))
ROW = {"reward": 1.0, "propensity": 0.5, "target": 0.25}
CSV = b"reward,propensity,target\n1,0.5,0.25\n"
TSV = CSV.replace(b",", b"\t")
JSONL = json.dumps(ROW).encode() + b"\n"


def pack(data: bytes) -> bytes:
    """Pack without a time, or the cases would be called otherwise in every process."""
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("log.csv", CSV),
        ("LOG.CSV", CSV),
        ("log.tsv", TSV),
        ("log.TSV.GZ", pack(TSV)),
        ("log.csv", pack(CSV)),
        ("log.txt", CSV),
        ("log", TSV),
        ("LOG.JSONL", JSONL),
        ("log.ndjson", JSONL),
        ("Log.NDJSON.gz", pack(JSONL)),
        ("log.json", JSONL),
        ("log.json", b"[" + JSONL + b"]"),
        ("log.2026-01-01", JSONL),
        ("log", b"\xef\xbb\xbf [" + JSONL + b"]"),
        ("log", pack(JSONL)),
    ],
)
def test_a_log_is_read_by_its_ending_or_by_what_is_in_it(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert evaluate_rows(IPS, tmp_path / name).estimates["ips"].value == 0.5


@pytest.mark.parametrize("name", ["LOG.PARQUET", "log.pq", "part-00000"])
def test_parquet_is_read_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    parquet.write_table(pa.table({key: [value] for key, value in ROW.items()}), tmp_path / name)
    assert evaluate_rows(IPS, tmp_path / name).estimates["ips"].value == 0.5


def test_a_folder_is_its_parts_in_order(tmp_path: Path) -> None:
    for day, rewards in (("day=1", [1.0, 2.0]), ("day=2", [3.0])):
        (tmp_path / day).mkdir()
        columns = {"reward": rewards, "propensity": [1.0] * len(rewards), "target": [1.0] * len(rewards)}
        parquet.write_table(pa.table(columns), tmp_path / day / "part-0.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".part-0.parquet.crc").touch()
    (tmp_path / "_metadata.parquet").write_bytes(b"none of it")
    found = np.concatenate([chunk.reward for chunk in read_rows(tmp_path)])
    assert found.tolist() == [1.0, 2.0, 3.0]


def test_a_pattern_is_the_files_and_folders_that_match_it(tmp_path: Path) -> None:
    for month in ("2026-01", "2026-02", "2027-01"):
        (tmp_path / month / "day").mkdir(parents=True)
        (tmp_path / month / "day" / "log.csv").write_bytes(CSV)
        (tmp_path / month / "day" / "notes.md").touch()
    assert evaluate_rows(IPS, tmp_path / "2026-*/*/log.[a-c]sv").decisions == 2
    assert evaluate_rows(IPS, tmp_path / "**/log.csv").decisions == 3
    assert evaluate_rows(IPS, tmp_path / "2026-*").decisions == 2
    (tmp_path / "log[1].csv").write_bytes(CSV)
    assert evaluate_rows(IPS, tmp_path / "log[1].csv").decisions == 1
    with pytest.raises(EvaluationError, match="no file matches the pattern"):
        open_table(tmp_path / "2025-*.csv")


def test_parts_may_be_of_several_formats_and_empty(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(CSV)
    (tmp_path / "b.csv").touch()
    (tmp_path / "c.jsonl").write_bytes(b'{"propensity": 1, "target": 1}\n' + JSONL)
    assert evaluate_rows(IPS, tmp_path).decisions == 3


def test_a_fault_in_a_part_is_named_with_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(CSV)
    (tmp_path / "b.csv").write_bytes(CSV + b"1,0,1\n")
    with pytest.raises(EvaluationError, match=r"propensity is not in \(0, 1\] in line 3 of b.csv$"):
        evaluate_rows(IPS, tmp_path)
    (tmp_path / "b.csv").write_bytes(CSV + b"1,x,1\n")
    with pytest.raises(EvaluationError, match=r"b.csv: line 3, column 'propensity': not a number$"):
        evaluate_rows(IPS, tmp_path)
    (tmp_path / "b.csv").write_bytes(b"reward,target\n1,1\n")
    with pytest.raises(EvaluationError, match=r"b.csv: there is no column 'propensity', which other parts have$"):
        evaluate_rows(IPS, tmp_path)


def test_a_folder_without_parts_says_what_one_is(tmp_path: Path) -> None:
    (tmp_path / "notes.md").touch()
    with pytest.raises(EvaluationError, match=r"no file that ends in \.csv, \.tsv"):
        open_table(tmp_path)
