"""The judge that is a language model playing the persona."""

import time
from collections.abc import Callable

from bandstand.errors import BandstandError
from bandstand.llm.chat import ChatClient, ChatReply, ChatRequest, build_messages
from bandstand.prompts.library import Prompt
from bandstand.simulate.judges.judge import JudgedReaction, fall_back_to_rule, to_judged_reaction
from bandstand.simulate.judges.judge_prompt import render_question
from bandstand.simulate.judges.parse_word import read_word
from bandstand.simulate.world.world import Episode

LLM = "llm"
LLM_MODEL = "claude-haiku-4-5-20251001"
"""The contract's model (A8)."""

LLM_DEADLINE_S = 30.0
_MAX_TOKENS = 512  # one word, and room for a model that thinks before it


class LlmJudge:
    """Asks a chat model; the rule decides where it cannot.

    The reasons it keeps are ``no-key``, the code of the client's error (``llm-timeout``, ``llm-status``, …),
    ``refusal``, ``truncated`` and ``unreadable``.

    Args:
        client: the model; None if no key is set, and then the rule decides everything.
        prompt: the prompt's template.
        deadline_s: the longest one decision may take, over all tries.
        clock: monotonic seconds, the scale of the client's deadlines.
    """

    def __init__(
        self,
        client: ChatClient | None,
        prompt: Prompt,
        *,
        deadline_s: float = LLM_DEADLINE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._prompt = prompt
        self._deadline_s = deadline_s
        self._clock = clock

    async def react(self, episode: Episode, step: int, pick: int) -> JudgedReaction:
        """Say what the model says, or what the rule says and why."""
        if self._client is None:
            return fall_back_to_rule(episode, step, pick, "no-key")
        system, user = render_question(self._prompt, episode, step, pick)
        request = ChatRequest(
            messages=build_messages(system, user), max_tokens=_MAX_TOKENS, deadline=self._clock() + self._deadline_s
        )
        try:
            reply = await self._client.complete(request)
        except BandstandError as error:
            return fall_back_to_rule(episode, step, pick, error.code)
        word = None if reply.refusal is not None else read_word(reply.text)
        if word is None:
            return fall_back_to_rule(episode, step, pick, _get_failure_reason(reply))
        return to_judged_reaction(word, LLM, episode, step, pick)


def _get_failure_reason(reply: ChatReply) -> str:
    if reply.refusal is not None:
        return "refusal"
    return "truncated" if reply.finish_reason == "length" else "unreadable"
