"""The ledger's file: made once, checked afterwards; and the decision that a legacy reward most likely answers."""

import sqlite3
from pathlib import Path

import pytest

from bandstand.bandit.errors import ConfigurationError
from bandstand.store.ledger import SCHEMA_VERSION, connect, create, last_seq
from tests.store.given import DAY, Subject, embedded, killed, ledger_of


def linked(state_dir: Path) -> list[int | None]:
    """What each legacy reward was linked to, in the order in which they came."""
    with ledger_of(state_dir) as ledger:
        query = "SELECT linked_seq FROM rewards WHERE features IS NOT NULL ORDER BY seq"
        return [seq for (seq,) in ledger.execute(query)]


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_ledger_has_a_secret_and_an_old_one_keeps_it(tmp_path: Path) -> None:
    secrets = []
    for _ in range(2):
        connection = connect(tmp_path / "ledger.db")
        create(connection)
        secrets += connection.execute("SELECT value FROM meta WHERE key = 'secret'").fetchall()
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert last_seq(connection) == 0
        connection.close()
    assert secrets[0] == secrets[1]
    assert len(secrets[0][0]) == 32


def test_two_ledgers_have_two_secrets(tmp_path: Path) -> None:
    found = set()
    for name in ("one", "other"):
        connection = connect(tmp_path / name)
        create(connection)
        found.add(connection.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()[0])
        connection.close()
    assert len(found) == 2


@pytest.mark.parametrize("cut", range(0, 200_000, 4096))
def test_a_ledger_killed_while_it_was_made_is_made_again(tmp_path: Path, cut: int) -> None:
    """The tables and the secret come in one commit: there is no ledger with half of them."""
    (tmp_path / "made").mkdir()
    connection = connect(tmp_path / "made" / "ledger.db")
    create(connection)
    crashed = killed(tmp_path / "made", tmp_path / "crashed")
    connection.close()
    wal = crashed / "ledger.db-wal"
    wal.write_bytes(wal.read_bytes()[:cut])
    connection = connect(crashed / "ledger.db")
    create(connection)
    assert len(connection.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()[0]) == 32
    connection.close()


async def test_a_ledger_of_a_newer_format_is_refused_untouched(tmp_path: Path) -> None:
    async with Subject(embedded(tmp_path)) as subject:
        await subject.decide("anna")
    with ledger_of(tmp_path) as ledger:
        ledger.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(ConfigurationError, match=f"format {SCHEMA_VERSION + 1}"):
        await subject.reopen()
    with ledger_of(tmp_path) as ledger:
        assert ledger.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
        ledger.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    await subject.reopen()
    assert (await subject.state("anna")).pulls == 1
    await subject.store.close()


def test_a_reading_connection_cannot_write(tmp_path: Path) -> None:
    writing = connect(tmp_path / "ledger.db")
    create(writing)
    reading = connect(tmp_path / "ledger.db", read_only=True)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reading.execute("INSERT INTO meta VALUES ('key', 'value')")
    reading.close()
    writing.close()


# ── links of legacy rewards ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_legacy_reward_is_linked_to_the_newest_decision_that_it_may_answer(tmp_path: Path) -> None:
    async with Subject(embedded(tmp_path)) as subject:
        made = [await subject.decide("anna", tip_id="tip") for _ in range(3)]
        await subject.decide("anna", tip_id="another tip")
        await subject.decide("anna", "linucb-v1", tip_id="tip")
        await subject.decide("berta", tip_id="tip")
        for _ in range(4):
            await subject.teach("anna", tip_id="tip")
    assert linked(tmp_path) == [made[2].seq, made[1].seq, made[0].seq, None]


async def test_a_rewarded_decision_is_not_linked(tmp_path: Path) -> None:
    async with Subject(embedded(tmp_path)) as subject:
        older, newer = await subject.decide("anna", tip_id="tip"), await subject.decide("anna", tip_id="tip")
        await subject.reward(newer)
        await subject.teach("anna", tip_id="tip")
    assert linked(tmp_path) == [older.seq]


async def test_a_decision_older_than_a_day_is_not_linked(tmp_path: Path) -> None:
    async with Subject(embedded(tmp_path)) as subject:
        await subject.decide("anna", tip_id="early")
        subject.clock.now += 2
        decision = await subject.decide("anna", tip_id="late")
        subject.clock.now += DAY - 1
        await subject.teach("anna", tip_id="early")
        await subject.teach("anna", tip_id="late")
    assert linked(tmp_path) == [None, decision.seq]


async def test_a_decision_of_the_same_group_is_linked(tmp_path: Path) -> None:
    async with Subject(embedded(tmp_path)) as subject:
        await subject.store.profile("anna")
        decision = subject.decision("anna", tip_id="tip")
        await subject.store.decide(decision)
        rewards = [subject.legacy("anna", tip_id="tip") for _ in range(2)]
        for reward in rewards:
            await subject.store.reward(reward)
    assert linked(tmp_path) == [decision.seq, None]


async def test_a_link_teaches_nothing_and_spends_nothing(tmp_path: Path) -> None:
    async with Subject(embedded(tmp_path)) as subject:
        decision = await subject.decide("anna", tip_id="tip")
        await subject.teach("anna", tip_id="tip")
        receipt = await subject.store.receipt(decision.decision_id)
        assert receipt is not None
        assert receipt.reward is None
        assert (await subject.reward(decision)).match == "new"
        assert (await subject.state("anna")).reward_count == 2
