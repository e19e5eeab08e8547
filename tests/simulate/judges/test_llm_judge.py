"""The model plays the persona; where it cannot, the rule decides and the reason is kept."""

import pytest

from bandstand.llm.chat import ChatReply
from bandstand.llm.errors import ChatStatusError, ChatTimeoutError, ChatUnreachableError, CircuitOpenError
from bandstand.simulate.judges.judge import JudgedReaction, RuleJudge
from bandstand.simulate.judges.judge_prompt import load_shipped_prompt, render_question
from bandstand.simulate.judges.llm_judge import LLM_MODEL, LlmJudge
from bandstand.simulate.world.reaction import make_reaction
from bandstand.testing.scripted_llm import Line, ScriptedClient
from tests.simulate.given import WORLD

PROMPT = load_shipped_prompt()
EPISODE = WORLD.build_episode(4)


async def react_once(line: Line, step: int = 3, pick: int = 1) -> JudgedReaction:
    return await LlmJudge(ScriptedClient([line]), PROMPT).react(EPISODE, step, pick)


def test_the_model_is_the_contract_s() -> None:
    assert LLM_MODEL == "claude-haiku-4-5-20251001"


@pytest.mark.parametrize("text", ["done", "Done.", "**done**", "I think:\n\n**Done**"])
async def test_its_word_decides_the_action_and_the_judges_stream_the_dwell(text: str) -> None:
    engaged, draw = EPISODE.engagement[3, 1].item(), EPISODE.judge_draws[3].item()
    assert await react_once(text) == (make_reaction("done", engaged, dwell_draw=draw), "llm", None)


@pytest.mark.parametrize(("word", "reward"), [("snooze", 0.1), ("dismiss", -1.0)])
async def test_every_word_has_its_reward(word: str, reward: float) -> None:
    said = await react_once(word)
    assert (said.reaction.action, said.reaction.reward, said.judge) == (word, reward, "llm")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("maybe later", "unreadable"),
        ("done or snooze", "unreadable"),
        ("", "unreadable"),
        (ChatReply(text="do", model="m", finish_reason="length"), "truncated"),
        (ChatReply(text="", model="m", finish_reason="refusal", refusal="no"), "refusal"),
        (ChatReply(text="done", model="m", finish_reason="refusal", refusal=""), "refusal"),
        (ChatTimeoutError("late"), "llm-timeout"),
        (ChatUnreachableError("gone"), "llm-unreachable"),
        (ChatStatusError(500), "llm-status"),
        (CircuitOpenError(retry_after_s=1.0), "llm-circuit-open"),
    ],
)
async def test_where_it_fails_the_rule_decides_and_the_reason_is_kept(line: Line, reason: str) -> None:
    rule = await RuleJudge().react(EPISODE, 3, 1)
    assert await react_once(line) == (rule.reaction, "rule", reason)


async def test_a_whole_answer_that_was_cut_after_its_word_still_counts() -> None:
    assert (await react_once(ChatReply(text="done", model="m", finish_reason="length"))).judge == "llm"


async def test_without_a_key_the_rule_decides_everything() -> None:
    rule = await RuleJudge().react(EPISODE, 0, 0)
    assert await LlmJudge(None, PROMPT).react(EPISODE, 0, 0) == (rule.reaction, "rule", "no-key")


async def test_it_asks_what_the_prompt_says_within_its_deadline() -> None:
    client = ScriptedClient(["done"])
    await LlmJudge(client, PROMPT, deadline_s=7.0, clock=lambda: 100.0).react(EPISODE, 3, 1)
    (call,) = client.calls
    system, user = render_question(PROMPT, EPISODE, 3, 1)
    assert call.messages == ({"role": "system", "content": system}, {"role": "user", "content": user})
    assert call.deadline == 107.0


async def test_an_error_of_the_code_is_not_taken_for_a_failure_of_the_model() -> None:
    with pytest.raises(ZeroDivisionError):
        await react_once(ZeroDivisionError())
