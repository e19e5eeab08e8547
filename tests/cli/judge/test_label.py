"""``bandstand judge label``: a verdict beside every turn, whatever the file and however often it is begun again."""

import asyncio
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pytest
from pyarrow import parquet

from bandstand.testing.scripted_llm_server import ScriptedAnswer, ScriptedRequest, ScriptedServer
from tests.cli.judge.test_commands import SAID, Judge, judge, row

__all__ = ["judge"]

ROWS = [row(message, id=number) for number, message in enumerate(SAID)]
LINES = "".join(json.dumps(each) + "\n" for each in ROWS)


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_csv(path: Path) -> Path:
    lines = [";".join(ROWS[0]), *(";".join(f'"{value}"' for value in each.values()) for each in ROWS)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_parquet(path: Path) -> Path:
    parquet.write_table(pa.Table.from_pylist(ROWS), path)
    return path


def write_text(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def write_gz(path: Path) -> Path:
    path.write_bytes(gzip.compress(LINES.encode()))
    return path


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: write_text(folder / "turns.jsonl", LINES),
        lambda folder: write_text(folder / "turns.json", json.dumps(ROWS)),
        lambda folder: write_csv(folder / "turns.csv"),
        lambda folder: write_gz(folder / "turns.jsonl.gz"),
        lambda folder: write_parquet(folder / "turns.parquet"),
    ],
    ids=["lines", "array", "csv", "gz", "parquet"],
)
def test_every_turn_has_its_verdict_beside_it(judge: Judge, tmp_path: Path, write: Any) -> None:
    said = judge("label", write(tmp_path), "--json")
    assert said.code == 0, said.err
    found = read_lines(tmp_path / "turns.labelled.jsonl")
    assert [(each["query_t1"], each["verdict"]) for each in found] == list(SAID.items())
    assert [int(each["id"]) for each in found] == list(range(7))
    assert all(0 <= each["confidence"] <= 1 for each in found)
    assert [each["reward"] for each in found] == [-0.8, -1.0, -0.6, 0.8, 0.1, 0.0, 0.0]
    assert (said.json["turns"], said.json["judged"], said.json["unscored"]) == (7, 7, {})


def test_a_run_that_was_killed_is_taken_up_where_it_was(judge: Judge, tmp_path: Path) -> None:
    file, output = write_text(tmp_path / "turns.jsonl", LINES), tmp_path / "out.jsonl"
    judge("label", file, "--output", output)
    whole = output.read_text(encoding="utf-8")
    lines = whole.splitlines(keepends=True)
    output.write_text("".join(lines[:3]) + lines[3][:40], encoding="utf-8")
    again = judge("label", file, "--output", output, "--json")
    assert again.json["judged"] == 4
    assert output.read_text(encoding="utf-8") == whole
    assert judge("label", file, "--output", output, "--json").json["judged"] == 0


def test_an_output_of_another_file_is_never_touched(judge: Judge, tmp_path: Path) -> None:
    file, output = write_text(tmp_path / "turns.jsonl", LINES), tmp_path / "out.jsonl"
    judge("label", file, "--output", output)
    before = output.read_text(encoding="utf-8")
    other = write_text(tmp_path / "other.jsonl", LINES.replace("dinner", "lunch"))
    for refused in (judge("label", other, "--output", output), judge("label", file, "--output", other)):
        assert refused.code == 2
        assert "name another with --output" in refused.err
    assert output.read_text(encoding="utf-8") == before


def test_standard_input_needs_a_place_to_write_to(
    judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (("--output", tmp_path / "out.jsonl"), ()):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(LINES.encode())))
        said = judge("label", "-", *words)
        assert said.code == (0 if words else 2)
    assert len(read_lines(tmp_path / "out.jsonl")) == 7


def test_what_is_taken_already_is_kept_under_original(judge: Judge, tmp_path: Path) -> None:
    file = write_text(tmp_path / "turns.jsonl", json.dumps(row("that's wrong", reward="mine", verdict=3)))
    judge("label", file)
    [line] = read_lines(tmp_path / "turns.labelled.jsonl")
    assert (line["verdict"], line["original"]) == ("neg_correction", {"reward": "mine", "verdict": 3})


def test_a_wrong_form_is_said_once(judge: Judge, tmp_path: Path) -> None:
    file = write_text(tmp_path / "other.jsonl", '{"foo": 1}\n' * 10_000)
    for command in ("label", "evaluate", "calibrate", "train"):
        said = judge(command, file)
        assert (said.code, said.err.count("\n")) == (2, 1)
        assert "line 1 (and 9,999 more alike): holds no turn but foo; read are {query_t" in said.err
    some = write_text(tmp_path / "some.jsonl", LINES + '{"foo": 1}\n' * 10_000)
    said = judge("label", some)
    assert said.err.count("\n") == 1
    assert "line 8, line 9" in said.err
    assert "and 9,980 more: holds no turn but foo" in said.err


async def test_what_no_llm_could_be_asked_about_is_judged_again(judge: Judge, tmp_path: Path) -> None:
    broken = True

    def answer(request: ScriptedRequest) -> ScriptedAnswer:
        if "the total is off" in " ".join(request.message_texts):
            return ScriptedAnswer(refusal="I will not.")
        if broken:
            return ScriptedAnswer(status=503)
        return ScriptedAnswer(json.dumps({"label": "neg_constraint_restate", "confidence": "0.9", "extra": 1}))

    file = write_text(tmp_path / "turns.jsonl", "".join(LINES.splitlines(keepends=True)[:2]))
    run = ("label", file, "--tier", "llm", "--json")
    async with ScriptedServer(answer) as server:
        environment = {"JUDGE_MODEL": "m", "JUDGE_URL": server.url, "JUDGE_TRIES": "1", "JUDGE_MAX_CONCURRENT": "1"}
        first = await asyncio.to_thread(judge, *run, **environment)
        broken = False
        again = await asyncio.to_thread(judge, *run)
    assert sorted(first.json["unscored"]) == ["refusal", "unavailable"]
    assert (again.json["judged"], again.json["unscored"]) == (1, {"refusal": 1})
    assert [line["at"] for line in read_lines(tmp_path / "turns.labelled.jsonl")] == ["line 1", "line 2"]
