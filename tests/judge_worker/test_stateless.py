"""Opinions: turns one after another through the door, corrections by the contract's rules, failures named."""

import asyncio
import json
from typing import Any

import pytest

from bandstand.errors import InvalidRequestError, OverloadedError
from bandstand.judge.cascade import CascadeJudge, JudgeOffError, Mode
from bandstand.judge.deployed import JudgeRegistry
from bandstand.judge.gate import Gate
from bandstand.judge.llm.intents import IntentArbiter
from bandstand.judge.llm.llm_judge import LlmTier
from bandstand.judge.turn import Turn
from bandstand.judge_worker.stateless import (
    MAX_CONCURRENT,
    StatelessJudge,
    UnscoredError,
    arbitrate,
    classify_feedback,
    judge_turns,
)
from bandstand.llm.errors import ChatTimeoutError
from bandstand.testing.scripted_llm import Line, ScriptedClient
from tests.judge.given import CORRECTION, FOLLOWUP, judge_prompt, local

WRONG = Turn("", "It is Sydney.", "no, that is wrong")


def build_stateless(*script: Line, mode: Mode = "local") -> StatelessJudge:
    client = ScriptedClient(script, model="m")
    judges = {
        taxonomy.name: CascadeJudge(mode, local(taxonomy.name), llm=LlmTier(client, taxonomy, judge_prompt()))
        for taxonomy in (FOLLOWUP, CORRECTION)
    }
    return StatelessJudge(
        JudgeRegistry(judges, "followup-v1"), Gate(), IntentArbiter(None, judge_prompt("arbitrate-v1"))
    )


class Door:
    """Counts who passes; closes after so many."""

    def __init__(self, most: int = 1_000) -> None:
        self.passed = 0
        self._most = most

    async def __call__(self) -> None:
        if self.passed == self._most:
            raise OverloadedError("closed")
        self.passed += 1
        await asyncio.sleep(0)


def build_rejection(label: str = "explicit_rejection", confidence: Any = 0.9) -> str:
    return json.dumps({"rationale": "They say no.", "label": label, "confidence": confidence})


async def test_every_turn_passes_the_door_by_itself() -> None:
    door = Door()
    found = await judge_turns(build_stateless(), [(WRONG, None)] * 5 + [(WRONG, "correction-v1")], door)
    assert door.passed == 6
    assert [one.label for one in found] == ["neg_correction"] * 5 + ["explicit_rejection"]


async def test_a_door_that_closes_ends_it_all_and_leaves_nothing_running() -> None:
    before = asyncio.all_tasks()
    with pytest.raises(OverloadedError):
        await judge_turns(build_stateless(), [(WRONG, None)] * 5, Door(3))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_a_wrong_taxonomy_or_a_judge_that_is_off_is_told_before_anybody_is_asked() -> None:
    door = Door()
    with pytest.raises(InvalidRequestError):
        await judge_turns(build_stateless(), [(WRONG, None), (WRONG, "mood")], door)
    with pytest.raises(JudgeOffError):
        await judge_turns(build_stateless(mode="off"), [(WRONG, None)], door)
    assert door.passed == 0


async def test_a_correction_under_the_threshold_is_none() -> None:
    found = await classify_feedback(build_stateless(build_rejection(confidence=0.7), mode="llm"), "hm", "So.", 0.8)
    assert found.to_response() == {
        "is_correction": False,
        "kind": "neutral",
        "confidence": 0.7,
        "reasoning": "They say no.",
        "tier": "llm",
        "model": "m",
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (build_rejection("angry"), "unknown_label"),
        (build_rejection(confidence=float("nan")), "bad_confidence"),
        (ChatTimeoutError("c4n4ry"), "timeout"),
    ],
)
async def test_a_classification_that_fails_is_an_error(line: Line, reason: str) -> None:
    with pytest.raises(UnscoredError, match=reason) as caught:
        await classify_feedback(build_stateless(line, mode="llm"), "hm", "So.")
    assert "c4n4ry" not in caught.value.detail


async def test_an_intent_needs_neither_rule_nor_candidates() -> None:
    found = await arbitrate(build_stateless(), {"tenant_id": "t", "message": "m"})
    assert (found.intent_id, found.score, found.triggered) == (None, 0, False)


async def test_no_more_is_taken_on_than_can_be_answered() -> None:
    given = build_stateless()
    intent = {"tenant_id": "t", "message": "m"}
    with given.reserve_slots("turns", MAX_CONCURRENT - 1):
        assert len(await judge_turns(given, [(WRONG, None)], Door())) == 1
        with pytest.raises(OverloadedError) as caught:
            await judge_turns(given, [(WRONG, None)] * 2, Door())
        assert caught.value.retry_after >= 1
        with given.reserve_slots("turns", 1):
            with pytest.raises(OverloadedError):
                await classify_feedback(given, "hm", "So.")
            await arbitrate(given, intent)  # no number of turns keeps an intent from its answer
    with given.reserve_slots("intents", MAX_CONCURRENT), pytest.raises(OverloadedError):
        await arbitrate(given, intent)
    assert len(await judge_turns(given, [(WRONG, None)] * 100, Door())) == 100, "what is done makes room"
