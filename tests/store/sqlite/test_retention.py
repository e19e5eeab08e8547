"""Retention: what it takes away, and what must not come of that."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from bandstand.errors import UnknownDecisionError
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.learners import replay
from bandstand.store.learners.documents import Documents
from bandstand.store.maintenance.offline import open_owned
from bandstand.store.sqlite import retention
from bandstand.store.sqlite.schema import connect
from bandstand.store.tables.decisions import find_uid
from bandstand.store.tables.policies import PolicyRegistry
from bandstand.store.tables.undo import Selection
from tests.store.given import DAY, NOON, QUICK, Subject, assert_same, documents_in, ledger_of, make_embedded
from tests.store.populated import Served, catalogue_of, load_states, serve_users, trim_directory

FIVE_DAYS = replace(QUICK, retention_days=5)


async def test_a_document_from_before_the_baseline_is_not_believed_though_its_event_is_still_there(
    tmp_path: Path,
) -> None:
    """A decision outlives its time while its reward has not reached it; events after it do not."""
    async with Served(tmp_path) as served:
        late = await served.decide("anna")
    old = Documents(tmp_path).path("anna").read_bytes()
    async with Served(tmp_path, days=1) as served:
        await served.live_history("anna", rounds=8)
    async with Served(tmp_path, days=20) as served:
        await served.reward(late)
        live = await served.profile("anna")
    trim_directory(tmp_path, NOON + 5 * DAY)
    Documents(tmp_path).path("anna").write_bytes(old)  # a process killed before its next checkpoint leaves this one
    async with Served(tmp_path) as served:
        assert_same(live, await served.profile("anna"))
    assert_same(live, load_states(tmp_path)["anna"])


async def test_a_user_erased_while_their_baseline_was_made_leaves_no_word(tmp_path: Path) -> None:
    await serve_users(tmp_path, "anna", "bob")
    connection = connect(tmp_path / "ledger.db")
    registry = PolicyRegistry(catalogue_of())
    registry.load(connection)
    uid = find_uid(connection, "anna")
    assert uid is not None
    state = replay.rebuild_profile(connection, registry, uid, "anna")
    async with Served(tmp_path) as served:
        await served.store.erase("anna", "tests")
    retention.trim_user(connection, uid, state, state.seq, seq=state.seq + (1 << 30), ts=NOON)
    connection.close()
    with ledger_of(tmp_path) as ledger:
        assert ledger.execute("SELECT count(*) FROM marks WHERE kind = 'baseline'").fetchone() == (0,)
        assert ledger.execute("SELECT count(*) FROM marks WHERE uid = ?", (uid,)).fetchone() == (0,)


# ── what stays as it was ──────────────────────────────────────────────────────────────────────────────────────────────


def store_of(subject: Subject) -> EmbeddedStore:
    """The store, which is one that trims."""
    assert isinstance(subject.store, EmbeddedStore)
    return subject.store


def count_rows(state_dir: Path, table: str) -> int:
    with ledger_of(state_dir) as ledger:
        return int(ledger.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 (a name of the test's)


async def test_trimming_moves_no_state(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path, FIVE_DAYS)) as subject:
        for _ in range(10):
            for policy in ("linucb-v1", "egreedy-v1", "linucb-v2"):
                await subject.reward(
                    await subject.decide("anna", policy, exploring=True), subject.random.uniform(-1, 1)
                )
                await subject.reward_legacy("anna", subject.random.uniform(-1, 1), policy=policy)
            subject.clock.now += DAY
        before = (await subject.store.load_profile("anna")).copy()
        for _ in range(3):
            subject.clock.now += 2 * DAY
            rows = count_rows(tmp_path, "decisions")
            assert await store_of(subject).apply_retention() == 1
            assert count_rows(tmp_path, "decisions") < rows
            assert_same(before, await subject.store.load_profile("anna"))
            await subject.store.close()
            for path in documents_in(tmp_path):
                path.unlink()
            await subject.reopen()
            assert_same(before, await subject.store.load_profile("anna"))
        subject.clock.now += 10 * DAY
        await store_of(subject).apply_retention()
        assert await store_of(subject).apply_retention() == 0, "there is nothing left to trim"
        await subject.reopen()
        assert_same(before, await subject.store.load_profile("anna"))
        await subject.reward_legacy("anna", 0.5)
        await subject.reopen()
        assert (await subject.state("anna")).reward_count == before.policies["linucb-v2", "tips-v2"].reward_count + 1
    assert count_rows(tmp_path, "decisions") == 0
    assert count_rows(tmp_path, "marks WHERE kind = 'baseline'") == 1


async def test_a_decision_whose_reward_came_later_is_kept_until_that_goes_too(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path, FIVE_DAYS)) as subject:
        late, never = await subject.decide("anna", own_id="late"), await subject.decide("anna", own_id="never")
        subject.clock.now += 4 * DAY
        await subject.reward(late, 0.5)
        subject.clock.now += 2 * DAY
        assert await store_of(subject).apply_retention() == 1
        assert await subject.store.find_receipt("late") is not None
        assert await subject.store.find_receipt("never") is None
        assert [entry.seq for entry in await subject.store.list_history("anna", 100)] == [late.seq]
        assert await store_of(subject).apply_retention() == 0, "what is kept is not overdue"
        await subject.reopen()
        assert (await subject.reward(late, 0.5)).match == "decision"
        subject.clock.now += 4 * DAY
        assert await store_of(subject).apply_retention() == 1
        assert await subject.store.find_receipt("late") is None
        state = await subject.state("anna")
        assert (state.pulls, state.reward_count) == (2, 1)
    assert never.seq > late.seq
    for table in ("decisions", "decision_ids", "rewards"):
        assert count_rows(tmp_path, table) == 0


@pytest.mark.parametrize("reopened", [False, True])
async def test_a_trimmed_decision_takes_no_reward(tmp_path: Path, *, reopened: bool) -> None:
    async with Subject(make_embedded(tmp_path, FIVE_DAYS)) as subject:
        decision = await subject.decide("anna")
        subject.clock.now += 10 * DAY
        await store_of(subject).apply_retention()
        if reopened:
            await subject.reopen()
        with pytest.raises(UnknownDecisionError):
            await subject.reward(decision)
        live = await subject.store.load_profile("anna")
        await subject.reopen()
        assert_same(live, await subject.store.load_profile("anna"))


async def test_rewards_racing_a_trim_end_consistent(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path, FIVE_DAYS)) as subject:
        for _ in range(5):
            decisions = [await subject.decide(f"user-{number}") for number in range(40)]
            await subject.reopen()
            subject.clock.now += 10 * DAY
            trimming = asyncio.create_task(store_of(subject).apply_retention())
            outcomes: list[object] = []
            for decision in decisions:
                outcomes += await asyncio.gather(subject.reward(decision, 0.5), return_exceptions=True)
            await trimming
            refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            assert {type(outcome) for outcome in refused} <= {UnknownDecisionError}
        live = [(await subject.store.load_profile(f"user-{number}")).copy() for number in range(40)]
        await subject.store.close()
        for path in documents_in(tmp_path):
            path.unlink()
        await subject.reopen()
        for number in range(40):
            assert_same(live[number], await subject.store.load_profile(f"user-{number}"))


async def test_a_reset_is_remembered_though_it_is_long_past(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path, FIVE_DAYS)) as subject:
        before = await subject.decide("anna")
        await subject.decide("anna")
        subject.clock.now += 60
        await subject.store.reset("anna", "tests")
        subject.clock.now += 4 * DAY
        assert not (await subject.reward(before, 0.5)).reward.applied
        subject.clock.now += 3 * DAY
        await subject.decide("anna")
        assert await store_of(subject).apply_retention() == 1
        for _ in range(2):
            assert before.seq not in [entry.seq for entry in await subject.store.list_history("anna", 100)]
            assert (await subject.state("anna")).pulls == 1
            assert (await subject.state("anna")).reward_count == 0
            await subject.reopen()


async def test_without_retention_everything_is_kept(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.reward(await subject.decide("anna"))
        subject.clock.now += 36_500 * DAY
        assert await store_of(subject).apply_retention() == 0
        assert len(await subject.store.list_history("anna", 100)) == 1


@pytest.mark.parametrize("options", [QUICK, FIVE_DAYS], ids=["kept for ever", "trimmed"])
async def test_keys_are_forgotten_after_seven_days(tmp_path: Path, options: StoreOptions) -> None:
    async with Subject(make_embedded(tmp_path, replace(options, retention_days=2 * options.retention_days))) as subject:
        first = await subject.reward_legacy("anna", 0.5, key=("route", "key"))
        subject.clock.now += 7 * DAY - 60
        await store_of(subject).apply_retention()
        again = await subject.reward_legacy("anna", 0.5, key=("route", "key"))
        assert (again.match, again.reward.seq) == ("key", first.reward.seq)
        subject.clock.now += 120
        await store_of(subject).apply_retention()
        assert (await subject.reward_legacy("anna", 0.5, key=("route", "key"))).match == "new"
        assert (await subject.state("anna")).reward_count == 2


async def test_a_key_outlives_the_reward_that_it_came_with(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path, replace(QUICK, retention_days=1))) as subject:
        decision = await subject.decide("anna", own_id="mine")
        given = (await subject.reward(decision, 0.5, key=("route", "one"))).reward
        await subject.reward_legacy("anna", 0.25, key=("route", "erased"))
        taken_back = (await subject.reward_legacy("bob", 0.25, key=("route", "two"))).reward
        await subject.store.revoke([taken_back.seq], cause="test", client="tests")
        await subject.reward_legacy("anna", 0.75)
        live = (await subject.store.load_profile("anna")).copy()
        subject.clock.now += 7 * DAY - 60
        await store_of(subject).apply_retention()
        await subject.reopen()
        assert await store_of(subject).apply_retention() == 0, "what is kept is not overdue"
        assert count_rows(tmp_path, "rewards") == 0
        again = await subject.reward(decision, 0.5, key=("route", "one"))
        assert again.match == "key"
        assert (again.reward.policy, again.reward.value, again.reward.applied) == (given.policy, 0.5, True)
        assert again.reward.body_hash == given.body_hash
        revoked = (await subject.reward_legacy("bob", 0.25, key=("route", "two"))).reward
        assert (revoked.applied, revoked.reason) == (False, "revoked")
        assert_same(live, await subject.store.load_profile("anna"))
        await subject.store.erase("anna", "tests")
        assert count_rows(tmp_path, "idempotency") == count_rows(tmp_path, "past_rewards") == 1
        subject.clock.now += 120
        await store_of(subject).apply_retention()
        assert count_rows(tmp_path, "idempotency") == count_rows(tmp_path, "past_rewards") == 0
        assert (await subject.reward_legacy("bob", 0.25, key=("route", "two"))).match == "new"


async def test_retention_is_applied_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandstand.store.embedded.retention._INTERVAL_S", 0.01)
    async with Subject(make_embedded(tmp_path, QUICK)) as subject:
        await subject.decide("anna")
        subject.clock.now += 10 * DAY
        await subject.decide("bob")
    subject = Subject(make_embedded(tmp_path, FIVE_DAYS))
    subject.clock.now += 10 * DAY
    async with subject:
        async with asyncio.timeout(60):
            while await subject.store.list_history("anna", 100):  # noqa: ASYNC110 (upkeep has no event to await)
                await asyncio.sleep(0.01)
        assert (await subject.state("anna")).pulls == 1


# ── in small transactions ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rounds", [0, 1, 4, 9])
async def test_a_trim_that_a_killed_process_began_moves_no_state_and_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    monkeypatch.setattr("bandstand.store.sqlite.sweep._BUDGET_S", 0.0)
    live = await serve_users(tmp_path, "anna", "bob")
    with open_owned(tmp_path, catalogue_of()) as state:
        uid = find_uid(state.connection, "anna")
        assert uid is not None
        cutoff = state.build_sequence().last
        kept = replay.rebuild_profile(state.connection, state.registry, uid, "anna", cutoff)
        retention.begin_trim(state.connection, uid, kept, cutoff, state.build_sequence().next(NOON), NOON)
        sweeper = retention.build_trim_sweeper(uid, cutoff)
        for _ in range(rounds):
            sweeper.run(state.connection)
    for path in documents_in(tmp_path):
        path.unlink()
    assert_same(live["anna"], load_states(tmp_path)["anna"])
    async with Served(tmp_path) as served:
        for user_id in ("anna", "bob"):
            assert_same(live[user_id], await served.profile(user_id))
        given = await served.store.select_rewards(Selection(client="tests"))
        await served.store.revoke(given.revocable, cause="test", client="tests")  # of what is left, all can be read
        taken_back = await served.profile("anna")
    assert_same(taken_back, load_states(tmp_path)["anna"])
    trim_directory(tmp_path, NOON + 400 * DAY)
    assert_same(taken_back, load_states(tmp_path)["anna"])
    assert count_rows(tmp_path, "decisions") == count_rows(tmp_path, "rewards") == 0
    assert count_rows(tmp_path, "revocations") == 0


async def test_others_have_their_turn_while_a_user_is_trimmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandstand.store.sqlite.sweep._BUDGET_S", 0.0)
    async with Subject(make_embedded(tmp_path, FIVE_DAYS)) as subject:
        for _ in range(60):
            await subject.reward(await subject.decide("anna"), 0.5)
        live = (await subject.store.load_profile("anna")).copy()
        subject.clock.now += 10 * DAY
        trimming, between = asyncio.create_task(store_of(subject).apply_retention()), 0
        while not trimming.done():
            await subject.decide("berta")
            between += 1
        assert await trimming == 1
        assert between > 5
        await subject.reopen()
        assert_same(live, await subject.store.load_profile("anna"))
        assert (await subject.state("berta")).pulls == between
