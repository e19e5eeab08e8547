"""The client alone, where nothing of ours is installed: its tests pass, and pyright agrees with its types."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from client_support.server import COMMAND

CLIENT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.skipif("BANDSTAND_COMMAND" in os.environ, reason="this is that machine")]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the client, what its tests need, and the type checkers."""
    folder = tmp_path_factory.mktemp("machine")
    run([sys.executable, "-m", "venv", str(folder / "venv")], folder)
    install = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    run([*install, str(CLIENT)], folder)
    alone = run([*install[:-2], "list", "--format", "json"], folder)
    assert {each["name"] for each in json.loads(alone)} & {"numpy", "fastapi", "pydantic", "bandstand"} == set()
    groups = tomllib.loads((CLIENT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    run([*install, *groups["test"], *groups["types"]], folder)  # an old pip knows no groups
    return folder


def run(words: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment,
    )
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_its_tests_pass_on_what_was_installed(machine: Path) -> None:
    shutil.copytree(CLIENT / "tests", machine / "tests")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(CLIENT / name, machine)
    shutil.copytree(CLIENT.parents[1] / "examples", machine / "examples")
    words = [str(machine / "venv" / "bin" / "python"), "-m", "pytest", "-q", "-o", "pythonpath=tests"]
    printed = run(words, machine, BANDSTAND_COMMAND=shlex.join(COMMAND))
    assert " passed" in printed
    assert "failed" not in printed


def test_the_django_product_runs(machine: Path) -> None:
    """It is looked for two folders above the tests, as in a checkout."""
    checkout = machine / "checkout" / "clients" / "python"
    shutil.copytree(CLIENT / "tests", checkout / "tests")
    shutil.copy(CLIENT / "pyproject.toml", checkout)
    shutil.copytree(CLIENT.parents[1] / "examples" / "client", machine / "checkout" / "examples" / "client")
    words = [str(machine / "venv" / "bin" / "python"), "-m", "pytest", "-q", "-o", "pythonpath=tests"]
    test = "tests/test_products.py::test_the_django_product"
    printed = run([*words, test], checkout, BANDSTAND_COMMAND=shlex.join(COMMAND))
    assert "1 passed" in printed


def test_pyright_accepts_the_uses_and_finds_the_mistakes(machine: Path) -> None:
    uses = machine / "uses"
    shutil.copytree(CLIENT / "tests" / "typed_uses", uses)
    config = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.10",
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    (uses / "pyrightconfig.json").write_text(json.dumps(config))
    bin_folder = machine / "venv" / "bin"
    run([str(bin_folder / "basedpyright"), "--pythonpath", str(bin_folder / "python")], uses)
