"""``docs/simulate.md`` names every flag and every reason, its file is one, and its table is what is printed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from bandstand.cli import command
from bandstand.llm.errors import ChatError, ChatUnreachableError
from bandstand.simulate.judges import command_judge, llm_judge
from bandstand.simulate.world.persona import load_shipped_personas, parse_personas

PAGE = (Path(__file__).parents[2] / "docs" / "simulate.md").read_text(encoding="utf-8")


def test_every_flag_is_documented_and_none_that_is_not_there() -> None:
    parameters = typer.main.get_command(command).commands["simulate"].params  # type: ignore[attr-defined]  # a group
    flags = {option for each in parameters if not getattr(each, "hidden", False) for option in each.opts}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) | {"--help"} == flags | {"--help"}


def test_every_reason_for_the_rule_to_decide_is_documented() -> None:
    judges = source(llm_judge) + source(command_judge)
    reasons = {"refusal", "truncated", "unreadable"}
    reasons |= set(re.findall(r'(?:fallen_back\(.*|_FailedRunError\()"([a-z-]+)"', judges))
    kinds = ChatError.__subclasses__() + ChatUnreachableError.__subclasses__()
    reasons |= {kind.code for kind in kinds if kind.__module__.startswith("bandstand.llm.")}
    assert len(reasons) > 10
    for reason in reasons:
        assert f"`{reason}`" in PAGE, reason


def source(module: object) -> str:
    return Path(str(module.__file__)).read_text(encoding="utf-8")  # type: ignore[attr-defined]  # every module has one


def test_the_example_of_a_world_is_one() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert [persona.name for persona in parse_personas(block)] == ["Ada"]
    assert f"`shipped` ({len(load_shipped_personas())} personas)" in PAGE


@pytest.mark.slow
def test_the_first_command_prints_the_first_table(tmp_path: Path) -> None:
    (line,) = re.findall(r"```sh\nbandstand (.*)\n```", PAGE)
    table, _ = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert run_command(line, tmp_path).startswith(table)


@pytest.mark.slow
def test_where_users_talk_the_command_prints_its_tables(tmp_path: Path) -> None:
    (line,) = re.findall(r"\n    bandstand (simulate --chat .*)\n", PAGE)
    _, shown = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    said = run_command(line, tmp_path)
    above, heard = shown.split("┏", 2)[1], "┏" + shown.split("┏", 2)[2]
    assert f"┏{above}" in said
    assert heard.rstrip("\n") in said


def run_command(line: str, state: Path) -> str:
    words = [sys.executable, "-m", "bandstand", *line.split(), "--state-dir", str(state), "--events", "none"]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=600).stdout
