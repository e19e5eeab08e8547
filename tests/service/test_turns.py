"""Turns that name a decision: taken for who decided, and once for their Idempotency-Key."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bandstand.errors import IdempotencyMismatchError, UnknownDecisionError, WrongPolicyError
from bandstand.judge.gate import Gate
from bandstand.judge.taxonomy import shipped_taxonomy
from bandstand.judge_worker.options import JudgeOptions
from bandstand.judge_worker.process import JudgeProcess
from bandstand.judge_worker.worker import JudgeWorker
from bandstand.service import turns
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.records import Decision
from bandstand.store.tables.judgements import AcceptedTurn
from tests.service.given import Service
from tests.store.given import CATALOGUE, QUICK

FOLLOWUP = shipped_taxonomy("followup-v1")
OPTIONS = JudgeOptions(taxonomies={FOLLOWUP.name: FOLLOWUP}, default_taxonomy=FOLLOWUP.name, gate=Gate())


class Talk(Service):
    """A deployment that takes turns and leaves them waiting: no judge is started."""

    async def turn(self, decision_id: str | None, policy: str | None = None, **fields: Any) -> AcceptedTurn:
        """Send a turn under the Idempotency-Key "key"."""
        store = self.deployment.store
        assert isinstance(store, EmbeddedStore)
        judging = JudgeWorker(
            store, self.deployment.population, lambda: JudgeProcess([], {}, timeout_s=1.0), OPTIONS, self.clock
        )
        turn = {"query_t": "q", "answer_t": "a", "query_t1": "thanks"}
        request = {"decision_id": decision_id, "turn": turn} | fields
        key = ("tests /reward", "key")
        return await turns.accept(self.deployment, judging, request, client="tests", policy=policy, idempotency=key)


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    talk = Talk(lambda clock: EmbeddedStore(tmp_path / "state", CATALOGUE, options=QUICK, clock=clock))
    await talk.deployment.store.open()
    yield talk
    await talk.deployment.store.close()


@pytest.mark.parametrize(("named", "refusal"), [(None, None), ("linucb", WrongPolicyError)])
async def test_a_decision_made_just_after_it_was_not_found_holds_no_turn_of_another(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, named: str | None, refusal: type[Exception] | None
) -> None:
    find = talk.deployment.store.find_decision
    made: list[str] = []

    async def find_before_it_is_made(decision_id: str) -> Decision | None:
        found = await find(decision_id)
        if found is None and not made:
            made.append(decision_id)
            await talk.score(policy="egreedy", decision_id=decision_id)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(talk.deployment.store, "find_decision", find_before_it_is_made)
        with pytest.raises(UnknownDecisionError):
            await talk.turn("mine", policy=named, user_id="anna")
    assert made
    if refusal is None:
        accepted = await talk.turn("mine", policy=named, user_id="anna")
        assert (accepted.match, accepted.judgement.policy.name) == ("new", "egreedy-v1")
    else:
        with pytest.raises(refusal):
            await talk.turn("mine", policy=named, user_id="anna")


async def test_what_came_with_a_key_goes_before_whether_there_is_such_a_decision(talk: Talk) -> None:
    scored = await talk.score()
    first = await talk.turn(scored.decision_id)
    for _ in range(2):
        again = await talk.turn(scored.decision_id)
        assert again.judgement.seq == first.judgement.seq
        for request in ({"decision_id": "mine"}, {"decision_id": scored.decision_id, "user_id": "berta"}):
            with pytest.raises(IdempotencyMismatchError):
                await talk.turn(**request)
            with pytest.raises(IdempotencyMismatchError):
                await talk.reward(request | {"reward": 0.5}, key="key")
        await talk.reopen()


async def test_a_key_that_a_reward_was_given_with_takes_no_turn(talk: Talk) -> None:
    scored = await talk.score()
    await talk.reward({"decision_id": scored.decision_id, "reward": 0.5}, key="key")
    with pytest.raises(IdempotencyMismatchError):
        await talk.turn("mine")
