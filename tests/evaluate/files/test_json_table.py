"""JSON as lines and as one array: the same objects, one at a time."""

import json
from pathlib import Path

import pytest

from bandstand.evaluate import EvaluationError
from bandstand.evaluate.files import json_table
from bandstand.evaluate.files.json_table import JsonTable

OBJECTS = [{"reward": 1, "text": 'a "]" , {'}, {"reward": None, "text": "ü" * 40}, {"reward": 0.5, "text": ""}]

WRITTEN = {
    "lines": "".join(json.dumps(each) + "\n" for each in OBJECTS),
    "lines apart": "\n \n" + "\n\n".join(json.dumps(each, ensure_ascii=False) for each in OBJECTS),
    "an array": json.dumps(OBJECTS),
    "an indented array": "\n" + json.dumps(OBJECTS, indent=2, ensure_ascii=False) + "\n",
}


def write(folder: Path, text: str) -> JsonTable:
    path = folder / "log.json"
    path.write_text(text, encoding="utf-8")
    return JsonTable(path)


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN.keys())
@pytest.mark.parametrize("chunk", [1, 7, 65_536])
def test_lines_and_arrays_hold_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, chunk: int) -> None:
    monkeypatch.setattr(json_table, "_CHUNK_CHARS", chunk)
    table = write(tmp_path, text)
    assert [record for _, record in table.read_records()] == OBJECTS
    assert table.read_header().names == ("reward", "text")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}, 2]', "item 2: not a JSON object"),
        ('[{"a": 1}, {"a"', "item 2: "),
        ('[{"a": 1}', "item 2: "),
        ('[{"a": 1}] 7', "there is more after the array"),
        ('{"a": 1}\n7\n', "line 2: not a JSON object"),
        ('\n\n{"a": 1}\n{"a', "line 4: "),
    ],
)
def test_what_is_no_object_is_named_by_line_or_item(tmp_path: Path, text: str, message: str) -> None:
    table = write(tmp_path, text)
    with pytest.raises(EvaluationError) as caught:
        list(table.read_records())
    assert caught.value.detail.startswith(message)


@pytest.mark.parametrize("text", ["", "\n", "[]"])
def test_nothing_is_empty(tmp_path: Path, text: str) -> None:
    with pytest.raises(EvaluationError, match="it is empty"):
        write(tmp_path, text).read_header()
