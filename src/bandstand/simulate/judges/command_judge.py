"""The judge that is an external program: the prompt on its standard input, one word on its standard output."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence

from bandstand.errors import ConfigurationError
from bandstand.prompts.library import Prompt
from bandstand.simulate.judges.judge import JudgedReaction, fall_back_to_rule, to_judged_reaction
from bandstand.simulate.judges.judge_prompt import render_question
from bandstand.simulate.judges.parse_word import read_word
from bandstand.simulate.world.world import Episode

COMMAND = "command"
COMMAND_DEADLINE_S = 60.0
_MAX_OUTPUT = 64 * 1024


class CommandJudge:
    """Runs a program for each decision; the rule decides where it cannot.

    The program and whatever it has started are killed at the deadline. The reasons it keeps are ``cannot-start``,
    ``deadline``, ``exit-N``, ``signal-N``, ``too-long`` and ``unreadable``.

    Args:
        words: the program and its arguments; no shell reads them.
        prompt: the prompt's template.
        deadline_s: the longest one run may take.

    Raises:
        ConfigurationError: there are no words.
    """

    def __init__(self, words: Sequence[str], prompt: Prompt, *, deadline_s: float = COMMAND_DEADLINE_S) -> None:
        if not words:
            raise ConfigurationError("The judge's command names no program.")
        self._words = tuple(words)
        self._prompt = prompt
        self._deadline_s = deadline_s

    async def react(self, episode: Episode, step: int, pick: int) -> JudgedReaction:
        """Say what the program says, or what the rule says and why."""
        question = "\n\n".join(render_question(self._prompt, episode, step, pick)) + "\n"
        try:
            answer = await self._run(question.encode())
        except _FailedRunError as error:
            return fall_back_to_rule(episode, step, pick, str(error))
        word = read_word(answer.decode("utf-8", "replace"))
        if word is None:
            return fall_back_to_rule(episode, step, pick, "unreadable")
        return to_judged_reaction(word, COMMAND, episode, step, pick)

    async def _run(self, question: bytes) -> bytes:
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._words, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, start_new_session=True
            )
        except (OSError, ValueError) as error:
            raise _FailedRunError("cannot-start") from error
        try:
            async with asyncio.timeout(self._deadline_s):
                answer = await _send_question(process, question)
                code = await process.wait()
        except TimeoutError:
            raise _FailedRunError("deadline") from None
        finally:
            # The whole session: what the program started holds our pipe as well. It may all be gone already.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if code:
            raise _FailedRunError(f"exit-{code}" if code > 0 else f"signal-{-code}")
        return answer


class _FailedRunError(Exception):
    pass


async def _send_question(process: asyncio.subprocess.Process, question: bytes) -> bytes:
    assert process.stdin is not None  # noqa: S101 (both are pipes)
    assert process.stdout is not None  # noqa: S101 (as above)
    # A program that does not read its input may still answer.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(question)
        await process.stdin.drain()
    process.stdin.close()
    answer = b""
    while chunk := await process.stdout.read(_MAX_OUTPUT):
        answer += chunk
        if len(answer) > _MAX_OUTPUT:
            raise _FailedRunError("too-long")
    return answer
