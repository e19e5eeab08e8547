"""What holds for the source as a whole."""

import ast
import os
import subprocess
from pathlib import Path

import pytest

from bandstand.cli.settings import render_settings_page
from tests.project.checkout import ROOT, tool

HANDS_ON = ROOT / "src" / "bandstand" / "wiring" / "judge_worker.py"
"""Gives its own environment to the judge's process, and reads no setting from it."""
SOURCES = sorted(set((ROOT / "src").rglob("*.py")) - {HANDS_ON})
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}


def test_imports_only_go_down() -> None:
    words = [tool("lint-imports"), "--no-logo", "--no-cache"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_reads_the_environment_itself(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert not names & ENVIRONMENT, "a setting belongs into config, and arrives here as an argument"


def test_the_settings_page_is_the_generated_one() -> None:
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == render_settings_page(), "run `make settings`"


def test_ci_runs_the_whole_suite() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines.index("make test") < lines.index("make slow")
    assert "set -euo pipefail" in lines
