"""What holds for the source as a whole."""

import ast
import os
from pathlib import Path

from bandstand.cli.settings import render_settings_page
from tests.project.checkout import ROOT

PACKAGE = ROOT / "src" / "bandstand"
HANDS_ON = (
    PACKAGE / "wiring" / "judge_worker.py",
    PACKAGE / "wiring" / "engine.py",
    PACKAGE / "config" / "misspelt.py",
)
"""Two give their own environment to processes that they start, one looks at names alone; none reads a setting."""
SETS_THREADS = PACKAGE / "cli" / "blas_threads.py"
"""Sets what numpy reads when it is imported."""
MAX_LINES = 400
SOURCES = sorted(set((ROOT / "src").rglob("*.py")) - {*HANDS_ON, SETS_THREADS})
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}


def find_environment_reads(path: Path) -> set[str]:
    """The names of the environment that a module imports or reaches for."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    return names & ENVIRONMENT


def test_nothing_reads_the_environment_itself() -> None:
    assert all(find_environment_reads(path) for path in HANDS_ON), "this finds what it looks for"
    found = {str(path.relative_to(ROOT)) for path in SOURCES if find_environment_reads(path)}
    assert found == set(), "a setting belongs into config, and arrives here as an argument"


def test_no_module_is_longer_than_a_reader_keeps_in_mind() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / "src").rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_the_settings_page_is_the_generated_one() -> None:
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == render_settings_page(), "run `make settings`"


def test_ci_runs_the_whole_suite() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line.partition(" #")[0] for line in script.read_text(encoding="utf-8").splitlines()]
    assert lines.index("make test") < lines.index("make --jobs=2 --output-sync slow python313 ARGS=pytest")
    assert "set -euo pipefail" in lines
