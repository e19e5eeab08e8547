"""The records of decisions: numbered once, told in one form, all of them in the index."""

import re
from pathlib import Path

import pytest

from tests.project.checkout import ROOT

FOLDER = ROOT / "docs" / "adr"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
HEADINGS = ["Context", "Decision", "Options", "Consequences"]


def parse_number(path: Path) -> int:
    return int(path.name.partition("-")[0])


def test_no_number_is_given_twice() -> None:
    numbers = [parse_number(path) for path in RECORDS]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_has_its_number_a_status_and_the_four_sections(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.startswith(f"# {parse_number(path)}. ")
    assert re.search(r"^Status: (accepted|superseded by \[)", text, re.MULTILINE)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS


def test_the_index_names_every_record_by_its_title() -> None:
    rows = dict(re.findall(r"^\| \d+ \| \[(.+)\]\((.+)\) \|$", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE))
    titles = {path.read_text("utf-8").splitlines()[0].partition(". ")[2]: path.name for path in RECORDS}
    assert rows == titles
