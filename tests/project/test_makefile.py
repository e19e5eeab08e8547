"""The Makefile: the second run installs nothing, a changed lock installs again, an old Python is refused."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.checkout import ROOT, tool

LOCKS = tuple(f"requirements/{name}.txt" for name in ("uv", "base", "test", "litellm", "personalizer"))
NODE_LOCKS = tuple(f"requirements/personalizer/{name}.json" for name in ("package", "package-lock"))
FILES = ("Makefile", "pyproject.toml", *LOCKS, *NODE_LOCKS)
STAMPS = (
    *(".venv-uv/bin/uv", ".venv/bin/python", ".venv/pyvenv.cfg"),
    *(".venv/.installed", ".venv/.installed-test", ".venv-litellm/.installed"),
    ".venv-personalizer/.installed",
)
INSTALLS = re.compile(r"(?:bin/uv|-m) (?:venv|pip)\b")
OURS = ("MAKE", "MFLAGS", "PYTHON", "VENV")
"""What a make that runs these tests may have put into the environment."""


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
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    done = subprocess.run(
        [tool("make"), *words], cwd=checkout, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert "warning" not in done.stderr
    return done


@pytest.mark.parametrize(
    "target", ["install", "run", "test", "slow", "bench", "openapi", "settings", "litellm", "personalizer"]
)
def test_a_second_run_installs_nothing(checkout: Path, target: str) -> None:
    planned = make(checkout, "--dry-run", target)
    assert planned.returncode == 0, planned.stderr
    assert not INSTALLS.search(planned.stdout)


@pytest.mark.parametrize(
    ("changed", "target", "installs"),
    [
        ("requirements/uv.txt", "run", ["-r requirements/uv.txt"]),
        ("requirements/base.txt", "run", ["pip sync", "requirements/base.txt", "--editable ."]),
        ("pyproject.toml", "run", ["--editable ."]),
        ("requirements/test.txt", "test", ["pip sync", "requirements/test.txt", "--editable ."]),
        ("requirements/base.txt", "test", ["requirements/base.txt", "requirements/test.txt", "--editable ."]),
        ("requirements/litellm.txt", "litellm", ["uv venv", "requirements/litellm.txt"]),
        ("requirements/personalizer.txt", "personalizer", ["uv venv", "requirements/personalizer.txt", "npm"]),
        ("requirements/personalizer/package-lock.json", "personalizer", ["uv venv", "npm"]),
    ],
)
def test_a_changed_lock_is_installed_again(checkout: Path, changed: str, target: str, installs: list[str]) -> None:
    os.utime(checkout / changed, (1_000_120, 1_000_120))
    planned = make(checkout, "--dry-run", target).stdout
    for words in installs:
        assert words in planned


def test_a_changed_test_lock_does_not_concern_who_only_runs_the_service(checkout: Path) -> None:
    os.utime(checkout / "requirements/test.txt", (1_000_120, 1_000_120))
    assert not INSTALLS.search(make(checkout, "--dry-run", "run").stdout)


def test_every_install_from_a_lock_checks_the_hashes(checkout: Path) -> None:
    for folder in checkout.glob(".venv*"):
        shutil.rmtree(folder)
    planned = make(checkout, "--dry-run", "test", "litellm", "personalizer").stdout
    installs = [line for line in planned.splitlines() if "pip" in line and ".txt" in line]
    assert [re.findall(r"requirements/\w+\.txt", line) for line in installs] == [[lock] for lock in LOCKS]
    assert all("--require-hashes" in line for line in installs)


def test_an_environment_whose_python_is_gone_is_made_again(checkout: Path) -> None:
    (checkout / ".venv/bin/python").unlink()
    (checkout / ".venv/bin/python").symlink_to(checkout / "no longer")
    planned = make(checkout, "--dry-run", "test").stdout
    assert len(INSTALLS.findall(planned)) == 5, "the environment, each lock and the project over it"


def test_an_environment_of_another_python_than_the_one_named_is_made_again(checkout: Path) -> None:
    python = checkout / ".venv/bin/python"
    assert INSTALLS.search(make(checkout, "--dry-run", "install", f"PYTHON={sys.executable}").stdout)
    python.unlink()
    python.symlink_to(sys.executable)
    assert not INSTALLS.search(make(checkout, "--dry-run", "install", f"PYTHON={sys.executable}").stdout)


def test_an_old_python_is_refused_in_one_line_and_leaves_nothing(checkout: Path, tmp_path: Path) -> None:
    for folder in checkout.glob(".venv*"):
        shutil.rmtree(folder)
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
    assert not list(checkout.glob(".venv*"))


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
