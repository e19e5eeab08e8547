"""docs/judge.md: its examples print what it says, its tables are what is measured, and it names what there is."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from bandstand.judge.evaluation import report
from bandstand.judge.features import BUCKETS
from bandstand.judge.reading import WINDOW
from bandstand.judge.rows import parse_rows
from bandstand.judge.taxonomy import SHIPPED
from benchmarks import judge_local
from tests.judge.given import DATA, FOLLOWUP, needs_data

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "judge.md").read_text(encoding="utf-8")
FILMS, CHAT = DATA / "iard_dev.jsonl", DATA / "tiage_dev.jsonl"


def test_the_examples_print_what_the_page_says() -> None:
    examples = re.findall(r"```python\n(.*?)```\n\nprints\n\n```text\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(examples) == 2
    for source, expected in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(source, {})  # noqa: S102 - the page's own example is what is tested
        assert printed.getvalue() == expected


@needs_data
@pytest.mark.parametrize(
    ("table", "path"),
    [
        (judge_local.quality_table, FILMS),
        (judge_local.rules_table, FILMS),
        (judge_local.arbiter_table, FILMS),
        (judge_local.shift_table, CHAT),
    ],
)
def test_the_tables_are_what_is_measured(table: object, path: Path) -> None:
    assert table(judge_local.dialogues(path)) in PAGE  # type: ignore[operator]  # one of the benchmark's tables


def test_what_an_evaluation_returns_is_on_the_page() -> None:
    assert parse_rows([], FOLLOWUP).rows == ()
    assert all(key in PAGE for key in report([], FOLLOWUP))


def test_the_page_names_what_there_is() -> None:
    assert all(f"`{name}`" in PAGE for name in SHIPPED)
    assert f"{BUCKETS:,} buckets" in PAGE
    assert f"at most {WINDOW} code points" in PAGE
