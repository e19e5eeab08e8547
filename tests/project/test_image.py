"""The image's own commands, run outside an engine: its build, its CMD and its HEALTHCHECK, read from the Dockerfile.

Every stage builds into one folder that stands for the root of the file system. That is sound as long as what a stage
copies from another keeps its path, which is checked. What remains untested is the base image and the user.
"""

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.api.given import TWO
from tests.project.checkout import ROOT, tool
from tests.project.dockerfile import Instruction, read_dockerfile
from tests.project.test_container import SERVICE, read_environment

IMAGE_PATH = re.compile(r"(?<![\w./-])/(?=(?:opt|build|data)\b)")

pytestmark = pytest.mark.slow


class Image:
    """What the Dockerfile builds, below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.command: list[str] = []
        self.health_check: list[str] = []
        python = root / "usr" / "local" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.symlink_to(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
        self.base = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self.base["PATH"] = f"{python.parent}:{os.environ['PATH']}"

    def build(self, stages: list[list[Instruction]]) -> None:
        for stage in stages:
            self.environment = dict(self.base)
            self.folder = self.root
            for instruction in stage:
                if instruction.name not in {"FROM", "VOLUME", "USER", "EXPOSE"}:
                    getattr(self, f"do_{instruction.name.lower()}")(instruction)

    def move_paths(self, text: str) -> str:
        """Move the image's absolute paths below ``root``."""
        return IMAGE_PATH.sub(f"{self.root}/", text)

    def do_env(self, instruction: Instruction) -> None:
        for name, value in instruction.parse_pairs.items():
            self.environment[name] = self.move_paths(value).replace("$PATH", self.environment["PATH"])

    def do_workdir(self, instruction: Instruction) -> None:
        self.folder = Path(self.move_paths(instruction.words))
        self.folder.mkdir(parents=True)

    def do_copy(self, instruction: Instruction) -> None:
        *sources, target = instruction.words.split()
        if "from" in instruction.flags:
            assert sources == [target]
            assert Path(self.move_paths(target)).is_dir()
            return
        for source in sources:
            place = self.folder / target / (source if target.endswith("/") else "")
            place.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, place)

    def do_run(self, instruction: Instruction) -> None:
        script = f"chown() {{ :; }}; {self.move_paths(instruction.words)}"  # the image's user does not exist here
        words = [tool("sh"), "-c", script]
        subprocess.run(words, check=True, cwd=self.folder, env=self.environment, timeout=600)

    def do_cmd(self, instruction: Instruction) -> None:
        self.command = instruction.command

    def do_healthcheck(self, instruction: Instruction) -> None:
        self.health_check = instruction.command


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    built = Image(tmp_path_factory.mktemp("image"))
    built.build(read_dockerfile(ROOT / "Dockerfile"))
    return built


def run_in(image: Image, words: list[str], port: int, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [word.replace("8000", str(port)) for word in words],
        cwd=image.root,
        env=image.environment | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_healthy(image: Image, port: int) -> bool:
    with run_in(image, image.health_check, port) as probe:
        probe.communicate(timeout=10)
    return probe.returncode == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_the_image_refuses_to_serve_the_network_without_keys(image: Image) -> None:
    with run_in(image, image.command, free_port()) as service:
        out, err = service.communicate(timeout=60)
    assert (service.returncode, out) == (2, "")
    assert err.startswith("bandstand: HOST='0.0.0.0' is open to the network and API_KEYS is unset")
    assert len(err.splitlines()) == 1


def test_the_image_serves_as_the_composition_has_it_keeps_its_state_and_stops_in_time(image: Image) -> None:
    """Health, a score, tips, a restart on the same volume; the grace period is the composition's."""
    grace = float(SERVICE["stop_grace_period"].removesuffix("s"))
    environment = {**read_environment(), "STATE_DIR": str(image.root / "data")}
    for round_number in (1, 2):
        port = free_port()
        assert not is_healthy(image, port)
        with run_in(image, [word.replace("$$", "$") for word in SERVICE["command"]], port, **environment) as service:
            try:
                deadline = time.monotonic() + 60
                while not is_healthy(image, port):
                    assert service.poll() is None, service.communicate()
                    assert time.monotonic() < deadline, shlex.join(image.command)
                assert ask(port, "/score", {"user_id": "ada", "candidates": TWO})["decision_id"]
                assert ask(port, "/stats/ada")["pulls"] == round_number
                tips = ask(port, "/generate", {"user_id": "ada", "context": {"tasks": [{"title": "Call"}]}})
                assert (tips["model"], len(tips["candidates"])) == ("template", 1)
                service.send_signal(signal.SIGTERM)
                service.communicate(timeout=grace)
            finally:
                service.kill()
        assert service.returncode == 0
    assert (image.root / "data" / "ledger.db").exists()


def ask(port: int, path: str, body: object = None) -> Any:
    """The service's JSON answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        content = None if body is None else json.dumps(body)
        headers = {} if body is None else {"content-type": "application/json"}
        connection.request("GET" if body is None else "POST", path, content, headers)
        response = connection.getresponse()
        assert response.status == 200
        return json.loads(response.read())


def test_the_installed_package_is_not_this_checkout(image: Image) -> None:
    check = "import bandstand; print(bandstand.__file__)"
    with run_in(image, ["python", "-c", check], 0) as python:
        out, _ = python.communicate(timeout=60)
    assert Path(out.strip()).is_relative_to(image.root / "opt")
