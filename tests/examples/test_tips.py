"""The tips example: a day by curl and a day by Python, on a service with and without a gateway."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bandstand.testing.scripted_llm_server import ScriptedAnswer, ScriptedServer
from tests.contract.server import start_server

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "tips"
README = (FOLDER / "README.md").read_text("utf-8")
TASKS = json.loads((FOLDER / "tasks.json").read_text("utf-8"))
TIPS = [{"id": task["id"], "content": f"Begin with {task['title']}.", "task_id": task["id"]} for task in TASKS]
LINE = re.compile(r" ?\d\d?:00  \S.*|       by .*: [+-]?\d\.\d")
SUMMARY = re.compile(r"\S+: \d+ tips, \d+ picked, \d+ rewarded, mean [+-]\d\.\d\d, interval (\[.*\]|None)")


@contextmanager
def start_service(state_dir: Path, **environment: str) -> Iterator[str]:
    """A service in a process of its own; its address."""
    with start_server(state_dir, **environment) as server:
        yield f"http://127.0.0.1:{server.port}"


def run_shell(*command: str, **environment: str) -> list[str]:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def read_shown(command: str) -> list[str]:
    """What the README shows below a command."""
    found = re.search(rf"^\$ {re.escape(command)}\n(.*?)```", README, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1].splitlines()


def require_curl() -> None:
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "CI must have curl"
        pytest.skip("curl is not installed")


def test_a_day_by_curl_and_by_python_without_a_gateway(tmp_path: Path) -> None:
    require_curl()
    with start_service(tmp_path, API_KEYS="shop:serve:s3cret,ops:admin:0ps") as url:
        by_curl = run_shell(str(FOLDER / "day.sh"), url, BANDSTAND_API_KEY="s3cret")
        by_python = run_shell(sys.executable, str(FOLDER / "day.py"), url, BANDSTAND_API_KEY="0ps")
    for lines, shown in (
        (by_curl, read_shown("examples/tips/day.sh")),
        (by_python, read_shown(".venv/bin/python examples/tips/day.py")),
    ):
        assert len(lines) == len(shown)
        for line in (*lines, *shown):
            assert LINE.fullmatch(line) or SUMMARY.fullmatch(line), line
    assert by_python[-1].startswith("template: 30 tips, 10 picked, 10 rewarded")


async def test_a_day_with_a_gateway(tmp_path: Path) -> None:
    async with ScriptedServer(ScriptedAnswer(json.dumps({"tips": TIPS}))) as gateway:
        lines = await _in_a_thread(tmp_path, gateway.url)
    assert any("Begin with" in line for line in lines)
    assert lines[-1].startswith("v1: 18 tips, 6 picked, 6 rewarded")
    assert len(gateway.requests) == 6


async def _in_a_thread(state_dir: Path, gateway: str) -> list[str]:
    def run() -> list[str]:
        with start_service(state_dir, LITELLM_URL=gateway) as url:
            return run_shell(sys.executable, str(FOLDER / "day.py"), url)

    return await asyncio.to_thread(run)


def test_recommend_answers_as_the_readme_shows(tmp_path: Path) -> None:
    require_curl()
    found = re.search(r"^\$ (curl .*?/recommend .*?)\n(\{.*\})$", README, re.DOTALL | re.MULTILINE)
    assert found is not None
    with start_service(tmp_path) as url:
        (answer,) = run_shell("/bin/sh", "-c", found[1].replace("localhost:8000", url.removeprefix("http://")))
    got, shown = json.loads(answer), json.loads(found[2])
    assert got.keys() == shown.keys()
    assert got["candidates"] == shown["candidates"]
