"""The judge: who is asked in which mode, what is remembered, what a failure leaves, and batches that lose nothing."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from bandstand.errors import ConfigurationError
from bandstand.judge.arbiter import ArbiterSettings
from bandstand.judge.cascade import CascadeJudge, JudgeOffError, Mode
from bandstand.judge.llm.cache import VerdictCache
from bandstand.judge.llm.llm_judge import LlmTier
from bandstand.judge.local.rules import Rules
from bandstand.judge.turn import CORRECTION_LIMITS, Turn
from bandstand.judge.verdict import Judged, Unscored, Verdict
from bandstand.llm.chat import ChatReply, ChatRequest
from bandstand.llm.errors import BudgetExceededError, ChatStatusError, ChatTimeoutError
from bandstand.testing.scripted_llm import Line, ScriptedClient
from tests.judge.given import FOLLOWUP, judge_prompt, local

SURE = Turn("Capital of Australia?", "The capital of Australia is Sydney.", "no")
UNSURE = Turn("Ideas for dinner?", "Try a lentil soup with cumin.", "isn't that rather a lot of work?")
ASKING = ArbiterSettings(gray_zone_threshold=1.0)
"""Asks about every turn that local tiers are not certain of."""


def verdict(label: str = "neg_confusion", confidence: float = 0.7) -> str:
    return json.dumps({"rationale": "So it reads.", "label": label, "confidence": confidence})


def llm(script: list[Line] | Callable[[ChatRequest], Line] | None = None) -> tuple[LlmTier, ScriptedClient]:
    client = ScriptedClient(script or (lambda _: verdict()), model="m")
    return LlmTier(client, FOLLOWUP, judge_prompt()), client


def judge(mode: Mode = "auto", tier: LlmTier | None = None, **more: Any) -> CascadeJudge:
    return CascadeJudge(mode, local(), llm=tier, **{"arbiter": ASKING if tier else None, **more})


def list_tiers(judged: list[Judged]) -> list[str]:
    return [one.tier for one in judged]


async def test_auto_asks_the_llm_where_the_local_tiers_are_not_sure_and_only_there() -> None:
    tier, client = llm()
    asked = judge("auto", tier, arbiter=None)
    assert list_tiers([await asked.judge(SURE), await asked.judge(UNSURE)]) == ["local", "llm"]
    assert len(client.calls) == 1


@pytest.mark.parametrize(
    ("mode", "expected"), [("auto", "llm"), ("local", "local"), ("rules", "rules"), ("llm", "llm")]
)
async def test_each_mode_has_its_tier(mode: Mode, expected: str) -> None:
    tier, client = llm()
    found = await judge(mode, tier).judge(UNSURE)
    assert found.tier == expected
    assert len(client.calls) == (expected == "llm")


@pytest.mark.parametrize("mode", ["auto", "local", "rules"])
async def test_without_an_llm_the_local_tiers_judge(mode: Mode) -> None:
    found = await judge(mode).judge(UNSURE)
    assert found.tier == ("rules" if mode == "rules" else "local")


async def test_an_llm_that_may_not_be_asked_leaves_the_local_verdict() -> None:
    tier, client = llm()
    for mode in ("auto", "llm"):
        assert (await judge(mode, tier).judge(UNSURE, allow_llm=False)).tier == "local"
    assert client.calls == []


def test_the_llm_mode_needs_an_llm() -> None:
    with pytest.raises(ConfigurationError):
        judge("llm")


async def test_off_judges_nothing() -> None:
    off = judge("off")
    with pytest.raises(JudgeOffError):
        await off.judge(SURE)
    with pytest.raises(JudgeOffError):
        await off.judge_batch([SURE])


@pytest.mark.parametrize(
    ("error", "reason"), [(ChatTimeoutError("late"), "timeout"), (ChatStatusError(401), "rejected")]
)
async def test_an_llm_that_fails_leaves_its_reason_and_no_verdict(error: Exception, reason: str) -> None:
    found = await judge("auto", llm([error])[0]).judge(UNSURE)
    assert isinstance(found, Unscored)
    assert (found.reason, found.tier) == (reason, "llm")


async def test_once_the_budget_is_spent_the_local_tiers_go_on() -> None:
    spent = BudgetExceededError("spent")
    for mode in ("auto", "llm"):
        assert (await judge(mode, llm([spent])[0]).judge(UNSURE)).tier == "local"


async def test_the_llm_sees_the_cut_turn_only() -> None:
    tier, client = llm()
    await judge("llm", tier).judge(Turn("q" * 9_000, "a" * 9_000, "m" * 9_000 + "END"))
    await judge("llm", tier, limits=CORRECTION_LIMITS).judge(Turn("", "a" * 9_000, "m" * 9_000))
    user = client.calls[0].messages[1]["content"]
    assert (user.count("q" * 900), user.count("a" * 1_900), user.count("m" * 900)) == (2, 2, 2)
    assert "END\n</message>" in user
    assert len(user) < 8_300
    assert len(client.calls[1].messages[1]["content"]) < 1_800


async def test_the_same_turn_is_asked_about_once_and_paid_for_once() -> None:
    tier, client = llm()
    asked = judge("llm", tier)
    first, again = (
        await asked.judge(UNSURE),
        await asked.judge(Turn(UNSURE.query_t, UNSURE.answer_t, UNSURE.query_t1 + "\u200b")),
    )
    assert len(client.calls) == 1
    assert (first.usage.llm_calls, again.usage.llm_calls) == (1, 0)
    assert isinstance(first, Verdict)
    assert isinstance(again, Verdict)
    assert first.label == again.label


async def test_those_who_ask_at_once_share_one_call() -> None:
    tier, client = llm()
    found = await judge("llm", tier).judge_batch([UNSURE] * 20)
    assert len(client.calls) == 1
    assert sum(one.usage.llm_calls for one in found) == 1


async def test_a_failure_is_never_remembered() -> None:
    tier, _ = llm([ChatStatusError(500), "nonsense", verdict()])
    asked = judge("llm", tier)
    found = [await asked.judge(UNSURE) for _ in range(4)]
    assert [isinstance(one, Verdict) for one in found] == [False, False, True, True]


async def test_verdicts_of_another_prompt_or_taxonomy_are_not_taken_for_these() -> None:
    cache = VerdictCache()
    client = ScriptedClient(lambda _: verdict(), model="m")
    for prompt in (judge_prompt(), judge_prompt("correction-v1"), judge_prompt()):
        await CascadeJudge("llm", local(), llm=LlmTier(client, FOLLOWUP, prompt), cache=cache).judge(UNSURE)
    assert len(client.calls) == 2


async def test_a_batch_keeps_its_order_and_tells_how_far_it_is() -> None:
    turns = [Turn("", "", f"number {number}") for number in range(50)]

    def echo(call: ChatRequest) -> str:
        number = call.messages[1]["content"].split("number ")[1].split("\n")[0]
        return verdict(confidence=int(number) / 100)

    steps: list[tuple[int, int]] = []
    found = await judge("llm", llm(echo)[0]).judge_batch(turns, progress=lambda *step: steps.append(step))
    assert [one.confidence for one in found if isinstance(one, Verdict)] == [number / 100 for number in range(50)]
    assert steps == [(done, 50) for done in range(1, 51)]


async def test_one_failure_never_loses_the_others() -> None:
    turns = [Turn("", "", word) for word in ("fine", "broken", "gone", "fine too")]

    def answer_request(call: ChatRequest) -> Line:
        message = call.messages[1]["content"]
        if "broken" in message:
            return ZeroDivisionError()
        return ChatStatusError(503) if "gone" in message else verdict()

    found = await judge("llm", llm(answer_request)[0]).judge_batch(turns)
    assert [one.reason if isinstance(one, Unscored) else "" for one in found] == ["", "internal", "unavailable", ""]


async def test_an_empty_batch_is_no_error() -> None:
    assert await judge().judge_batch([]) == []


async def test_so_many_calls_at_once_and_no_more() -> None:
    held = _Held()
    asked = CascadeJudge("llm", local(), llm=LlmTier(held, FOLLOWUP, judge_prompt()), concurrency=3)
    turns = [Turn("", "", str(number)) for number in range(10)]
    tasks = [asyncio.create_task(asked.judge_batch(turns)), asyncio.create_task(asked.judge(Turn("", "", "x")))]
    for _ in range(20):
        await asyncio.sleep(0)
    assert held.under_way == 3
    held.let.set()
    await asyncio.gather(*tasks)
    assert held.most == 3


async def test_rules_without_a_text_model_ask_about_what_no_rule_finds() -> None:
    tier, client = llm()
    rules = local().rules
    assert isinstance(rules, Rules)
    asked = CascadeJudge("auto", rules, llm=tier)
    assert list_tiers([await asked.judge(SURE), await asked.judge(UNSURE)]) == ["rules", "llm"]
    assert len(client.calls) == 1


def test_a_judge_says_what_judges() -> None:
    tier, _ = llm()
    assert (judge().name, judge().model, judge().has_llm) == ("auto", local().model, False)
    assert judge("auto", tier).model == f"{local().model}+m"
    assert (judge("llm", tier).model, judge("llm", tier).has_llm) == ("m", True)
    assert judge("rules", tier).model == local().rules.model
    assert judge("local", tier).taxonomy == FOLLOWUP


class _Held:
    """Answers once it is let, and counts how many wait for it."""

    model = "held"

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.under_way = self.most = 0
        self._inner = ScriptedClient(lambda _: verdict(), model="held")

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.let.wait()
        self.under_way -= 1
        return await self._inner.complete(request)
