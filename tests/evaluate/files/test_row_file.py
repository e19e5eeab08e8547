"""Files of rows: the same numbers from every format, and every fault with its place."""

import gzip
import json
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pytest
from pyarrow import parquet

from bandstand.errors import ConfigurationError
from bandstand.evaluate import EvaluationError, Formula, dr, snips
from bandstand.evaluate.files.columns import Columns
from bandstand.evaluate.files.row_file import read_rows
from bandstand.evaluate.files.table import ROWS
from bandstand.evaluate.spec import EvaluationSpec, evaluate_rows
from tests.evaluate.world import World

WORLD = World()
LOG = WORLD.draw_log(3000, seed=51)
CHOSEN = LOG.target[np.arange(3000), LOG.action]
SHORT: dict[str, Any] = {"reward": LOG.reward, "propensity": LOG.propensity, "target": CHOSEN}
WIDE: dict[str, Any] = (
    {"reward": LOG.reward, "propensity": LOG.propensity, "action": LOG.action}
    | {f"target_{number}": LOG.target[:, number] for number in range(4)}
    | {f"q_hat_{number}": LOG.q_hat[:, number] for number in range(4)}
)

Cells = Mapping[str, Any]
Write = Callable[[Path, Cells], Path]


def write_csv(folder: Path, columns: Cells) -> Path:
    path = folder / "log.csv"
    cells = zip(
        *(["" if value is None else repr(value) for value in _to_plain(each)] for each in columns.values()), strict=True
    )
    path.write_text("\n".join(map(",".join, [tuple(columns), *cells])) + "\n", encoding="utf-8")
    return path


def csv_gz(folder: Path, columns: Cells) -> Path:
    path = folder / "log.csv.gz"
    path.write_bytes(gzip.compress(write_csv(folder, columns).read_bytes()))
    return path


def write_jsonl(folder: Path, columns: Cells) -> Path:
    path = folder / "log.jsonl"
    rows = zip(*map(_to_plain, columns.values()), strict=True)
    path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(folder: Path, columns: Cells) -> Path:
    path = folder / "log.parquet"
    parquet.write_table(
        pa.table({name: _to_plain(column) for name, column in columns.items()}), path, row_group_size=997
    )
    return path


def _to_plain(column: Any) -> list[Any]:
    values = column.tolist() if isinstance(column, np.ndarray) else list(column)
    return [None if value != value else value for value in values]  # noqa: PLR0124 (NaN is not itself)


WRITERS = [write_csv, csv_gz, write_jsonl, write_parquet]


def build_question(*names: str, **more: Any) -> EvaluationSpec:
    return EvaluationSpec(tuple(Formula.parse(name) for name in names), **more)


@pytest.mark.parametrize("write", WRITERS)
def test_every_format_gives_what_arrays_give(tmp_path: Path, write: Write) -> None:
    found = evaluate_rows(build_question("snips"), write(tmp_path, SHORT)).estimates["snips"]
    expected = snips(LOG.reward, None, LOG.propensity, CHOSEN)
    assert (found.value, found.stderr) == pytest.approx((expected.value, expected.stderr), rel=1e-12)
    found = evaluate_rows(build_question("dr", "snips"), write(tmp_path, WIDE)).estimates["dr"]
    assert (found.value, found.stderr) == pytest.approx((dr(*LOG).value, dr(*LOG).stderr), rel=1e-12)


@pytest.mark.parametrize("write", WRITERS)
def test_an_empty_cell_is_a_reward_that_did_not_come(tmp_path: Path, write: Write) -> None:
    lost = np.arange(3000) % 7 == 0
    path = write(tmp_path, SHORT | {"reward": np.where(lost, np.nan, LOG.reward)})
    result = evaluate_rows(build_question("snips"), path)
    assert (result.decisions, result.rewarded) == (3000, 3000 - lost.sum())
    expected = snips(LOG.reward[~lost], None, LOG.propensity[~lost], CHOSEN[~lost])
    assert result.estimates["snips"].value == pytest.approx(expected.value, rel=1e-12)


@pytest.mark.parametrize("write", WRITERS)
def test_columns_are_found_by_what_they_are_called(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, {"other": LOG.reward, "pi": CHOSEN, "click": LOG.reward, "p": LOG.propensity})
    columns = Columns.parse("reward=click,propensity=p,target=pi")
    assert evaluate_rows(build_question("snips"), path, columns).estimates["snips"].n == 3000
    with pytest.raises(EvaluationError, match=r"there is no column '(reward|propensity)'"):
        evaluate_rows(build_question("snips"), path)


def test_a_json_line_may_lack_its_reward_even_the_first(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(
        '{"propensity": 1, "target": 1}\n\n{"propensity": 1, "target": 1, "reward": true}\n'
        '{"propensity": 1.0, "target": 1.0, "reward": null}\n'
    )
    result = evaluate_rows(build_question("ips"), path)
    assert (result.decisions, result.rewarded, result.estimates["ips"].value) == (3, 1, 1.0)


def test_csv_may_have_quotes_empty_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "LOG.CSV"
    path.write_bytes(
        '\ufeff"reward",propensity,"note, or so",target\r\n1,"0.5","a\nb",.5\r\n\r\n nan ,1,,1\r\n'.encode()
    )
    result = evaluate_rows(build_question("ips"), path)
    assert (result.decisions, result.rewarded, result.estimates["ips"].value) == (2, 1, 1.0)


def test_parquet_takes_numbers_of_every_kind(tmp_path: Path) -> None:
    table = pa.table(
        {
            "reward": pa.array([True, False, None], pa.bool_()),
            "propensity": pa.array([0.5, 0.5, 0.5], pa.float32()),
            "action": pa.array([1, 0, 1], pa.uint8()),
            "target_0": pa.array([0.25, 0.25, 0.25], pa.float16()),
            "target_1": pa.array(["0.75", "0.75", "0.75"], pa.string()).cast(pa.decimal128(5, 3)),
        }
    )
    parquet.write_table(table, tmp_path / "log.parquet")
    result = evaluate_rows(build_question("ips"), tmp_path / "log.parquet")
    assert result.estimates["ips"].value == pytest.approx(0.75)


FAULTY: list[tuple[str, str, str]] = [
    ("log.csv", "reward,propensity,target\n1,0.5,0.5\n1,nought,0.5\n", "line 3, column 'propensity': not a number"),
    ("log.csv", "reward,propensity,target\n1,0.5,0.5\n\n1,0,0.5\n", "propensity is not in (0, 1] in line 4"),
    ("log.csv", "reward,propensity,target\n1,0.5,1.5\n", "target is not in [0, 1] in line 2"),
    ("log.csv", "reward,propensity,target\n1,,1\n", "propensity is not in (0, 1] in line 2"),
    ("log.csv", "reward,propensity,target\ninf,1,1\n", "reward is not finite, or beyond"),
    ("log.csv", "reward,propensity,target\n1,0.5\n", "line 2 has 2 cells, the first line 3"),
    ("log.csv", 'reward,propensity,target\n1,0.5,"0.5\n', "line 2: unexpected end of data"),
    ("log.csv", "reward,propensity,target,reward\n1,1,1,1\n", "two columns are named 'reward'"),
    ("log.csv", "", "it is empty"),
    ("log.csv", "reward,propensity,target\n", "the log holds no decision"),
    ("log.csv", "reward,propensity,target\n,1,1\n", "none of 1 decisions has a reward"),
    ("log.csv", "reward,propensity,action,target_0,target_1\n1,1,0.5,1,0\n", "action is not a whole number in line 2"),
    ("log.csv", "reward,propensity,action,target_0,target_1\n1,1,2,1,0\n", "action is not in [0, 2) in line 2"),
    ("log.csv", "reward,propensity,action,target_0,target_1\n1,1,,1,0\n", "action is not a whole number in line 2"),
    ("log.csv", "reward,propensity,action,target_0,target_1\n1,1,0,1,1\n", "target does not sum to 1 in line 2"),
    ("log.jsonl", "", "it is empty"),
    ("log.jsonl", "1\n", "line 1: not a JSON object"),
    ("log.json", "[1]\n", "item 1: not a JSON object"),
    ("log.jsonl", '{"reward": 1, "propensity": 1, "target": 1}\n{"rew', "line 2: "),
    ("log.jsonl", '{"reward": 1, "propensity": "1", "target": 1}\n', "line 1, column 'propensity': not a number"),
    ("log.jsonl", '{"propensity": 1, "target": 1}\n\n{"reward": 1}\n', "propensity is not in (0, 1] in line 3"),
    ("log.jsonl", f'{{"reward": 1{"0" * 400}, "propensity": 1, "target": 1}}', "line 1, column 'reward': not a number"),
    ("log.parquet", "reward,propensity", "Parquet"),
    ("log.csv.gz", "reward,propensity", "Not a gzipped file"),
    ("log.txt", "", "it is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "message"), FAULTY)
def test_every_fault_is_named_with_its_file_and_its_place(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EvaluationError, match=re.escape(message)) as caught:
        evaluate_rows(build_question("ips"), path)
    assert caught.value.detail.startswith(f"{path}: ")


def test_a_fault_names_the_file_s_own_column(tmp_path: Path) -> None:
    path = write_csv(tmp_path, {"click": [1.0], "p": [2.0], "target": [1.0]})
    with pytest.raises(EvaluationError, match=re.escape("propensity (column 'p') is not in (0, 1] in line 2")):
        evaluate_rows(build_question("ips"), path, Columns.parse("reward=click,propensity=p"))


def test_a_fault_far_into_the_file_has_its_own_line(tmp_path: Path) -> None:
    propensity = np.ones(ROWS + 9)
    propensity[ROWS + 5] = 0.0
    columns = {"reward": np.ones(ROWS + 9), "propensity": propensity, "target": np.ones(ROWS + 9)}
    for write, place in (
        (write_csv, f"line {ROWS + 7}"),
        (write_jsonl, f"line {ROWS + 6}"),
        (write_parquet, f"row {ROWS + 5}"),
    ):
        with pytest.raises(EvaluationError, match=f"propensity is not in .* in {place}$"):
            evaluate_rows(build_question("ips"), write(tmp_path, columns))


@pytest.mark.parametrize("write", WRITERS)
def test_what_is_not_there_or_not_text_is_refused(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, SHORT)
    path.unlink()
    with pytest.raises(EvaluationError, match="No such file"):
        evaluate_rows(build_question("ips"), path)
    path.write_bytes(b"\xff\xff\n" if path.suffix != ".gz" else gzip.compress(b"\xff\xff\n"))
    with pytest.raises(EvaluationError, match=r"UTF-8|Parquet"):
        evaluate_rows(build_question("ips"), path)


def test_text_in_a_column_of_parquet_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, {"reward": ["1"], "propensity": [1.0], "target": [1.0]})
    with pytest.raises(EvaluationError, match="column 'reward' holds string, not numbers"):
        evaluate_rows(build_question("ips"), path)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, SHORT)
    script = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path\nfrom bandstand.evaluate.files.row_file import read_rows\n"
        "from bandstand.errors import ConfigurationError\n"
        "try: next(read_rows(Path(sys.argv[1])))\nexcept ConfigurationError as error: print(error.detail)"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "Parquet needs pyarrow: pip install 'bandstand[parquet]'\n"
    assert ConfigurationError.code == "configuration"


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_is_read_a_bounded_number_of_rows_at_a_time(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is that of a few batches, whether the file has five of them or fifty."""
    for table in ("csv", "json", "parquet"):
        monkeypatch.setattr(f"bandstand.evaluate.files.{table}_table.ROWS", 200)
    monkeypatch.setattr("bandstand.evaluate.files.parquet_table._ROWS_READ", 200)

    def measure_peak(rows: int) -> int:
        path = write(tmp_path, {name: np.ones(rows) for name in SHORT})
        tracemalloc.start()
        sizes = [len(chunk) for chunk in read_rows(path)]
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert sum(sizes) == rows
        assert max(sizes) <= 200
        return most

    measure_peak(1000)  # what is imported and cached at the first reading is not the log's
    assert measure_peak(10_000) < 1.2 * measure_peak(1000) + 20_000


def test_files_that_are_read_side_by_side_say_what_they_say_in_a_row(tmp_path: Path) -> None:
    for number, rows in enumerate(np.split(np.arange(3000), [1, 1200])):
        folder = tmp_path / f"day={number}"
        folder.mkdir()
        write_parquet(folder, {name: column[rows] for name, column in WIDE.items()})
    (tmp_path / "empty.csv").touch()
    spec = build_question("snips", "dr")
    expected, found = evaluate_rows(spec, tmp_path), evaluate_rows(spec, tmp_path, jobs=2)
    for name in ("snips", "dr"):
        one, other = expected.estimates[name], found.estimates[name]
        assert (other.value, other.stderr, other.ess) == pytest.approx((one.value, one.stderr, one.ess), rel=1e-9)
    assert found.decisions == 3000
    bootstrap = build_question("snips", interval="bootstrap")
    alone, two = (evaluate_rows(bootstrap, tmp_path, jobs=jobs).estimates["snips"] for jobs in (1, 2))
    assert (two.low, two.high) == pytest.approx((alone.low, alone.high), rel=1e-9)
    write_csv(tmp_path / "day=2", {**SHORT, "propensity": np.zeros(3000)})
    with pytest.raises(EvaluationError, match=r"day=2/log.csv: there is no column 'action', which other parts have"):
        evaluate_rows(spec, tmp_path, jobs=2)
