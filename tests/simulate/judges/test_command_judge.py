"""The external program: prompt on stdin, one word on stdout, a deadline that holds, and no way to hurt the run."""

import os
import sys
import time
from pathlib import Path

import pytest

from bandstand.errors import ConfigurationError
from bandstand.simulate.judges.command_judge import CommandJudge
from bandstand.simulate.judges.judge import JudgedReaction, RuleJudge
from bandstand.simulate.judges.judge_prompt import load_shipped_prompt, render_question
from tests.simulate.given import WORLD

PROMPT = load_shipped_prompt()
EPISODE = WORLD.build_episode(4)


async def react_once(code: str, deadline_s: float = 20.0) -> JudgedReaction:
    judge = CommandJudge([sys.executable, "-S", "-c", code], PROMPT, deadline_s=deadline_s)
    return await judge.react(EPISODE, 3, 1)


@pytest.mark.parametrize("text", ["snooze", "Snooze.", "**snooze**", "thinking…\\nsnooze"])
async def test_its_word_decides(text: str) -> None:
    said = await react_once(f"print('{text}')")
    assert (said.reaction.action, said.judge, said.fallback) == ("snooze", "command", None)


async def test_it_reads_the_prompt_on_its_standard_input(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    said = await react_once(f"import sys; open({str(heard)!r}, 'w').write(sys.stdin.read()); print('done')")
    assert said.judge == "command"
    assert heard.read_text(encoding="utf-8") == "\n\n".join(render_question(PROMPT, EPISODE, 3, 1)) + "\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('perhaps')", "unreadable"),
        ("", "unreadable"),
        ("print('done'); raise SystemExit(3)", "exit-3"),
        ("import os; os.kill(os.getpid(), 9)", "signal-9"),
        ("import sys; sys.stdout.write('x' * 10**6)", "too-long"),
        ("import sys; sys.stdout.buffer.write(bytes([255, 254]))", "unreadable"),
    ],
)
async def test_where_it_fails_the_rule_decides_and_the_reason_is_kept(code: str, reason: str) -> None:
    rule = await RuleJudge().react(EPISODE, 3, 1)
    assert await react_once(code) == (rule.reaction, "rule", reason)


async def test_a_program_that_is_not_there_is_a_reason_too() -> None:
    judge = CommandJudge(["/no/such/program"], PROMPT)
    assert (await judge.react(EPISODE, 0, 0)).fallback == "cannot-start"


async def test_the_deadline_ends_the_program_and_what_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
open({str(note)!r}, "w").write(str(child.pid))
time.sleep(600)
"""
    started = time.monotonic()
    assert (await react_once(code, deadline_s=2.0)).fallback == "deadline"
    assert time.monotonic() - started < 10
    grandchild = int(note.read_text(encoding="utf-8"))
    assert has_ended(grandchild)


async def test_a_program_that_does_not_read_may_answer_all_the_same() -> None:
    assert (await react_once("import os; os.close(0); print('done')")).judge == "command"


def test_a_command_of_no_words_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="names no program"):
        CommandJudge([], PROMPT)


def has_ended(pid: int) -> bool:
    """Whether a process has ended, if only as a zombie that nobody has waited for yet."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False
