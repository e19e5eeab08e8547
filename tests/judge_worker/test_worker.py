"""Turns through a judge's process: each is concluded once, whatever dies, and what it teaches can be told apart."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bandstand.bandit.policy_state import PolicyState
from bandstand.errors import AlreadyRewardedError, OverloadedError, StorageFullError, StorageUnavailableError
from bandstand.judge.gate import Gate
from bandstand.judge.taxonomy import shipped_taxonomy
from bandstand.judge_worker import rest
from bandstand.judge_worker.options import JudgeOptions
from bandstand.judge_worker.process import JudgeProcess
from bandstand.judge_worker.worker import JudgeWorker
from bandstand.learning.population import PopulationPriorRefresher
from bandstand.llm.chat import TokenUsage
from bandstand.llm.middleware.budget import DailyCaps, Price
from bandstand.service import judgements, turns
from bandstand.service import reward as rewards
from bandstand.service import score as scores
from bandstand.service.context import ServiceContext
from bandstand.service.score import ScoreResult
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.tables.judgements import Conclusion, JudgedTurn
from tests.llm.given import request_of
from tests.service.given import FEATURES
from tests.store.given import (
    CATALOGUE,
    QUICK,
    Clock,
    assert_same,
    copy_as_killed,
    ledger_of,
    rebuild_profile,
    wait_until_settled,
)

FOLLOWUP = shipped_taxonomy("followup-v1")
OPTIONS = JudgeOptions(taxonomies={FOLLOWUP.name: FOLLOWUP}, default_taxonomy=FOLLOWUP.name, gate=Gate())
LLM = replace(OPTIONS, compute_bound=lambda _texts, _taxonomy: TokenUsage(1000, 100))


class Place:
    """A service over a directory, with the odd judge."""

    def __init__(self, directory: Path, options: JudgeOptions = OPTIONS, patience_s: float = 20.0) -> None:
        self.directory = directory
        self.clock = Clock()
        self.patience_s = patience_s
        self.asked_file = directory / "asked"
        self.state_dir = directory / "state"
        self.options = options
        self.store_options = QUICK

    async def open(self) -> None:
        """Start."""
        self.store = EmbeddedStore(self.state_dir, CATALOGUE, options=self.store_options, clock=self.clock)
        await self.store.open()
        population = PopulationPriorRefresher(CATALOGUE, self.store, clock=self.clock)
        self.judging = JudgeWorker(self.store, population, self.get_child, self.options, self.clock)
        self.deployment = ServiceContext(
            CATALOGUE, self.store, clock=self.clock, judge_worker=self.judging, shared_population=population
        )
        await self.judging.open()

    async def close(self) -> None:
        """Stop."""
        await self.judging.close()
        await self.store.close()

    def get_child(self) -> JudgeProcess:
        """The odd judge's process."""
        script = Path(__file__).with_name("odd_judge.py")
        command = [sys.executable, str(script), str(self.asked_file)]
        return JudgeProcess(command, os.environ, timeout_s=self.patience_s)

    def read_asked(self) -> list[dict[str, Any]]:
        """What the odd judge was asked, in order."""
        if not self.asked_file.exists():
            return []
        return [json.loads(line) for line in self.asked_file.read_text().splitlines()]

    async def take(self, said: str, user_id: str = "anna", **fields: Any) -> JudgedTurn:
        """Send a turn, in the legacy form unless it names a decision."""
        legacy = {"user_id": user_id, "tip_id": "tip-1", "features": FEATURES}
        request: dict[str, Any] = {"turn": {"query_t": "q", "answer_t": "a", "query_t1": said}}
        request |= fields if "decision_id" in fields else {**legacy, **fields}
        return (await turns.accept(self.deployment, self.judging, request, client="shop")).judgement

    async def score(self, user_id: str = "anna") -> ScoreResult:
        """A decision."""
        tip = {"id": "tip-1", "content": "", "source": "", "features": FEATURES}
        request = {"user_id": user_id, "candidates": [tip, {**tip, "id": "tip-2"}]}
        body = json.dumps(request).encode()
        return await scores.score(self.deployment, request, body=body, client="shop")

    async def wait_for_judgement(self, judgement: JudgedTurn) -> JudgedTurn:
        """A judgement once it is made."""
        return await asyncio.wait_for(self.judging.wait_for_verdict(judgement), 20)

    async def state(self, user_id: str = "anna") -> PolicyState:
        """What the active policy knows of a user."""
        profile = await self.store.load_profile(user_id)
        return profile.policies.get(("linucb-v2", "tips-v2")) or PolicyState()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path)
    await place.open()
    yield place
    await place.close()


async def open_other(tmp_path: Path, options: JudgeOptions, **more: Any) -> Place:
    made = Place(tmp_path, options, **more)
    await made.open()
    return made


async def test_turns_are_judged_and_taught(place: Place) -> None:
    found = [
        await place.wait_for_judgement(await place.take(label)) for label in ("pos_praise", "neg_correction", "neutral")
    ]
    assert [(each.state, each.reason) for each in found] == [("taught", None)] * 3
    state = await place.state()
    assert state.reward_count == 3
    assert state.cumulative_reward == pytest.approx(0.0)
    told = await judgements.load_detail(place.judging, found[0])
    assert told.verdict is not None
    assert told.applied is not None
    assert (told.verdict["raw"], told.verdict["rationale"]) == ("words", "it said so")
    assert told.applied["taxonomy_hash"] == FOLLOWUP.hash


async def test_one_poisoned_turn_blocks_nobody(place: Place) -> None:
    poisoned = await place.take("die", "mallory")
    others = [await place.take("pos_praise", f"user-{n}") for n in range(20)]
    for judgement in others:
        assert (await place.wait_for_judgement(judgement)).state == "taught"
    found = await place.wait_for_judgement(poisoned)
    assert (found.state, found.reason) == ("unscored", "crashed")
    assert found.tries <= 4
    assert [each.user_id for each in others] == [f"user-{n}" for n in range(20)]
    assert all([(await place.state(each.user_id)).reward_count == 1 for each in others]), "and none twice"
    assert place.judging.get_status().deaths >= 2
    assert (await place.wait_for_judgement(await place.take("pos_praise"))).state == "taught", "it goes on"


async def test_a_turn_that_fails_is_tried_a_bounded_number_of_times(place: Place) -> None:
    found = await place.wait_for_judgement(await place.take("fail"))
    assert (found.state, found.reason) == ("unscored", "failed")
    assert len(place.read_asked()) == 3


async def test_a_process_that_hangs_is_ended(tmp_path: Path) -> None:
    place = await open_other(tmp_path, OPTIONS, patience_s=0.7)
    hanging = await place.take("hang")
    fine = await place.take("pos_praise", "berta")
    assert (await place.wait_for_judgement(fine)).state == "taught"
    assert (await place.wait_for_judgement(hanging)).reason == "crashed"
    await place.close()


async def test_a_killed_process_loses_and_doubles_nothing(place: Place) -> None:
    taken = [await place.take("slow", f"user-{n}") for n in range(12)]
    await wait_until_settled(lambda: bool(place.read_asked()))
    os.kill(place.read_asked()[0]["pid"], 9)
    for judgement in taken:
        assert (await place.wait_for_judgement(judgement)).state == "taught"
    for n in range(12):
        assert (await place.state(f"user-{n}")).reward_count == 1


async def test_what_waits_is_judged_after_a_restart(tmp_path: Path) -> None:
    place = await open_other(tmp_path, replace(OPTIONS, enabled=True))
    taken = [await place.take("slow", f"user-{n}") for n in range(40)]
    await place.close()
    await place.open()
    for judgement in taken:
        assert (await place.wait_for_judgement(judgement)).state == "taught"
    with ledger_of(place.state_dir) as ledger:
        assert ledger.execute("SELECT count(*) FROM rewards").fetchone() == (40,)
        assert ledger.execute("SELECT count(*) FROM judgements WHERE state = 'waiting'").fetchone() == (0,)
    await place.close()


async def test_opinions_that_never_stop_coming_do_not_stop_turns(tmp_path: Path) -> None:
    place = await open_other(tmp_path, replace(OPTIONS, max_concurrent=1))
    client = place.judging.calls.build_client("odd", tries=1)

    async def ask_forever() -> None:
        while True:
            deadline = time.monotonic() + 60
            await client.complete(request_of([{"role": "user", "content": "fine"}], deadline=deadline))

    asking = [asyncio.create_task(ask_forever()) for _ in range(3)]
    await wait_until_settled(lambda: len(place.read_asked()) > len(asking))
    assert (await place.wait_for_judgement(await place.take("pos_praise"))).state == "taught"
    for task in asking:
        assert not task.done()
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    await place.close()


async def test_users_take_turns(tmp_path: Path) -> None:
    place = await open_other(tmp_path, replace(OPTIONS, max_concurrent=1))
    many = [await place.take("slow", "mallory") for _ in range(8)]
    one = await place.take("pos_praise", "berta")
    await place.wait_for_judgement(one)
    waiting = [each for each in many if (await place.store.get_judgement(each.judgement_id)).state == "waiting"]
    assert len(waiting) >= 5, "who sends many waits for them"
    await place.close()


async def test_a_worker_that_stops_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def raise_key_error(*_: Any) -> list[JudgedTurn]:
        raise KeyError

    place = Place(tmp_path)
    await place.open()
    monkeypatch.setattr(place.store, "claim_turns", raise_key_error)
    with capture_logs() as logged:
        left = await place.take("pos_praise")
        await wait_until_settled(lambda: any("judging has stopped" in str(entry["event"]) for entry in logged))
    monkeypatch.undo()
    await place.close()
    await place.open()
    assert (await place.wait_for_judgement(left)).state == "taught", "a start takes up what waits"
    await place.close()


async def test_the_queue_is_bounded(tmp_path: Path) -> None:
    place = await open_other(tmp_path, replace(OPTIONS, max_waiting=3, max_concurrent=1))
    for _ in range(3):
        await place.take("slow")
    with pytest.raises(OverloadedError):
        await place.take("slow")
    await place.close()


async def test_an_override_equals_a_history_without_the_mistake(place: Place, tmp_path: Path) -> None:
    (tmp_path / "right").mkdir()
    right = await open_other(tmp_path / "right", OPTIONS)
    for label, meant in (
        ("pos_praise", "neg_confusion"),
        ("neg_correction", "neg_correction"),
        ("neutral", "pos_praise"),
    ):
        for where, said in ((place, label), (right, meant)):
            await where.wait_for_judgement(await where.take(said))
    wrong = await place.store.list_judgement_ids(judgements.STATUSES["taught"], 0)
    await judgements.override(place.judging, wrong[0], "neg_confusion", "ops")
    await judgements.override(place.judging, wrong[2], "topic_shift", "ops")
    await judgements.override(place.judging, wrong[2], "pos_praise", "ops")
    live, truth = (await place.store.load_profile("anna")).copy(), (await right.store.load_profile("anna")).copy()
    assert_same(truth, live)
    assert_same(live, await rebuild_profile(copy_as_killed(place.state_dir, tmp_path / "copy"), "anna"))
    totals = (await place.store.load_policy_totals())["linucb-v2"]
    assert totals.rewards == 3
    assert totals.reward_sum == pytest.approx(-0.6 - 0.8 + 0.8)
    await right.close()


async def test_an_override_of_a_decision_s_turn_is_rebuilt_from_the_decision(place: Place, tmp_path: Path) -> None:
    decision = await place.score()
    found = await place.wait_for_judgement(await place.take("pos_praise", decision_id=decision.decision_id))
    await judgements.override(place.judging, found.judgement_id, "neg_correction", "ops")
    live = (await place.store.load_profile("anna")).copy()
    assert live.policies["linucb-v2", "tips-v2"].cumulative_reward == pytest.approx(-0.8)
    receipt = await place.store.find_receipt(str(decision.decision_id))
    assert receipt is not None
    assert receipt.reward is not None
    assert (receipt.reward.value, receipt.reward.source) == (-0.8, "person")
    assert_same(live, await rebuild_profile(copy_as_killed(place.state_dir, tmp_path / "copy"), "anna"))
    with pytest.raises(AlreadyRewardedError):
        await rewards.reward(place.deployment, {"decision_id": decision.decision_id, "reward": 1.0}, client="shop")


async def test_unscored_turns_release_their_decision_and_can_be_tried_again(place: Place) -> None:
    free, lost = await place.score(), await place.score()
    first = await place.wait_for_judgement(await place.take("timeout", decision_id=free.decision_id))
    second = await place.wait_for_judgement(await place.take("timeout", decision_id=lost.decision_id))
    assert (first.state, first.reason) == ("unscored", "timeout")
    await rewards.reward(place.deployment, {"decision_id": lost.decision_id, "reward": 1.0}, client="shop")
    answer = await judgements.retry(place.judging, "ops", reason="timeout")
    assert answer == judgements.RetryResult(retried=1, left=1)
    again = await place.wait_for_judgement(replace(first, state="waiting"))
    assert (again.state, again.rounds) == ("unscored", 2)
    assert (await place.store.get_judgement(second.judgement_id)).rounds == 1
    assert (await judgements.retry(place.judging, "ops", reason="refusal")).retried == 0


async def test_a_decision_that_retention_has_taken_keeps_no_other_turn_from_its_try(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.store_options = replace(QUICK, retention_days=5)
    await place.open()
    gone = await place.wait_for_judgement(await place.take("timeout", decision_id=(await place.score()).decision_id))
    place.clock.now += 6 * 86_400
    await place.store.apply_retention()
    legacy = await place.wait_for_judgement(await place.take("timeout"))
    found = await judgements.retry(place.judging, "ops", judgement_ids=[gone.judgement_id, legacy.judgement_id])
    assert found == judgements.RetryResult(retried=1, left=1)
    await place.close()


async def test_reapplying_holds_old_verdicts_to_the_new_gate(place: Place, tmp_path: Path) -> None:
    for label in ("pos_praise", "neg_correction", "topic_shift"):
        await place.wait_for_judgement(await place.take(label))
    capped = await place.take("pos_praise")
    await place.wait_for_judgement(capped)
    place.judging.conclusions.gate = Gate(tau=0.95)
    assert await judgements.reapply_gate(place.judging, "ops", since=0) == judgements.ReapplyResult(
        looked_at=4, changed=3, out_of_reach=0
    )
    assert (await place.state()).reward_count == 0
    assert (await judgements.reapply_gate(place.judging, "ops", since=0)).changed == 0, "idempotent"
    place.judging.conclusions.gate = OPTIONS.gate
    assert (await judgements.reapply_gate(place.judging, "ops", since=0)).changed == 3
    state = await place.state()
    assert state.reward_count == 3
    assert state.cumulative_reward == pytest.approx(0.8)
    live = (await place.store.load_profile("anna")).copy()
    assert_same(live, await rebuild_profile(copy_as_killed(place.state_dir, tmp_path / "copy"), "anna"))
    assert len(place.read_asked()) == 4, "no judge was asked"


async def test_the_budget_is_reserved_before_and_settled_after(tmp_path: Path) -> None:
    place = await open_other(tmp_path, replace(LLM, caps=DailyCaps(tokens=1500)))
    for _ in range(5):
        await place.wait_for_judgement(await place.take("pos_praise"))
    assert [each["allow_llm"] for each in place.read_asked()] == [True, True, True, True, False]
    standing = place.judging.get_status()
    assert (standing.tokens, standing.over_budget) == (440, 1)
    await place.close()
    await place.open()
    assert place.judging.get_status().tokens == 440, "a restart forgets nothing"
    await place.wait_for_judgement(await place.take("pos_praise"))
    assert place.read_asked()[-1]["allow_llm"] is False
    place.clock.now += 86_400
    assert place.judging.get_status().tokens == 0
    await place.wait_for_judgement(await place.take("pos_praise"))
    assert place.read_asked()[-1]["allow_llm"] is True, "the next day has a budget of its own"
    await place.close()


async def test_a_turn_waits_for_what_is_under_way_rather_than_go_without(tmp_path: Path) -> None:
    place = await open_other(tmp_path, replace(LLM, caps=DailyCaps(tokens=1500)))
    for judgement in [await place.take("slow") for _ in range(3)]:
        await place.wait_for_judgement(judgement)
    assert [each["allow_llm"] for each in place.read_asked()] == [True, True, True]
    await place.close()


async def test_what_a_crash_left_unsettled_stays_reserved(tmp_path: Path) -> None:
    place = await open_other(tmp_path, replace(LLM, caps=DailyCaps(tokens=2000)))
    found = await place.wait_for_judgement(await place.take("die"))
    assert found.reason == "crashed"
    assert [each["allow_llm"] for each in place.read_asked()] == [True, False, False]
    with ledger_of(place.state_dir) as ledger:
        assert ledger.execute("SELECT tokens, settled FROM judge_spending").fetchall() == [(1100, 0)]
    await place.close()


async def test_a_model_without_a_price_never_passes_a_money_cap(tmp_path: Path) -> None:
    place = await open_other(tmp_path, replace(LLM, caps=DailyCaps(usd=Decimal(100))))
    await place.wait_for_judgement(await place.take("pos_praise"))
    assert place.read_asked()[0]["allow_llm"] is False
    await place.close()


async def test_money_is_capped(tmp_path: Path) -> None:
    # A turn costs 0.012 at most, and 0.0012 as it comes out.
    caps = DailyCaps(usd=Decimal("0.0125"), price=Price(Decimal(10), Decimal(20)))
    place = await open_other(tmp_path, replace(LLM, caps=caps))
    for _ in range(2):
        await place.wait_for_judgement(await place.take("pos_praise"))
    assert [each["allow_llm"] for each in place.read_asked()] == [True, False]
    await place.close()


@pytest.mark.parametrize("step", ["claim_turns", "record_attempt", "apply_conclusion"])
async def test_a_turn_waits_while_the_ledger_rests_and_costs_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(rest, "_PAUSE_S", 0.01)
    place = await open_other(tmp_path, replace(LLM, caps=DailyCaps(tokens=1500)))
    real, failures = getattr(place.store, step), iter([StorageFullError("full"), StorageUnavailableError("busy")])

    async def resting(*args: Any, **fields: Any) -> Any:
        if (error := next(failures, None)) is not None:
            raise error
        return await real(*args, **fields)

    monkeypatch.setattr(place.store, step, resting)
    assert (await place.wait_for_judgement(await place.take("pos_praise"))).state == "taught"
    assert len(place.read_asked()) == 1
    assert place.judging.get_status().tokens == 110
    assert (await place.state()).reward_count == 1
    await place.close()


async def test_a_verdict_that_its_decision_does_not_take_any_more_is_withheld(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = place.store.apply_conclusion

    async def take_turn(judgement: JudgedTurn, conclusion: Conclusion, **fields: Any) -> Any:
        if conclusion.teach is not None:
            raise AlreadyRewardedError("another was quicker")
        return await real(judgement, conclusion, **fields)

    monkeypatch.setattr(place.store, "apply_conclusion", take_turn)
    found = await place.wait_for_judgement(await place.take("pos_praise"))
    assert (found.state, found.reason) == ("withheld", AlreadyRewardedError.code)
    assert found.verdict_seq is not None, "it was given, and is kept"


async def test_words_go_after_their_days_and_verdicts_stay(place: Place) -> None:
    found = await place.wait_for_judgement(await place.take("pos_praise"))
    unscored = await place.wait_for_judgement(await place.take("timeout"))
    place.clock.now += 31 * 86_400
    await place.store.apply_retention()
    with ledger_of(place.state_dir) as ledger:
        assert ledger.execute("SELECT count(*) FROM turns").fetchone() == (0,)
        assert "words" not in "".join(str(row) for row in ledger.execute("SELECT document, quotes FROM verdicts"))
    told = await judgements.load_detail(place.judging, found)
    assert told.verdict is not None
    assert [told.verdict[name] for name in ("label", "raw", "rationale")] == ["pos_praise", None, ""]
    await judgements.override(place.judging, found.judgement_id, "neutral", "ops")
    await judgements.retry(place.judging, "ops", judgement_ids=[unscored.judgement_id])
    assert (await place.wait_for_judgement(replace(unscored, state="waiting"))).reason == "expired"


async def test_erasure_takes_what_waits_too(place: Place) -> None:
    waiting = [await place.take("slow") for _ in range(3)]
    erased = await place.store.erase("anna", "ops")
    assert erased.turns == 3
    await place.wait_for_judgement(await place.take("pos_praise", "berta"))
    await wait_until_settled(lambda: not place.judging.pending_turns)
    assert (await place.store.load_profile("anna")).policies == {}
    with ledger_of(place.state_dir) as ledger:
        for count in (
            "SELECT count(*) FROM turns WHERE judgement = ?",
            "SELECT count(*) FROM verdicts WHERE judgement = ?",
        ):
            assert all(ledger.execute(count, (each.seq,)).fetchone() == (0,) for each in waiting)
    coverage = await judgements.load_coverage(place.judging)
    assert coverage.policies["linucb-v2"].waiting == 0
