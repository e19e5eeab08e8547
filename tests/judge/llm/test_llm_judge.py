"""The LLM tier: what it asks, what it makes of the reply, and a reason for everything else."""

import inspect
import json
from collections.abc import Iterable
from typing import Any

import pytest

import bandstand.llm.errors
from bandstand.errors import BandstandError, ConfigurationError
from bandstand.judge.gate import applied
from bandstand.judge.llm.llm_judge import LlmTier, build_prompt_values, to_unscored_reason
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.turn import CutTurn, Turn
from bandstand.judge.verdict import TARGET_MEANINGS, Judged, Unscored, UnscoredReason, Usage, Verdict
from bandstand.llm.chat import ChatReply
from bandstand.llm.errors import (
    BudgetExceededError,
    ChatError,
    ChatMalformedError,
    ChatStatusError,
    ChatTimeoutError,
    ChatUnreachableError,
    CircuitOpenError,
)
from bandstand.testing.scripted_llm import Line, ScriptedClient
from tests.judge.given import FOLLOWUP, judge_prompt

TURN = Turn("Capital of Australia?", "Sydney.", "no </message> & so").cut()
NO = json.dumps({"rationale": "They say no.", "label": "neg_correction", "confidence": 0.9})


def build_reply(text: str = NO, **more: Any) -> ChatReply:
    return ChatReply(**{"text": text, "model": "m-2026", "prompt_tokens": 300, "completion_tokens": 20, **more})


def build_tier(script: Iterable[Line], taxonomy: Taxonomy = FOLLOWUP, **more: Any) -> tuple[LlmTier, ScriptedClient]:
    client = ScriptedClient(script, model="m")
    return LlmTier(client, taxonomy, judge_prompt(), clock=lambda: 1000.0, **more), client


async def judge_scripted(*script: Line, **more: Any) -> Judged:
    return await build_tier(script, **more)[0].judge(TURN)


async def unscored(*script: Line) -> Unscored:
    found = await judge_scripted(*script)
    assert isinstance(found, Unscored)
    assert (found.taxonomy, found.tier, found.model) == ("followup-v1", "llm", "m")
    assert found.prompt_hash == judge_prompt().reference
    return found


async def test_a_reply_becomes_a_verdict_that_names_all_that_made_it() -> None:
    prompt = judge_prompt()
    assert await judge_scripted(build_reply(), cost=lambda read, written: read * 1e-6 + written * 2e-6) == Verdict(
        taxonomy="followup-v1",
        label="neg_correction",
        confidence=0.9,
        rationale="They say no.",
        tier="llm",
        model="m",
        prompt_hash=f"judge/v1@{prompt.digest[:16]}",
        raw=NO,
        usage=Usage(1, 300, 20, 300 * 1e-6 + 20 * 2e-6),
    )


async def test_asks_once_with_the_prompt_the_schema_and_the_contract_s_limits() -> None:
    judge, client = build_tier([build_reply()], deadline_s=180)
    await judge.judge(TURN)
    (call,) = client.calls
    assert (call.max_tokens, call.deadline, call.temperature) == (2_048, 1180.0, None)
    assert call.schema is not None
    assert call.schema["title"] == "verdict"
    system, user = call.messages
    assert all(f"- {label.name}: {label.means}" in system["content"] for label in FOLLOWUP.labels)
    assert "<message>\nno &lt;/message&gt; &amp; so\n</message>" in user["content"]


async def test_sees_the_turn_and_nothing_else() -> None:
    values = build_prompt_values(FOLLOWUP, CutTurn("q", "a", "m"))
    assert values == {
        "labels": values["labels"],
        "neutral": "neutral",
        "targets": values["targets"],
        "about": "",
        "question": "<question>\nq\n</question>",
        "answer": "<answer>\na\n</answer>",
        "message": "<message>\nm\n</message>",
    }


async def test_a_model_without_a_price_has_no_cost() -> None:
    assert (await judge_scripted(build_reply())).usage == Usage(1, 300, 20, None)


async def test_what_a_gateway_does_not_count_counts_in_full() -> None:
    judge, client = build_tier([build_reply(prompt_tokens=None, completion_tokens=None)])
    usage = (await judge.judge(TURN)).usage
    (call,) = client.calls
    assert usage == Usage(1, call.compute_token_bound().prompt_tokens, 2_048, None)


async def test_a_reply_that_was_cut_off_is_asked_for_once_more_with_more_room() -> None:
    judge, client = build_tier([build_reply("", finish_reason="length"), build_reply()])
    found = await judge.judge(TURN)
    assert isinstance(found, Verdict)
    assert [call.max_tokens for call in client.calls] == [2_048, 8_192]
    assert found.usage == Usage(2, 600, 40, None)


async def test_a_reply_cut_off_twice_is_unscored_whatever_it_holds() -> None:
    found = await unscored(build_reply(finish_reason="length"), build_reply(finish_reason="length"), build_reply())
    assert (found.reason, found.raw, found.usage.llm_calls) == ("truncated", NO, 2)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (build_reply("I cannot.", refusal="I cannot.", finish_reason="refusal"), "refusal"),
        (build_reply(refusal="", finish_reason="refusal"), "refusal"),
        (build_reply(""), "empty"),
        (build_reply("Sure!"), "bad_json"),
        (build_reply(NO.replace("neg_correction", "angry")), "unknown_label"),
        (build_reply(NO.replace("0.9", "NaN")), "bad_confidence"),
        (build_reply(NO.replace("0.9", "1.5")), "bad_confidence"),
        (ChatTimeoutError("late"), "timeout"),
        (ChatUnreachableError("gone"), "unavailable"),
        (ChatStatusError(408), "unavailable"),
        (ChatStatusError(409), "unavailable"),
        (ChatStatusError(429), "unavailable"),
        (ChatStatusError(500), "unavailable"),
        (ChatStatusError(400), "rejected"),
        (ChatStatusError(401), "rejected"),
        (ChatMalformedError("what?"), "unavailable"),
        (CircuitOpenError(retry_after_s=3), "circuit_open"),
        (BudgetExceededError("spent"), "over_budget"),
    ],
)
async def test_every_failure_is_unscored_with_its_reason(line: Line, reason: str) -> None:
    found = await unscored(line)
    assert found.reason == reason
    assert found.raw == (line.text if isinstance(line, ChatReply) else None)


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (ChatTimeoutError("late"), 1),
        (ChatTimeoutError("no time was left", sent=False), 0),
        (ChatStatusError(500), 0),
        (CircuitOpenError(retry_after_s=3), 0),
        (BudgetExceededError("spent"), 0),
    ],
)
async def test_a_call_that_may_have_been_charged_counts_in_full(error: Exception, calls: int) -> None:
    judge, client = build_tier([error])
    usage = (await judge.judge(TURN)).usage
    tokens = client.calls[0].compute_token_bound().prompt_tokens
    assert usage == (Usage(1, tokens, 2_048, None) if calls else Usage())


def test_every_error_of_a_client_has_a_reason() -> None:
    made = {ChatStatusError: lambda: ChatStatusError(500), CircuitOpenError: lambda: CircuitOpenError(retry_after_s=1)}
    for error in vars(bandstand.llm.errors).values():
        if inspect.isclass(error) and issubclass(error, ChatError | BudgetExceededError):
            assert to_unscored_reason(made.get(error, lambda error=error: error("x"))()) in UnscoredReason


async def test_a_fault_of_ours_is_no_verdict_s_reason() -> None:
    with pytest.raises(ConfigurationError):
        await judge_scripted(ConfigurationError("ours"))
    with pytest.raises(BandstandError):
        to_unscored_reason(ConfigurationError("ours"))


async def test_a_deployment_s_own_labels_are_asked_for() -> None:
    mood = Taxonomy.parse(
        {
            "name": "mood-v1",
            "labels": {"angry": {"reward": -1, "means": "is angry"}, "calm": {"reward": 0, "means": "is calm"}},
        }
    )
    judge, client = build_tier([build_reply(NO.replace("neg_correction", "angry"))], mood)
    found = await judge.judge(TURN)
    assert isinstance(found, Verdict)
    assert (found.taxonomy, found.label) == ("mood-v1", "angry")
    assert "- angry: is angry\n- calm: is calm\n" in client.calls[0].messages[0]["content"]


ABOUT = Turn("3x = 12?", "Hint: divide.", "just tell me", "hints first</about>").cut()
WANTS = {"rationale": "Wants the answer.", "target": "behaviour", "label": "neg_constraint_restate", "confidence": 0.9}


async def judge_v2(turn: CutTurn, *script: Line) -> tuple[Judged, ScriptedClient]:
    client = ScriptedClient(script, model="m")
    return await LlmTier(client, FOLLOWUP, judge_prompt("v2"), clock=lambda: 1000.0).judge(turn), client


async def test_v2_shows_what_was_chosen_and_asks_for_a_target() -> None:
    found, client = await judge_v2(ABOUT, build_reply(json.dumps(WANTS)))
    assert isinstance(found, Verdict)
    assert (found.target, found.about, found.label) == ("behaviour", True, "neg_constraint_restate")
    (call,) = client.calls
    assert call.schema is not None
    assert list(call.schema["properties"]) == ["rationale", "target", "label", "confidence"]  # type: ignore[call-overload]
    assert "<about>\nhints first&lt;/about&gt;\n</about>" in call.messages[1]["content"]
    assert all(f"- {target}: {meaning}" in call.messages[0]["content"] for target, meaning in TARGET_MEANINGS.items())


async def test_v2_without_what_was_chosen_has_no_fence_for_it() -> None:
    found, client = await judge_v2(TURN, build_reply(json.dumps(WANTS | {"target": "content"})))
    assert isinstance(found, Verdict)
    assert (found.target, found.about) == ("content", False)
    assert "<about>" not in client.calls[0].messages[1]["content"]


@pytest.mark.parametrize("target", ["behavior", "", None, 1])
async def test_v2_refuses_a_target_that_there_is_not(target: object) -> None:
    found, _ = await judge_v2(ABOUT, build_reply(json.dumps(WANTS | {"target": target})))
    assert isinstance(found, Unscored)
    assert found.reason is UnscoredReason.UNKNOWN_TARGET


async def test_v2_takes_a_reply_that_leaves_the_target_out() -> None:
    found, _ = await judge_v2(ABOUT, build_reply())
    assert isinstance(found, Verdict)
    assert (found.label, found.target, found.about) == ("neg_correction", None, True)
    assert applied(found, FOLLOWUP).should_update


async def test_v1_says_no_target_and_so_none_withholds_its_verdict() -> None:
    found = await build_tier([build_reply()])[0].judge(ABOUT)
    assert isinstance(found, Verdict)
    assert (found.target, found.about) == (None, True)
    assert applied(found, FOLLOWUP).should_update


async def test_the_confidence_is_that_of_the_label_s_tokens_where_they_are_told() -> None:
    start = NO.index("neg_correction")
    parts = [(NO[:start], 0.5), ("neg", 0.8), ("_correction", 0.9), (NO[start + 14 :], 0.4)]
    found = await judge_scripted(build_reply(token_probabilities=tuple(parts)))
    assert isinstance(found, Verdict)
    assert found.confidence == pytest.approx(0.72)
