"""Races: whatever meets in the embedded store, memory and ledger agree about how it ended."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bandstand.errors import UnknownDecisionError
from bandstand.store.embedded.state_directory import StateDirectory
from bandstand.store.learners.documents import Documents
from bandstand.store.records import AcceptedReward
from bandstand.store.tables import decisions
from tests.store.given import (
    BUSY,
    Gate,
    Subject,
    assert_same,
    documents_in,
    hold_calls,
    ledger_of,
    make_embedded,
    rebuild_profile,
    wait_until_settled,
)


@pytest.mark.parametrize("place", [0, 1, 60, 199, 200])
async def test_a_reset_racing_rewards_ends_consistent(tmp_path: Path, place: int) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        decisions = [await subject.decide("anna") for _ in range(100)]
        events: list[Coroutine[None, None, object]] = [subject.reward(decision, 0.5) for decision in decisions]
        events += [subject.reward_legacy("anna", 0.25) for _ in range(100)]
        subject.random.shuffle(events)
        events.insert(place, subject.store.reset("anna", "tests"))
        outcomes = await asyncio.gather(*events)
        rewards = [outcome.reward for outcome in outcomes if isinstance(outcome, AcceptedReward)]
        live = await subject.store.load_profile("anna")
        early = [reward for reward in rewards if reward.seq < live.reset_seq]
        late = [reward for reward in rewards if reward.seq > live.reset_seq]
        assert (len(early), len(late)) == (place, 200 - place)
        assert all(reward.applied for reward in early)
        assert all(reward.applied == (reward.decision_id is None) for reward in late)
        assert (await subject.state("anna")).reward_count == sum(reward.applied for reward in late)
    assert_same(live, await rebuild_profile(tmp_path, "anna"))


async def test_an_erasure_racing_rewards_ends_consistent(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path, BUSY)) as subject:
        decisions = [await subject.decide("anna") for _ in range(100)]
        tasks: list[asyncio.Task[object]] = []
        for number, decision in enumerate(decisions):
            tasks.append(asyncio.create_task(subject.reward(decision, 0.5)))
            tasks.append(asyncio.create_task(subject.reward_legacy("anna", 0.25)))
            if number == 50:
                await asyncio.sleep(0)
                tasks.append(asyncio.create_task(subject.store.erase("anna", "tests")))
                await asyncio.sleep(0)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        failures = {type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)}
        assert failures <= {UnknownDecisionError}
        for decision in decisions:
            assert await subject.store.find_decision(decision.decision_id) is None
        live = await subject.store.load_profile("anna")
        state = await subject.state("anna")
        with ledger_of(tmp_path) as ledger:
            assert ledger.execute("SELECT count(*) FROM decisions").fetchone() == (0,)
            assert ledger.execute("SELECT count(*) FROM rewards").fetchone() == (state.reward_count,)
    assert_same(live, await rebuild_profile(tmp_path, "anna"))


async def test_no_document_of_an_erased_user_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round of checkpoints that began before an erasure writes nothing of that user after it."""
    names = [f"user-{number}" for number in range(100)]
    async with Subject(make_embedded(tmp_path, BUSY)) as subject:
        for name in names:
            await subject.store.load_profile(name)
        with hold_calls(monkeypatch, Documents, "write") as gate:
            await asyncio.gather(*(subject.decide(name) for name in names))
            await asyncio.to_thread(gate.reached.wait, 60)
            erasures = [asyncio.create_task(subject.store.erase(name, "tests")) for name in names]
            await asyncio.sleep(0.01)
        await asyncio.gather(*erasures)
        await asyncio.sleep(0.05)
        assert documents_in(tmp_path) == []


@pytest.mark.parametrize("gives", [True, False])
async def test_a_decision_that_is_handed_over_is_rewarded_as_one_that_is_looked_up(tmp_path: Path, gives: bool) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        decision = await subject.decide("anna")
        found = subject.store.get_cached_decision(decision.decision_id)
        assert found is not None
        ways = [subject.store.reward(subject.reward_of(decision, 0.5), found if gives else None) for _ in range(2)]
        first, again = [await each for each in ways]
        assert (first.match, again.match) == ("new", "decision")
        assert again.reward is first.reward
        live, state = await subject.store.load_profile("anna"), await subject.state("anna")
        assert state.reward_count == 1
    assert_same(live, await rebuild_profile(tmp_path, "anna"))


async def test_a_key_spent_while_a_user_was_loading_is_honoured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.store.load_profile("anna")
        with hold_calls(monkeypatch, Documents, "read") as gate:
            late = asyncio.create_task(subject.reward_legacy("berta", key=("route", "key")))
            await asyncio.to_thread(gate.reached.wait, 60)
            first = await subject.reward_legacy("anna", key=("route", "key"))
        outcome = await late
        assert (outcome.match, outcome.reward.seq) == ("key", first.reward.seq)
        assert (await subject.state("berta")).reward_count == 0


async def test_who_gives_up_waiting_takes_nobody_along(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        decision = await subject.decide("anna")
        first = asyncio.create_task(subject.reward(decision, 0.5))
        await asyncio.sleep(0)
        second = asyncio.create_task(subject.reward(decision, 0.5))
        chosen = asyncio.create_task(subject.decide("anna", own_id="mine"))
        again = asyncio.create_task(subject.decide("anna", own_id="mine"))
        await asyncio.sleep(0)
        first.cancel()
        chosen.cancel()
        assert (await second).match in {"new", "decision"}
        assert (await again).decision_id == "mine"
        state = await subject.state("anna")
        assert (state.pulls, state.reward_count) == (2, 1)


async def test_a_reward_that_waited_teaches_who_is_in_memory_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a reward looks for its decision, its user may be evicted and loaded again."""
    async with Subject(make_embedded(tmp_path, replace(BUSY, max_warm_users=1))) as subject:
        decision = await subject.decide("anna")
        await subject.reopen()
        with hold_calls(monkeypatch, decisions, "find_decision") as gate:
            reward = asyncio.create_task(subject.reward(decision, 0.5))
            await asyncio.to_thread(gate.reached.wait, 60)
            await subject.store.load_profile("berta")
            await subject.store.load_profile("carla")
            await wait_until_settled(lambda: subject.store.get_cached_profile("anna") is None)
            await subject.decide("anna")
        await reward
        state = await subject.state("anna")
        assert (state.pulls, state.reward_count) == (2, 1)


async def test_a_reward_that_waited_finds_an_erased_decision_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        decision = await subject.decide("anna")
        await subject.reopen()
        await subject.store.load_profile("anna")
        with hold_calls(monkeypatch, decisions, "find_decision") as gate:
            reward = asyncio.create_task(subject.reward(decision, 0.5))
            await asyncio.to_thread(gate.reached.wait, 60)
            await subject.store.erase("anna", "tests")
            await subject.reward_legacy("anna", 0.25)
        with pytest.raises(UnknownDecisionError):
            await reward
        state = await subject.state("anna")
        assert (state.pulls, state.reward_count) == (0, 1)


async def test_a_decision_spent_while_it_was_looked_up_gives_its_reward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up that the ledger answered before another's reward was committed is not believed."""
    monkeypatch.setattr("bandstand.store.embedded.decision_log._MAX_RECENT_DECISIONS", 1)
    async with Subject(make_embedded(tmp_path)) as subject:
        decision = await subject.decide("anna")
        await subject.decide("anna")
        found, gate = decisions.find_decision, Gate()

        def held_once(*arguments: Any) -> object:
            answer = found(*arguments)
            if not gate.reached.is_set():
                gate.wait()
            return answer

        monkeypatch.setattr(decisions, "find_decision", held_once)
        late = asyncio.create_task(subject.reward(decision, 0.5))
        await asyncio.to_thread(gate.reached.wait, 60)
        first = await subject.reward(decision, 0.5)
        await subject.decide("anna")
        gate.opened.set()
        outcome = await late
        assert (outcome.match, outcome.reward.seq) == ("decision", first.reward.seq)
        assert (await subject.state("anna")).reward_count == 1


async def test_a_decision_that_was_read_before_it_changed_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, go_on, delayed = StateDirectory.read, asyncio.Event(), list[object]()

    async def read_slowly(directory: StateDirectory, query: Any, *args: Any) -> Any:
        found = await read(directory, query, *args)
        if query is decisions.find_decision and not delayed:
            delayed.append(found)
            await go_on.wait()
        return found

    async with Subject(make_embedded(tmp_path)) as subject:
        decision = await subject.decide("anna")
        await subject.reopen()
        monkeypatch.setattr(StateDirectory, "read", read_slowly)
        reading = asyncio.create_task(subject.store.find_decision(decision.decision_id))
        await wait_until_settled(lambda: bool(delayed))
        await subject.reward(decision, 0.5)
        known = await subject.store.find_decision(decision.decision_id)
        assert known is not None
        subject.store._decisions.forget(known)  # type: ignore[attr-defined]  # noqa: SLF001 (as a refused reward does)
        go_on.set()
        found = await reading
        assert found is not None
        assert found.reward is not None, "it was rewarded meanwhile"
