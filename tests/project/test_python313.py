"""What brings CI a Python 3.13: the one that is there, else one to be fetched, else a word about it."""

import subprocess
from pathlib import Path

import pytest

from tests.project.checkout import ROOT, tool


def find_python313(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script with just these programs on the path."""
    return subprocess.run(
        [tool("bash"), str(ROOT / ".ci" / "python313")],
        env={"PATH": str(path), "HOME": str(path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_one_that_runs_is_taken_as_it_is(tmp_path: Path) -> None:
    python = tmp_path / "python3.13"
    python.write_text("#!/bin/sh\necho /somewhere/python3.13\n")
    python.chmod(0o755)
    found = find_python313(tmp_path)
    assert (found.returncode, found.stdout) == (0, "/somewhere/python3.13\n")


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_a_name_without_a_python_behind_it_is_none_and_only_ci_must_have_one(
    tmp_path: Path, ci: str, code: int
) -> None:
    python = tmp_path / "python3.13"
    python.write_text("#!/bin/sh\nexit 127\n")
    python.chmod(0o755)
    found = find_python313(tmp_path, CI=ci)
    assert (found.returncode, found.stdout) == (code, "")
    assert found.stderr == "python313: there is no python3.13 on PATH, and no apt-get to bring one\n"
