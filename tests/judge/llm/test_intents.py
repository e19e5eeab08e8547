"""Intents: asked only where it is worth it, answered in time whatever happens, one tenant apart from another."""

import asyncio
import json
from typing import Any

import pytest

from bandstand.errors import ConfigurationError, InvalidRequestError
from bandstand.judge.arbiter import ArbiterSettings, Arbitration, IntentCandidate, RuleSignal
from bandstand.judge.llm.intents import IntentArbiter
from bandstand.llm.chat import ChatReply, ChatRequest
from bandstand.llm.errors import (
    BudgetExceededError,
    ChatStatusError,
    ChatTimeoutError,
    ChatUnreachableError,
    CircuitOpenError,
)
from bandstand.testing.scripted_llm import Line, ScriptedClient
from tests.judge.given import judge_prompt

REFUND = IntentCandidate("refund", "Refund", "Wants money back", 0.55)
CANCEL = IntentCandidate("cancel", "退订", "不想再续费", 0.5)
BOTH = (REFUND, CANCEL)
CONFLICT = RuleSignal("cancel", 0.6)


def choice(intent_id: Any = "cancel", score: Any = 0.9, reasoning: Any = "They want out.", **more: Any) -> str:
    return json.dumps({"reasoning": reasoning, "intent_id": intent_id, "score": score, **more})


def build_arbiter(*script: Line, **more: Any) -> tuple[IntentArbiter, ScriptedClient]:
    client = ScriptedClient(script, model="m")
    return IntentArbiter(client, judge_prompt("arbitrate-v1"), **more), client


async def arbitrate_conflict(*script: Line, **more: Any) -> Arbitration:
    return await build_arbiter(*script)[0].arbitrate("acme", "I want out", CONFLICT, BOTH, **more)


async def test_the_model_s_choice_is_answered() -> None:
    found = await arbitrate_conflict(ChatReply(text=choice(), model="m", prompt_tokens=150, completion_tokens=20))
    assert (found.intent_id, found.intent_name, found.score, found.reasoning) == (
        "cancel",
        "退订",
        0.9,
        "They want out.",
    )
    assert (found.triggered, found.trigger_reason, found.tokens_used) == (True, "rule_semantic_conflict", 170)
    assert found.duration_ms >= 0


async def test_asks_at_temperature_0_for_200_tokens_before_the_deadline() -> None:
    judge, client = build_arbiter(choice(), settings=ArbiterSettings(llm_judge_timeout_ms=700), clock=lambda: 50.0)
    await judge.arbitrate("acme", "我要退款", CONFLICT, BOTH)
    (call,) = client.calls
    assert (call.temperature, call.max_tokens, call.deadline) == (0.0, 200, 50.7)
    assert call.schema is not None
    user = call.messages[1]["content"]
    assert '"id": "cancel", "name": "退订"' in user
    assert "<message>\n我要退款\n</message>" in user
    assert "acme" not in str(call.messages)


async def test_the_scores_decide_where_the_model_is_not_worth_it() -> None:
    judge, client = build_arbiter()
    found = await judge.arbitrate("acme", "refund!", RuleSignal("refund", 0.95), [REFUND])
    assert (found.intent_id, found.score, found.triggered, found.trigger_reason) == ("refund", 0.95, False, "")
    assert client.calls == []


async def test_without_a_model_the_scores_decide_everything() -> None:
    judge = IntentArbiter(None, judge_prompt("arbitrate-v1"))
    found = await judge.arbitrate("acme", "I want out", CONFLICT, BOTH)
    assert (found.intent_id, found.triggered, found.trigger_reason) == ("cancel", False, "disabled")


async def test_a_request_may_move_the_thresholds_and_nothing_else() -> None:
    judge, client = build_arbiter(choice())
    calm = {"conflict_threshold": 0, "gray_zone_threshold": 0, "multi_intent_threshold": 0}
    assert not (await judge.arbitrate("acme", "out", CONFLICT, BOTH, calm)).triggered
    for key in ("llm_judge_enabled", "llm_judge_timeout_ms", "model", "url"):
        with pytest.raises(InvalidRequestError):
            await judge.arbitrate("acme", "out", CONFLICT, BOTH, {key: 1})
    assert client.calls == []


async def test_nothing_to_choose_from_is_not_asked_about() -> None:
    judge, client = build_arbiter(choice())
    found = await judge.arbitrate("acme", "out", RuleSignal("cancel", 0.5), [])
    assert (found.intent_id, found.triggered, found.trigger_reason) == (None, True, "gray_zone")
    assert client.calls == []


@pytest.mark.parametrize(
    "line",
    [
        "",
        "I would say cancel.",
        choice("refunds"),
        choice("CANCEL"),
        choice(None),
        choice(1),
        choice(["cancel"]),
        choice(score=float("nan")),
        choice(score=1.5),
        choice(score="0.9"),
        choice(extra=1),
        ChatReply(text=choice(), model="m", refusal="no", finish_reason="refusal"),
        ChatTimeoutError("c4n4ry"),
        ChatUnreachableError("c4n4ry"),
        ChatStatusError(400),
        ChatStatusError(500),
        CircuitOpenError(retry_after_s=1),
        BudgetExceededError("c4n4ry"),
    ],
)
async def test_whatever_fails_there_is_an_answer_without_an_intent(line: Line) -> None:
    found = await arbitrate_conflict(line)
    assert (found.intent_id, found.intent_name, found.score, found.triggered) == (None, None, 0.0, True)
    assert found.trigger_reason == "rule_semantic_conflict"
    assert found.reasoning
    assert "c4n4ry" not in found.reasoning


async def test_the_last_valid_choice_counts() -> None:
    found = await arbitrate_conflict(
        f"They wrote {choice('refund', 1)}, but: {choice('cancel', 0.8)} {choice('nonsense')}"
    )
    assert (found.intent_id, found.score) == ("cancel", 0.8)


async def test_an_id_may_hold_anything_that_a_fence_escapes() -> None:
    odd = IntentCandidate("a<b>&c", "Odd", "", 0.55)
    for said in ("a<b>&c", "a&lt;b&gt;&amp;c"):
        judge, _ = build_arbiter(choice(said))
        assert (await judge.arbitrate("t", "m", CONFLICT, [odd, CANCEL])).intent_id == "a<b>&c"


async def test_a_model_that_never_answers_meets_the_hard_deadline() -> None:
    judge = IntentArbiter(_Never(), judge_prompt("arbitrate-v1"), settings=ArbiterSettings(llm_judge_timeout_ms=30))
    async with asyncio.timeout(60):
        found = await judge.arbitrate("acme", "out", CONFLICT, BOTH)
    assert (found.intent_id, found.reasoning) == (None, "the model did not answer in time")
    assert found.duration_ms >= 29


async def test_one_tenant_s_flood_leaves_room_for_the_others() -> None:
    client = _Never()
    judge = IntentArbiter(client, judge_prompt("arbitrate-v1"), concurrency=8)
    flood = [asyncio.create_task(judge.arbitrate("loud", "out", CONFLICT, BOTH)) for _ in range(20)]
    other = asyncio.create_task(judge.arbitrate("quiet", "out", CONFLICT, BOTH))
    for _ in range(10):
        await asyncio.sleep(0)
    assert client.under_way == 3, "two of the loud one's, one of the quiet one's"
    for task in (*flood, other):
        task.cancel()
    await asyncio.gather(*flood, other, return_exceptions=True)
    assert client.under_way == 0


async def test_a_fault_of_ours_is_raised() -> None:
    with pytest.raises(ConfigurationError):
        await arbitrate_conflict(ConfigurationError("ours"))


class _Never:
    """Never answers, whatever the deadline."""

    model = "never"

    def __init__(self) -> None:
        self.under_way = 0

    async def complete(self, _request: ChatRequest) -> ChatReply:
        self.under_way += 1
        try:
            return await asyncio.Future()
        finally:
            self.under_way -= 1
