"""Erasure: no byte of the user stays in the files that the store keeps."""

import asyncio
from pathlib import Path

import pytest

from bandstand.store.learners.documents import Documents
from bandstand.store.learners.erasure import begin_erasure, build_sweeper, compute_tombstone
from bandstand.store.maintenance.offline import open_owned
from bandstand.store.sqlite.schema import find_last_seq
from bandstand.store.tables.undo import Selection
from tests.store.given import CATALOGUE, NOON, QUICK, Subject, assert_same, files_in, ledger_of, make_embedded

SECRET = "zebra-quilt-9417"


def find_mentions(state_dir: Path) -> list[str]:
    """Files in which the user's id or tip can be read."""
    return sorted(path.name for path in files_in(state_dir) if SECRET.encode() in path.read_bytes())


async def test_no_byte_of_an_erased_user_stays(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        for number in range(50):
            for user_id in (SECRET, "berta"):
                decision = await subject.decide(user_id, own_id=f"{user_id}-{number}", tip_id=f"{user_id}-tip")
                await subject.reward(decision, key=("route", f"{user_id}-{number}"))
                await subject.reward_legacy(user_id, tip_id=f"{user_id}-tip")
        await subject.store.reset(SECRET, "tests")
        await subject.generate(SECRET, f"{SECRET}-tip")
        await subject.reopen()
        await subject.decide(SECRET)
        Documents(tmp_path).set_aside(SECRET)
        await subject.decide(SECRET)
        assert set(find_mentions(tmp_path)) >= {"ledger.db", "ledger.db-wal"}
        assert any("json" in name for name in find_mentions(tmp_path))
        berta = await subject.store.load_profile("berta")
        erasure = await subject.store.erase(SECRET, "tests")
        assert (erasure.decisions, erasure.rewards, erasure.marks, erasure.documents) == (52, 100, 1, 1)
        assert find_mentions(tmp_path) == []
        await subject.reopen()
        assert find_mentions(tmp_path) == []
        assert_same(berta, await subject.store.load_profile("berta"))
        assert len(await subject.store.list_history("berta", 100)) == 50


async def test_a_tombstone_names_nobody_and_says_who_erased(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.decide(SECRET)
        await subject.store.erase(SECRET, "the office")
        secret = subject.store.secret
    with ledger_of(tmp_path) as ledger:
        assert ledger.execute("SELECT user_hash FROM tombstones").fetchall() == [(compute_tombstone(secret, SECRET),)]
        assert ledger.execute("SELECT uid, kind, client, document FROM marks").fetchall() == [
            (None, "erasure", "the office", None)
        ]


def test_a_tombstone_cannot_be_recognised_without_the_secret() -> None:
    assert compute_tombstone(b"one", SECRET) == compute_tombstone(b"one", SECRET)
    assert len({compute_tombstone(key, user) for key in (b"one", b"other") for user in ("anna", "berta")}) == 4


async def test_a_document_that_comes_back_from_a_backup_is_discarded(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.reward_legacy("anna", 0.5)
        await subject.reopen()
        path = Documents(tmp_path).path("anna")
        backup = path.read_bytes()
        await subject.store.erase("anna", "tests")
        await subject.store.close()
        path.write_bytes(backup)
        await subject.reopen()
        assert (await subject.store.load_profile("anna")).policies == {}
        assert not path.exists(), "discarded, for the user wanted it gone: a quarantine would keep it"
        assert subject.store.status().quarantined == 0
        assert files_in(tmp_path / "quarantine") == set()


async def test_an_old_document_does_not_hide_what_the_user_did_since(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.reward_legacy("anna", 0.5)
        await subject.reopen()
        path = Documents(tmp_path).path("anna")
        backup = path.read_bytes()
        await subject.store.erase("anna", "tests")
        await subject.reward_legacy("anna", 0.25)
        await subject.store.close()
        path.write_bytes(backup)
        await subject.reopen()
        state = await subject.state("anna")
        assert (state.reward_count, state.cumulative_reward) == (1, 0.25)


@pytest.mark.parametrize("reopened", [False, True])
async def test_no_other_user_inherits_from_an_erased_one(tmp_path: Path, *, reopened: bool) -> None:
    """The last user's key may be given again; nothing may hang on it."""
    async with Subject(make_embedded(tmp_path, QUICK)) as subject:
        decision = await subject.decide("anna")
        await subject.reward_legacy("anna", 0.5)
        await subject.store.erase("anna", "tests")
        if reopened:
            await subject.reopen()
        await subject.decide("berta")
        assert [entry.user_id for entry in await subject.store.list_history("berta", 100)] == ["berta"]
        state = await subject.state("berta")
        assert (state.pulls, state.reward_count) == (1, 0)
        assert await subject.store.find_decision(decision.decision_id) is None


# ── in small transactions ─────────────────────────────────────────────────────────────────────────────────────────────


async def live_history(subject: Subject, user_id: str) -> None:
    """Something of every kind that hangs on a user."""
    for number in range(12):
        decision = await subject.decide(user_id, own_id=f"{user_id}-{number}")
        await subject.reward(decision, key=("route", f"{user_id}-{number}"))
        given = await subject.reward_legacy(user_id)
        await subject.take_turn(user_id)
        if number % 3 == 0:
            await subject.store.revoke([given.reward.seq], cause="test", client="tests")
    await subject.generate(user_id, f"{user_id}-tip")
    await subject.store.reset(user_id, "tests")


async def load_sums(subject: Subject) -> list[object]:
    """Everything that a store counts."""
    store = subject.store
    return [
        await store.load_loop_sums(30),
        await store.load_policy_totals(),
        await store.load_turn_totals(),
        await store.load_shadow_sums(),
        await store.load_prompt_totals(),
        await store.list_waiting(),
        await store.count_users(),
        await store.select_rewards(Selection(client="tests")),
    ]


def count_orphans(state_dir: Path) -> int:
    """Rows that hang on the key of nobody."""
    with ledger_of(state_dir) as ledger:
        tables = ("decisions", "rewards", "judgements", "verdicts", "revocations", "generations", "enrolments")
        query = "SELECT count(*) FROM {table} WHERE uid NOT IN (SELECT uid FROM users)"
        return sum(ledger.execute(query.format(table=table)).fetchone()[0] for table in tables)


async def begin_and_die(state_dir: Path, user_id: str, rounds: int) -> None:
    """Leave what a process leaves that was killed after so many transactions of an erasure."""
    Documents(state_dir).delete(user_id)
    with ledger_of(state_dir) as ledger:
        uid = ledger.execute("SELECT uid FROM users WHERE user_id = ?", (user_id,)).fetchone()[0]
        secret = bytes(ledger.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()[0])
        seq = find_last_seq(ledger) + 1
        tombstone = compute_tombstone(secret, user_id)
        assert begin_erasure(ledger, uid=uid, tombstone=tombstone, seq=seq, ts=NOON, client="x") == (True, 0)
        sweeper = build_sweeper(uid)
        for _ in range(rounds):
            sweeper.run(ledger)


@pytest.mark.parametrize("rounds", [0, 1, 5, 9])
async def test_what_a_killed_process_began_is_finished_before_anybody_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    monkeypatch.setattr("bandstand.store.sqlite.sweep._BUDGET_S", 0.0)
    monkeypatch.setattr("bandstand.store.learners.erasure.UnfinishedErasures.run", wait_for_ever)  # only when asked for
    async with Subject(make_embedded(tmp_path)) as subject:
        await live_history(subject, "berta")
        await live_history(subject, SECRET)
        berta = (await subject.store.load_profile("berta")).copy()
        await subject.store.close()
        await begin_and_die(tmp_path, SECRET, rounds)
        assert count_orphans(tmp_path) > 0
        await subject.reopen()
        assert await subject.store.list_history(SECRET, 100) == []
        assert (await subject.store.list_users("", 0, 10)).users == ["berta"]
        assert len(await subject.store.list_waiting()) == 12
        assert (await subject.store.select_rewards(Selection(client="tests"))).users <= 1
        assert (await subject.store.load_profile(SECRET)).policies == {}
        assert count_orphans(tmp_path) == 0
        await subject.store.erase("nobody", "tests")  # which empties the log
        assert find_mentions(tmp_path) == []
        assert_same(berta, await subject.store.load_profile("berta"))
        sums = await load_sums(subject)
    async with Subject(make_embedded(tmp_path / "at once")) as other:
        await live_history(other, "berta")
        await live_history(other, SECRET)
        await other.store.erase(SECRET, "tests")
        assert await load_sums(other) == sums


async def wait_for_ever(_: object) -> None:
    await asyncio.Event().wait()


async def test_what_a_killed_process_began_is_finished_by_itself(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await live_history(subject, SECRET)
        await subject.store.close()
        await begin_and_die(tmp_path, SECRET, 1)
        await subject.reopen()
        async with asyncio.timeout(60):
            while count_orphans(tmp_path) or find_mentions(tmp_path):  # noqa: ASYNC110 (upkeep has no event to await)
                await asyncio.sleep(0.01)


async def test_a_command_finishes_it_too(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await live_history(subject, SECRET)
    await begin_and_die(tmp_path, SECRET, 1)
    with open_owned(tmp_path, CATALOGUE):
        assert count_orphans(tmp_path) == 0


async def test_others_have_their_turn_while_a_user_is_erased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandstand.store.sqlite.sweep._BUDGET_S", 0.0)
    async with Subject(make_embedded(tmp_path)) as subject:
        await live_history(subject, SECRET)
        erasing = asyncio.create_task(subject.store.erase(SECRET, "tests"))
        between = 0
        while not erasing.done():
            await subject.decide("berta")
            between += 1
        assert (await erasing).decisions == 24
        assert between > 5
        assert (await subject.store.load_profile(SECRET)).policies == {}


async def test_no_new_user_gets_the_key_of_one_who_is_being_erased(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await live_history(subject, SECRET)
        await subject.store.close()
        await begin_and_die(tmp_path, SECRET, 0)
        await subject.reopen()
        await subject.decide("berta")
        assert len(await subject.store.list_history("berta", 100)) == 1
        assert (await subject.state("berta")).pulls == 1


async def test_a_prior_that_was_set_aside_and_names_the_user_goes_too(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.decide(SECRET)
        quarantine = tmp_path / "quarantine"
        quarantine.mkdir()
        (quarantine / "linucb-v2.json").write_text(f'{{"members":["anna","{SECRET}"]')
        (quarantine / "egreedy-v2.json").write_text('{"members":["anna"]')
        await subject.store.erase(SECRET, "tests")
        assert [path.name for path in quarantine.iterdir()] == ["egreedy-v2.json"]
