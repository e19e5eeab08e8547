"""The Makefile: the second run installs nothing, a changed lock installs again, an old Python is refused."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project.checkout import ROOT, tool

FILES = ("Makefile", "pyproject.toml", "requirements/base.txt", "requirements/test.txt", "requirements/litellm.txt")
STAMPS = (".venv/bin/python", ".venv/.installed", ".venv/.installed-test", ".venv-litellm/.installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which everything was installed a minute after the locks were written."""
    for name in FILES:
        copy = tmp_path / name
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, copy)
        os.utime(copy, (1_000_000, 1_000_000))
    for name in STAMPS:
        stamp = tmp_path / name
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
        os.utime(stamp, (1_000_060, 1_000_060))
    return tmp_path


def make(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        [tool("make"), *words], cwd=checkout, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert "warning" not in done.stderr
    return done


@pytest.mark.parametrize("target", ["install", "run", "test", "slow", "bench", "openapi", "settings", "litellm"])
def test_a_second_run_installs_nothing(checkout: Path, target: str) -> None:
    planned = make(checkout, "--dry-run", target)
    assert planned.returncode == 0, planned.stderr
    assert "pip" not in planned.stdout
    assert "venv .venv" not in planned.stdout


@pytest.mark.parametrize(
    ("changed", "target", "installs"),
    [
        ("requirements/base.txt", "run", "-r requirements/base.txt"),
        ("pyproject.toml", "run", "--editable ."),
        ("requirements/test.txt", "test", "-r requirements/test.txt"),
        ("requirements/base.txt", "test", "-r requirements/test.txt"),
        ("requirements/litellm.txt", "litellm", "-r requirements/litellm.txt"),
    ],
)
def test_a_changed_lock_is_installed_again(checkout: Path, changed: str, target: str, installs: str) -> None:
    os.utime(checkout / changed, (1_000_120, 1_000_120))
    assert installs in make(checkout, "--dry-run", target).stdout


def test_a_changed_test_lock_does_not_concern_who_only_runs_the_service(checkout: Path) -> None:
    os.utime(checkout / "requirements/test.txt", (1_000_120, 1_000_120))
    assert "pip" not in make(checkout, "--dry-run", "run").stdout


def test_every_install_from_a_lock_checks_the_hashes(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    planned = make(checkout, "--dry-run", "test").stdout
    installs = [line for line in planned.splitlines() if "pip" in line and " -r " in line]
    assert len(installs) == 2
    assert all("--require-hashes" in line for line in installs)


def test_an_old_python_is_refused_in_one_line_and_leaves_nothing(checkout: Path, tmp_path: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    old = tmp_path / "python3.10"
    pretend = "import sys; sys.version_info = (3, 10, 13, 'final', 0); exec(sys.argv[1])"
    old.write_text(f'#!/bin/sh\nexec "{tool("python")}" -c "{pretend}" "$2"\n')
    old.chmod(0o755)
    done = make(checkout, "run", f"PYTHON={old}")
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode == 2
    assert said == [
        f"Bandstand needs Python 3.11 or newer, and {old} is 3.10; name another: make PYTHON=python3.13 ..."
    ]
    assert not (checkout / ".venv").exists()


def test_help_lists_every_target(checkout: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = next(line for line in makefile.splitlines() if line.startswith(".PHONY:")).split()[1:]
    listed = [line.split()[1] for line in make(checkout).stdout.splitlines()]
    assert sorted(listed) == sorted(phony)


def test_clean_keeps_the_state(checkout: Path) -> None:
    kept = checkout / "state" / "ledger.db"
    kept.parent.mkdir()
    kept.touch()
    (checkout / ".mypy_cache").mkdir()
    assert make(checkout, "clean").returncode == 0
    assert kept.exists()
    assert not (checkout / ".venv").exists()
    assert not (checkout / ".mypy_cache").exists()
