"""The wheel: everything the installed package needs at run time is in it."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bandstand import __version__
from tests.contract.server import start_server
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
    prompts = {
        f"bandstand/prompts/shipped/{path.relative_to(ROOT / 'prompts')}" for path in (ROOT / "prompts").rglob("*.md")
    }
    assert prompts
    assert prompts <= set(wheel.namelist())


def test_a_service_out_of_the_wheel_has_its_prompts_policies_and_pages(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "installed")
    path = {"PYTHONPATH": str(tmp_path / "installed")}
    words = [sys.executable, "-c", "import bandstand; print(bandstand.__file__)"]
    found = subprocess.run(words, check=True, capture_output=True, text=True, env=os.environ | path, timeout=60)
    assert Path(found.stdout.strip()).is_relative_to(tmp_path)
    with start_server(tmp_path / "state", wrapper=("env",), **path) as server:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=60) as client:
            prompts = client.get("/prompts").raise_for_status().json()
            assert {each["version"] for each in prompts["prompts"] if each["name"] == "generate"} >= {"v1", "v2-mentor"}
            assert prompts["broken"] == []
            tasks = [{"id": "t1", "title": "Pay the rent"}]
            tips = client.post("/recommend", json={"user_id": "ada", "context": {"tasks": tasks}}).raise_for_status()
            assert tips.json()["policy"] == "linucb-v2"
            assert "Bandstand" in client.get("/console").raise_for_status().text
        assert server.terminate() == 0


def test_the_wheel_carries_the_licence_and_the_command(wheel: zipfile.ZipFile) -> None:
    information = f"bandstand-{__version__}.dist-info"
    assert wheel.read(f"{information}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert b"bandstand = bandstand.cli:main" in wheel.read(f"{information}/entry_points.txt")
    outside = [name for name in wheel.namelist() if not Path(name).parts[0].startswith("bandstand")]
    assert outside == []
