"""docs/judge.md: its examples print what it says, its tables are what is measured, and it names what there is."""

import contextlib
import io
import re
import runpy

import pytest

from bandstand.judge.local.ngrams import BUCKETS
from bandstand.judge.local.normalise import WINDOW
from bandstand.judge.taxonomy import SHIPPED_TAXONOMIES
from bandstand.judge.training.dataset import parse_rows
from bandstand.judge.training.evaluation import build_report
from tests.judge.given import BENCHMARK, FOLLOWUP, ROOT, cross_validated, load_dialogues, needs_data

PAGE = (ROOT / "docs" / "judge.md").read_text(encoding="utf-8")


def test_the_examples_print_what_the_page_says() -> None:
    examples = re.findall(r"```python\n(.*?)```\n\nprints\n\n```text\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(examples) == 2
    for source, expected in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(source, {})  # noqa: S102 - the page's own example is what is tested
        assert printed.getvalue() == expected


@pytest.mark.slow
@needs_data
def test_the_tables_are_what_is_measured() -> None:
    films, chat = load_dialogues("iard_dev.jsonl"), load_dialogues("tiage_dev.jsonl")
    assert BENCHMARK["quality_table"](films, cross_validated()) in PAGE
    assert BENCHMARK["rules_table"](films) in PAGE
    assert BENCHMARK["shift_table"](chat) in PAGE


@pytest.mark.slow
@needs_data
def test_the_arbiter_s_curve_is_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    arbiter = runpy.run_path(str(ROOT / "benchmarks" / "judge_arbiter.py"))
    assert arbiter["arbiter_table"](arbiter["columns"](load_dialogues("iard_dev.jsonl"))) in PAGE


def test_what_an_evaluation_returns_is_on_the_page() -> None:
    assert parse_rows([], FOLLOWUP).rows == ()
    assert all(key in PAGE for key in build_report([], FOLLOWUP))


def test_the_page_names_what_there_is() -> None:
    assert all(f"`{name}`" in PAGE for name in SHIPPED_TAXONOMIES)
    assert f"{BUCKETS:,} buckets" in PAGE
    assert f"at most {WINDOW} code points" in PAGE
