"""``bandstand demo``: a newcomer finds something on every page, and nothing of it is left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.contract.server import start_server

COMMAND = [sys.executable, "-m", "bandstand"]
PAGES = ("", "/users", "/policies", "/judge", "/simulations", "/evaluations", "/prompts")


def find_port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    """Where a demonstration says that it is."""
    for _ in range(1200):
        if found := re.search(r"open http://127\.0\.0\.1:(\d+)/console", log.read_text(encoding="utf-8")):
            return int(found[1])
        assert process.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.05)
    raise AssertionError("it does not start")


def read(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        body = answer.read()
    return json.loads(body) if answer.headers["content-type"].startswith("application/json") else body.decode()


def wait_until_used(port: int) -> dict[str, Any]:
    for _ in range(1200):
        stats: dict[str, Any] = read(port, "/stats")
        if stats["decisions"] >= 60 and stats["judge"]["policies"] and read(port, "/simulations")["simulations"]:
            return stats
        time.sleep(0.1)
    raise AssertionError("nobody used it")


@pytest.mark.slow
def test_people_use_it_until_ctrl_c_and_it_is_all_forgotten(tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "scratch"
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder)}
    with (
        log.open("wb") as stderr,
        subprocess.Popen([*COMMAND, "demo", "--port", "0"], env=environment, stderr=stderr) as process,
    ):
        try:
            port = find_port(process, log)
            stats = wait_until_used(port)
            for page in PAGES:
                assert "<h1" in read(port, f"/console{page}"), page
            assert [each.name[:15] for each in folder.iterdir()] == ["bandstand-demo-"]
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 0
    assert "Traceback" not in log.read_text(encoding="utf-8")
    assert list(folder.iterdir()) == []
    assert stats["users"] > 1
    assert stats["rewards"] > 0


def test_nobody_visits_the_service_that_has_its_port(tmp_path: Path) -> None:
    with start_server(tmp_path / "state") as server:
        said = subprocess.run(
            [*COMMAND, "demo", "--port", str(server.port)], capture_output=True, text=True, check=False
        )
        assert said.returncode == 2
        assert said.stderr.endswith("cannot be listened on: address already in use\n")
        assert "demonstration" not in said.stderr
        assert read(server.port, "/stats")["decisions"] == 0


@pytest.mark.slow
def test_its_people_leave_when_it_does() -> None:
    command = [*COMMAND, "demo-users", "--url", "http://127.0.0.1:9"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=120) == -signal.SIGTERM
