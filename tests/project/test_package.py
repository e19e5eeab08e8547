"""The wheel: everything the installed package needs at run time is in it."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bandstand import __version__
from tests.project.checkout import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    target = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(target)]
    subprocess.run(words, check=True, capture_output=True, cwd=ROOT, timeout=120)
    with zipfile.ZipFile(target / f"bandstand-{__version__}-py3-none-any.whl") as built:
        yield built


def test_the_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    files = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"bandstand/defaults.toml", "bandstand/py.typed"} <= files
    assert files <= set(wheel.namelist())


def test_the_wheel_holds_every_prompt(wheel: zipfile.ZipFile) -> None:
    prompts = {f"bandstand/{path.relative_to(ROOT)}" for path in (ROOT / "prompts").rglob("*.md")}
    assert prompts
    assert prompts <= set(wheel.namelist())


def test_the_wheel_carries_the_licence_and_the_command(wheel: zipfile.ZipFile) -> None:
    information = f"bandstand-{__version__}.dist-info"
    assert wheel.read(f"{information}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert b"bandstand = bandstand.cli:main" in wheel.read(f"{information}/entry_points.txt")
    outside = [name for name in wheel.namelist() if not Path(name).parts[0].startswith("bandstand")]
    assert outside == []
