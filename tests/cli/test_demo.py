"""``bandstand demo``: a newcomer finds something on every page, and nothing of it is left behind."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

PAGES = ("", "/users", "/policies", "/judge", "/simulations", "/evaluations", "/prompts")


def pick_port() -> int:
    """One below those that the system gives to whoever asks for any."""
    return 20_000 + secrets.randbelow(10_000)


def read(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        body = answer.read()
    return json.loads(body) if answer.headers["content-type"].startswith("application/json") else body.decode()


def wait_until_used(process: "subprocess.Popen[str]", port: int) -> dict[str, Any]:
    for _ in range(600):
        assert process.poll() is None, process.communicate()
        try:
            stats: dict[str, Any] = read(port, "/stats")
        except urllib.error.URLError:
            stats = {"decisions": 0}
        if stats["decisions"] >= 60 and stats["judge"]["policies"] and read(port, "/simulations")["simulations"]:
            return stats
        time.sleep(0.1)
    raise AssertionError("nobody used it")


@pytest.mark.slow
def test_people_use_it_until_ctrl_c_and_it_is_all_forgotten(tmp_path: Path) -> None:
    port = pick_port()
    command = [sys.executable, "-m", "bandstand", "demo", "--port", str(port)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE) as process:
        try:
            stats = wait_until_used(process, port)
            for page in PAGES:
                assert "<h1" in read(port, f"/console{page}"), page
            assert [folder.name[:15] for folder in tmp_path.iterdir()] == ["bandstand-demo-"]
        finally:
            process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert f"open http://127.0.0.1:{port}/console" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
    assert stats["users"] > 1
    assert stats["rewards"] > 0


@pytest.mark.slow
def test_its_people_leave_where_there_is_no_service() -> None:
    command = [sys.executable, "-m", "bandstand", "demo-users", "--url", f"http://127.0.0.1:{pick_port()}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=60) == -signal.SIGTERM
