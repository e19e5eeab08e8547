"""The README's session is what a new user gets: its curl commands run, and answer as they are shown to."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.server import start_server

README = Path(__file__).parents[2] / "README.md"
_SESSION = re.compile(r"^\$ (curl .*?)\n(\{.*?\})(?=\n\$ |\s*\Z)", re.MULTILINE | re.DOTALL)
_SHOWN_ADDRESS = "localhost:8000"
_SNIPPET = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TELLING = (
    *("ok", "policy", "reward", "applied", "reason", "pulls", "reward_count", "cumulative_reward", "theta"),
    *("candidates", "model", "prompt_version", "requested", "missing", "tasks_left_out"),
)


def parse_sessions() -> list[tuple[str, dict[str, Any]]]:
    """The commands with the answers shown below them."""
    blocks = re.findall(r"```console\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    found = [match for block in blocks for match in _SESSION.findall(block)]
    return [(command, json.loads(answer)) for command, answer in found]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A service on its embedded default, as `make run` starts it."""
    with start_server(tmp_path / "state") as server:
        yield f"localhost:{server.port}"
        assert server.terminate() == 0


def test_the_session_is_as_shown(address: str, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        assert not os.environ.get("CI"), "CI must have curl"
        pytest.skip("curl is not installed")
    shown = parse_sessions()
    assert len(shown) == 11
    for command, expected in shown:
        if "/stats/" in command:
            wait_until_exists(tmp_path / "state" / "population" / "linucb-v2.json")
        run = subprocess.run(
            ["/bin/sh", "-c", command.replace(_SHOWN_ADDRESS, address)], capture_output=True, check=True, timeout=120
        )
        answer = json.loads(run.stdout)
        assert answer.keys() == expected.keys(), command
        for name in _TELLING:
            if name == "theta" and name in expected:
                assert answer[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-12)
            else:
                assert answer.get(name) == expected.get(name), (command, name)
        assert parse_verdicts(answer) == parse_verdicts(expected)
    snippets = _SNIPPET.findall(README.read_text(encoding="utf-8"))
    assert len(snippets) == 1
    for snippet, printed in snippets:
        words = [sys.executable, "-c", snippet.replace(_SHOWN_ADDRESS, address)]
        run = subprocess.run(words, capture_output=True, check=True, timeout=120)
        assert run.stdout.decode() == printed


def wait_until_exists(file: Path) -> None:
    """Wait for the first learned prior: it is written once it is believed."""
    until = time.monotonic() + 120.0
    while not file.exists():
        assert time.monotonic() < until, f"{file} was not written"
        time.sleep(0.01)


def parse_verdicts(answer: dict[str, Any]) -> list[tuple[str, ...]]:
    """What a judge said, without the last digits of how sure it is."""
    return [(each["label"], each["rationale"], each["model"]) for each in answer.get("judgements", [])]


def test_the_judge_s_table_is_as_shown(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    ((words, table),) = re.findall(r"^\$ bandstand (judge evaluate \S+)\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    command = [sys.executable, "-m", "bandstand", *words.split(), "--state-dir", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, cwd=README.parent)
    printed = "\n".join(line.rstrip() for line in run.stdout.splitlines())
    assert table.strip() in printed
    assert run.stderr == ""
