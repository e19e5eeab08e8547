"""The embedded store beyond the common contract: threads, races, memory, shutdown."""

import asyncio
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bandstand.bandit.profile import Profile
from bandstand.errors import BandstandError, ConfigurationError, OverloadedError, StorageUnavailableError
from bandstand.store.embedded.retention import EmbeddedRetention
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.learners import event_times, replay
from bandstand.store.learners.documents import Documents
from bandstand.store.sqlite.log_sync import LogSync
from bandstand.store.sqlite.wal import WriteAheadLog
from bandstand.store.sqlite.writer import Writer
from tests.store.checks import HOSTILE_IDS
from tests.store.given import (
    BUSY,
    CATALOGUE,
    DAY,
    QUICK,
    Clock,
    Subject,
    assert_same,
    copy_as_killed,
    documents_in,
    files_in,
    hold_calls,
    make_embedded,
    wait_until_settled,
)

# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_id_leaves_the_state_directory(tmp_path: Path) -> None:
    state_dir = tmp_path / "deep" / "deeper" / "state"
    async with Subject(make_embedded(state_dir)) as subject:
        for user_id in HOSTILE_IDS:
            await subject.decide(user_id)
    documents = documents_in(state_dir)
    assert len(documents) == len(HOSTILE_IDS)
    assert files_in(tmp_path) == {state_dir / "ledger.db", state_dir / "lock", *documents}
    assert all(len(path.name) < 100 and path.name.isascii() and path.name.islower() for path in documents)


async def test_changed_users_are_written_in_the_background(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path, BUSY)) as subject:
        decision = await subject.decide("anna")
        await wait_until_settled(lambda: len(documents_in(tmp_path)) == 1)
        outcome = await subject.reward(decision)
        await wait_until_settled(lambda: Documents(tmp_path).read("anna").seq == outcome.reward.seq)  # type: ignore[union-attr]  # it is there
        await subject.store.load_profile("reader")
        await asyncio.sleep(0.05)
        assert len(documents_in(tmp_path)) == 1, "who only looked is not written"


async def test_a_document_left_behind_by_a_crash_is_brought_up(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path / "state")) as subject:
        await subject.reward_legacy("anna")
        await subject.reopen()
        await subject.reward_legacy("anna")
        crashed = copy_as_killed(tmp_path / "state", tmp_path / "crashed")
    async with Subject(make_embedded(crashed)) as survivor:
        seq = (await survivor.store.load_profile("anna")).seq
    document = Documents(crashed).read("anna")
    assert document is not None
    assert document.seq == seq


async def test_documents_that_cannot_be_written_cost_no_event(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("a file where the folder should be")
    async with Subject(make_embedded(tmp_path, replace(BUSY, max_warm_users=2))) as subject:
        for number in range(20):
            await subject.reward_legacy(f"user-{number}")
        await wait_until_settled(lambda: subject.store.status().warm_users <= 2)
        assert str(subject.store.status().last_error).startswith("checkpoint")
        assert (await subject.state("user-0")).reward_count == 1
        await subject.reopen()
        for number in range(20):
            assert (await subject.state(f"user-{number}")).reward_count == 1


@pytest.mark.parametrize("sync", [True, False])
async def test_what_must_outlive_a_power_cut_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, sync: bool
) -> None:
    commits: list[bool] = []

    async def keep_still(_: object) -> None:
        """Upkeep commits too, whenever it gets to it."""

    monkeypatch.setattr(WriteAheadLog, "run_upkeep", keep_still)
    monkeypatch.setattr(EmbeddedRetention, "run", keep_still)

    def make(clock: Clock) -> EmbeddedStore:
        options = replace(QUICK, sync=sync)
        return EmbeddedStore(
            tmp_path,
            CATALOGUE,
            options=options,
            clock=clock,
            observe=lambda _n, _seconds, synced: commits.append(synced),
        )

    async with Subject(make) as subject:
        decision = await subject.decide("anna")
        assert commits == [False]
        for event in (subject.reward(decision), subject.reward_legacy("anna"), subject.store.reset("anna", "tests")):
            commits.clear()
            await event
            assert commits == [sync]
        commits.clear()
        await subject.store.erase("anna", "tests")
        assert (commits[0], commits[-1]) == (sync, sync), "that it has begun, and that it is done"
        assert subject.store.status().durability == ("full" if sync else "process")


# ── loading and memory ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_loading_is_single_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: Counter[str] = Counter()
    read = Documents.read

    def count_calls(documents: Documents, user_id: str) -> Profile | None:
        reads[user_id] += 1
        return read(documents, user_id)

    async with Subject(make_embedded(tmp_path)) as subject:
        decisions = [await subject.decide("anna") for _ in range(20)]
        await subject.reopen()
        monkeypatch.setattr(Documents, "read", count_calls)
        profiles = await asyncio.gather(
            *(subject.store.load_profile("anna") for _ in range(20)),
            *(subject.store.load_profile("berta") for _ in range(20)),
        )
        assert len({id(profile) for profile in profiles}) == 2
        await asyncio.gather(*(subject.reward(decision) for decision in decisions))
        assert reads == {"anna": 1, "berta": 1}


async def test_a_load_given_up_by_one_is_finished_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.decide("anna")
        await subject.reopen()
        with hold_calls(monkeypatch, Documents, "read") as gate:
            first = asyncio.create_task(subject.store.load_profile("anna"))
            await asyncio.to_thread(gate.reached.wait, 60)
            second = asyncio.create_task(subject.store.load_profile("anna"))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait([first])
        assert len((await second).policies) == 1


async def test_a_failed_load_is_told_to_all_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.decide("anna")
        await subject.reopen()
        with monkeypatch.context() as patch:
            patch.setattr(replay, "restart_memories", _fail)
            outcomes = await asyncio.gather(
                *(subject.store.load_profile("anna") for _ in range(5)), return_exceptions=True
            )
        assert [type(outcome) for outcome in outcomes] == [StorageUnavailableError] * 5
        assert (await subject.state("anna")).pulls == 1


def _fail(*_: object) -> None:
    raise sqlite3.OperationalError("disk I/O error")


async def test_loading_sees_one_moment_of_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention that strikes between two questions of one load takes nothing away from the user."""
    async with Subject(make_embedded(tmp_path, replace(QUICK, retention_days=5))) as subject:
        await subject.reward_legacy("anna", 0.25)
        await subject.reopen()
        (document,) = documents_in(tmp_path)
        checkpoint = document.read_bytes()
        await subject.reward_legacy("anna", 0.25)
        await subject.store.close()
        document.write_bytes(checkpoint)
        await subject.reopen()
        loop = asyncio.get_running_loop()
        store = subject.store
        assert isinstance(store, EmbeddedStore)
        assert await store.apply_retention() == 0  # the store's own, at its start, has looked at the clock by now
        dates, trimmed = event_times.is_dated_ahead, []

        def trim_meanwhile(connection: sqlite3.Connection, uid: int, profile: Profile) -> bool:
            found = dates(connection, uid, profile)
            subject.clock.now += 10 * DAY
            trimmed.append(asyncio.run_coroutine_threadsafe(store.apply_retention(), loop).result(10))
            return found

        monkeypatch.setattr(event_times, "is_dated_ahead", trim_meanwhile)
        assert (await subject.state("anna")).reward_count == 2
        assert trimmed == [1]


async def test_few_users_stay_warm_and_all_keep_their_state(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path, replace(BUSY, max_warm_users=3))) as subject:
        for round_ in range(3):
            for number in range(30):
                await subject.reward(await subject.decide(f"user-{number}"), 0.5)
            await wait_until_settled(lambda: subject.store.status().warm_users <= 3)
            for number in range(30):
                state = await subject.state(f"user-{number}")
                assert (state.pulls, state.reward_count) == (round_ + 1, round_ + 1)


async def test_a_user_with_events_in_flight_is_not_evicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Subject(make_embedded(tmp_path, replace(BUSY, max_warm_users=1, sync=True))) as subject:
        await subject.decide("anna")
        with hold_calls(monkeypatch, LogSync, "sync") as gate:
            reward = asyncio.create_task(subject.reward_legacy("anna"))
            await asyncio.to_thread(gate.reached.wait, 60)
            for number in range(20):
                await subject.store.load_profile(f"user-{number}")
            await wait_until_settled(lambda: subject.store.status().warm_users <= 2)
            assert subject.store.get_cached_profile("anna") is not None
            assert not reward.done()
        await reward
        assert (await subject.state("anna")).reward_count == 1


async def test_many_users_in_little_memory_lose_nothing(tmp_path: Path) -> None:
    names = [f"user-{number}" for number in range(20)]
    async with Subject(make_embedded(tmp_path, replace(BUSY, max_warm_users=1))) as subject:
        for _ in range(10):
            await asyncio.gather(*(subject.decide(name) for name in names for _ in range(3)))
        for name in names:
            assert (await subject.state(name)).pulls == 30
        await wait_until_settled(lambda: subject.store.status().warm_users <= 1)


async def test_decisions_that_left_memory_are_found_in_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bandstand.store.embedded.decision_log._MAX_RECENT_DECISIONS", 4)
    async with Subject(make_embedded(tmp_path)) as subject:
        decisions = [await subject.decide("anna", own_id=f"mine-{n}" if n % 2 else None) for n in range(30)]
        outcomes = await asyncio.gather(*(subject.reward(decision, 0.5) for decision in decisions * 3))
        assert Counter(outcome.match for outcome in outcomes) == {"new": 30, "decision": 60}
        assert (await subject.state("anna")).reward_count == 30
        assert (await subject.decide("anna", own_id="mine-1")).seq == decisions[1].seq


# ── load and shutdown ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_overload_refuses_and_loses_nothing_it_took(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path, replace(BUSY, max_pending=5))) as subject:
        await subject.store.load_profile("anna")
        outcomes = await asyncio.gather(*(subject.decide("anna") for _ in range(50)), return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert {type(outcome) for outcome in refused} == {OverloadedError}
        assert 5 <= (await subject.state("anna")).pulls == 50 - len(refused)
        assert subject.store.status().pending == 0
        await subject.decide("anna")
        await subject.reopen()
        assert (await subject.state("anna")).pulls == 51 - len(refused)


@pytest.mark.parametrize("interval", ["embedded.retention._INTERVAL_S", "sqlite.wal._INTERVAL"])
async def test_upkeep_outlives_an_overload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: str) -> None:
    calls = 0

    async def raise_overloaded(*_: object, **_options: object) -> None:
        nonlocal calls
        calls += 1
        raise OverloadedError("busy")

    for name in ("embedded.retention._INTERVAL_S", "sqlite.wal._INTERVAL"):
        monkeypatch.setattr(f"bandstand.store.{name}", 0.001 if name == interval else 3600.0)
    monkeypatch.setattr("bandstand.store.sqlite.wal._LIMIT", 0)
    monkeypatch.setattr(Writer, "call", raise_overloaded)
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.decide("anna")
        await wait_until_settled(lambda: calls > 5)


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20])
async def test_closing_settles_every_event_it_accepted(tmp_path: Path, turns: int) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        decisions = [await subject.decide("anna") for _ in range(200)]
        tasks = [asyncio.create_task(subject.reward(decision, 0.5)) for decision in decisions]
        for _ in range(turns):
            await asyncio.sleep(0)
        await subject.store.close()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert {type(outcome) for outcome in refused} <= {StorageUnavailableError}
        await subject.store.open()
        assert (await subject.state("anna")).reward_count == 200 - len(refused)
        for decision, outcome in zip(decisions, outcomes, strict=True):
            kept = await subject.store.find_receipt(decision.decision_id)
            assert kept is not None
            assert (kept.reward is None) == isinstance(outcome, BaseException)


async def test_a_closed_store_refuses_in_words(tmp_path: Path) -> None:
    subject = Subject(make_embedded(tmp_path))
    async with subject:
        decision = await subject.decide("anna")
    store = subject.store
    await store.close()  # again
    for attempt in (
        store.load_profile("berta"),
        store.find_decision("mine"),
        store.list_users("", 0, 1),
        subject.reward(decision),
    ):
        with pytest.raises(BandstandError):
            await attempt


async def test_what_is_opened_again_believes_the_ledger_and_what_cannot_be_refuses_as_closed(tmp_path: Path) -> None:
    subject = Subject(make_embedded(tmp_path))
    async with subject:
        decision = await subject.decide("anna")
        await subject.reward(decision)
    async with Subject(make_embedded(tmp_path)) as other:
        with pytest.raises(ConfigurationError):  # its directory is another's
            await subject.store.open()
        with pytest.raises(StorageUnavailableError):
            await subject.decide("anna")
        await other.store.reset("anna", "ops")
        await other.reward(await other.decide("berta"))
    async with subject:
        assert (await subject.store.load_profile("anna")).reset_seq > decision.seq
        assert subject.store.get_cached_profile("berta") is None
        await subject.reward(await subject.decide("berta"))
        (learned,) = (await subject.store.load_profile("berta")).policies.values()
        assert learned.reward_count == 2


async def test_documents_are_current_after_closing(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        for number in range(70):
            await subject.reward(await subject.decide(f"user-{number}"))
        profiles = [await subject.store.load_profile(f"user-{number}") for number in range(70)]
    for profile in profiles:
        document = Documents(tmp_path).read(profile.user_id)
        assert document is not None
        assert document.seq == profile.seq
        assert_same(profile, document)
    assert not (tmp_path / "ledger.db-wal").exists()


async def test_a_user_who_only_had_tips_written_needs_no_document(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.generate("anna")
        for _ in range(3):
            await subject.reopen()
            assert (await subject.store.load_profile("anna")).policies == {}
        assert documents_in(tmp_path) == []
        assert subject.store.status().quarantined == 0
