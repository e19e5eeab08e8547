"""The ledger's file: made once, checked afterwards; and the decision that a legacy reward most likely answers."""

import sqlite3
from importlib.resources import files
from pathlib import Path

import pytest

from bandstand.errors import ConfigurationError
from bandstand.store.protocol import Store
from bandstand.store.records import Decision
from bandstand.store.sqlite import schema
from bandstand.store.sqlite.schema import SCHEMA_VERSION, connect, create_tables, find_last_seq
from bandstand.store.sqlite.statements import Row
from bandstand.store.tables import loop_health
from bandstand.store.tables.event_rows import build_decision_row, build_reward_row
from bandstand.store.tables.policies import PolicyRegistry
from bandstand.testing.memory_store import MemoryStore
from tests.store.given import CATALOGUE, DAY, Subject, copy_as_killed, ledger_of, make_embedded


def list_linked(state_dir: Path) -> list[int | None]:
    """What each legacy reward was linked to, in the order in which they came."""
    with ledger_of(state_dir) as ledger:
        query = "SELECT linked_seq FROM rewards WHERE features IS NOT NULL ORDER BY seq"
        return [seq for (seq,) in ledger.execute(query)]


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_ledger_has_a_secret_and_an_old_one_keeps_it(tmp_path: Path) -> None:
    secrets = []
    for _ in range(2):
        connection = connect(tmp_path / "ledger.db")
        create_tables(connection)
        secrets += connection.execute("SELECT value FROM meta WHERE key = 'secret'").fetchall()
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert find_last_seq(connection) == 0
        connection.close()
    assert secrets[0] == secrets[1]
    assert len(secrets[0][0]) == 32


def test_values_come_back_as_the_ones_they_went_in(tmp_path: Path) -> None:
    connection = connect(tmp_path / "ledger.db")
    values = (None, True, False, b"", b"\x00\xff", 1, 0.5, "text")
    (row,) = connection.execute(f"SELECT {', '.join('?' * len(values))}", values)
    types = connection.execute(f"SELECT {', '.join('typeof(?)' for _ in values)}", values).fetchone()
    connection.close()
    assert row == values
    assert types == ("null", "integer", "integer", "blob", "blob", "integer", "real", "text")


def test_two_ledgers_have_two_secrets(tmp_path: Path) -> None:
    found = set()
    for name in ("one", "other"):
        connection = connect(tmp_path / name)
        create_tables(connection)
        found.add(connection.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()[0])
        connection.close()
    assert len(found) == 2


@pytest.mark.parametrize("cut", range(0, 200_000, 4096))
def test_a_ledger_killed_while_it_was_made_is_made_again(tmp_path: Path, cut: int) -> None:
    """The tables and the secret come in one commit: there is no ledger with half of them."""
    (tmp_path / "made").mkdir()
    connection = connect(tmp_path / "made" / "ledger.db")
    create_tables(connection)
    crashed = copy_as_killed(tmp_path / "made", tmp_path / "crashed")
    connection.close()
    wal = crashed / "ledger.db-wal"
    wal.write_bytes(wal.read_bytes()[:cut])
    connection = connect(crashed / "ledger.db")
    create_tables(connection)
    assert len(connection.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()[0]) == 32
    connection.close()


async def test_a_ledger_of_a_newer_format_is_refused_untouched(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
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
    create_tables(writing)
    reading = connect(tmp_path / "ledger.db", read_only=True)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reading.execute("INSERT INTO meta VALUES ('key', 'value')")
    reading.close()
    writing.close()


# ── ledgers of earlier formats ────────────────────────────────────────────────────────────────────────────────────────


def fill_ledger(ledger: sqlite3.Connection, decisions: list[Decision]) -> None:
    """Put in decisions with their rewards as format 4 counted them: by hour and by day, with no sums of all time."""
    registry = PolicyRegistry(CATALOGUE)
    registry.register(ledger)
    ledger.execute("INSERT INTO users VALUES (1, 'anna')")
    for decision in decisions:
        policy_id, (part, amounts) = registry.get_id(decision.policy), loop_health.compute_draw_sums(decision)
        decision.uid = 1
        insert(ledger, "decisions", build_decision_row(decision, policy_id))
        ledger.execute(loop_health.UPSERT_DRAWS, (loop_health.to_day(decision.ts), policy_id, part, *amounts))
        hour = int(decision.ts // 3600)
        insert(ledger, "rollups", (hour, policy_id, 1, int(decision.exploring), 0, 0.0))
        if decision.reward is not None:
            insert(ledger, "rewards", build_reward_row(decision.reward, 1, policy_id))
            insert(ledger, "rollups", (hour + 1, policy_id, 0, 0, 1, decision.reward.value))


def insert(ledger: sqlite3.Connection, table: str, row: Row) -> None:
    ledger.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 (placeholders)


def used_in_format_6(ledger: sqlite3.Connection) -> None:
    """Let format 6 have counted all time from the newest hour and day on, as it did before it was mended."""
    for script in ("shadows.sql", "past_rewards.sql"):
        ledger.executescript(files("bandstand.store.sqlite").joinpath("scripts", script).read_text("utf-8"))
    for table, period in (("rollups", "hour"), ("draws", "day")):
        ledger.execute(f"CREATE TEMP TABLE newest AS SELECT * FROM {table} ORDER BY {period} DESC LIMIT 1")  # noqa: S608 (constants)
        ledger.execute(f"UPDATE newest SET {period} = -1")  # noqa: S608 (constants)
        ledger.execute(f"INSERT INTO {table} SELECT * FROM newest")  # noqa: S608 (constants)
        ledger.execute("DROP TABLE newest")
    ledger.execute("PRAGMA user_version = 6")


async def list_counts(store: Store) -> list[str]:
    """Everything a store counts, to 1e-9, in an order that does not depend on the store."""
    sums = await store.load_loop_sums(30)
    rows = [*sums.draws, *sums.arrivals, *(await store.load_policy_totals()).items()]
    return sorted(repr([round(value, 9) if isinstance(value, float) else value for value in row]) for row in rows)


@pytest.mark.parametrize("used", [False, True], ids=["of format 4", "of format 4, used in format 6"])
async def test_an_old_ledger_counts_as_if_it_had_always_been_a_new_one(tmp_path: Path, *, used: bool) -> None:
    expected = Subject(lambda clock: MemoryStore(CATALOGUE, clock=clock))
    made = []
    for number in range(12):
        made.append(await expected.decide("anna", ("linucb-v2", "egreedy-v1")[number % 2], exploring=number % 3 == 0))
        expected.clock.now += 3600
        if number % 4:
            await expected.reward(made[-1], 0.25 * (number % 4))
        expected.clock.now += 4 * 3600
    with ledger_of(tmp_path) as ledger:
        ledger.executescript((Path(__file__).parent / "data" / "ledger-v4.sql").read_text("utf-8"))
        ledger.execute("PRAGMA user_version = 4")
        ledger.execute("INSERT INTO meta VALUES ('secret', ?)", (b"s" * 32,))
        fill_ledger(ledger, made)
        if used:
            used_in_format_6(ledger)
    subject = Subject(make_embedded(tmp_path))
    subject.clock.now = expected.clock.now
    async with subject:
        for _ in range(2):
            assert await list_counts(subject.store) == await list_counts(expected.store)
            await subject.reopen()
        taught = [decision.reward for decision in made if decision.reward is not None]
        for each in (subject, expected):
            assert len(await each.store.revoke([taught[0].seq, taught[-1].seq], cause="undo", client="tests")) == 2
            assert (await each.reward(made[0], 0.75)).match == "new"
        for _ in range(2):
            assert await list_counts(subject.store) == await list_counts(expected.store)
            await subject.reopen()


def test_an_old_ledger_becomes_what_a_new_one_is(tmp_path: Path) -> None:
    shapes = []
    for name in ("old", "new"):
        connection = connect(tmp_path / name)
        if name == "old":
            connection.executescript((Path(__file__).parent / "data" / "ledger-v4.sql").read_text("utf-8"))
            connection.execute("PRAGMA user_version = 4")
        create_tables(connection)
        shapes.append(connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall())
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        connection.close()
    assert shapes[0] == shapes[1]


# ── links of legacy rewards ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_legacy_reward_is_linked_to_the_newest_decision_that_it_may_answer(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        made = [await subject.decide("anna", tip_id="tip") for _ in range(3)]
        await subject.decide("anna", tip_id="another tip")
        await subject.decide("anna", "linucb-v1", tip_id="tip")
        await subject.decide("berta", tip_id="tip")
        for _ in range(4):
            await subject.reward_legacy("anna", tip_id="tip")
    assert list_linked(tmp_path) == [made[2].seq, made[1].seq, made[0].seq, None]


async def test_a_rewarded_decision_is_not_linked(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        older, newer = await subject.decide("anna", tip_id="tip"), await subject.decide("anna", tip_id="tip")
        await subject.reward(newer)
        await subject.reward_legacy("anna", tip_id="tip")
    assert list_linked(tmp_path) == [older.seq]


async def test_a_decision_older_than_a_day_is_not_linked(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.decide("anna", tip_id="early")
        subject.clock.now += 2
        decision = await subject.decide("anna", tip_id="late")
        subject.clock.now += DAY - 1
        await subject.reward_legacy("anna", tip_id="early")
        await subject.reward_legacy("anna", tip_id="late")
    assert list_linked(tmp_path) == [None, decision.seq]


async def test_a_decision_of_the_same_group_is_linked(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.store.load_profile("anna")
        decision = subject.build_decision("anna", tip_id="tip")
        await subject.store.decide(decision)
        rewards = [subject.legacy("anna", tip_id="tip") for _ in range(2)]
        for reward in rewards:
            await subject.store.reward(reward)
    assert list_linked(tmp_path) == [decision.seq, None]


async def test_a_link_teaches_nothing_and_spends_nothing(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        decision = await subject.decide("anna", tip_id="tip")
        await subject.reward_legacy("anna", tip_id="tip")
        receipt = await subject.store.find_receipt(decision.decision_id)
        assert receipt is not None
        assert receipt.reward is None
        assert (await subject.reward(decision)).match == "new"
        assert (await subject.state("anna")).reward_count == 2


async def test_a_ledger_from_before_erasures_were_noted_erases_as_a_new_one(tmp_path: Path) -> None:
    """It has none under way, and its file was not kept scrubbed."""
    format_before = schema._SCRIPTS.index("erasures.sql")  # noqa: SLF001 (which format that was)
    with ledger_of(tmp_path) as ledger:
        for script in schema._SCRIPTS[:format_before]:  # noqa: SLF001 (as above)
            ledger.executescript(files("bandstand.store.sqlite").joinpath("scripts", script).read_text("utf-8"))
        ledger.execute("INSERT INTO meta (key, value) VALUES ('secret', ?)", (b"s" * 32,))
        ledger.execute(f"PRAGMA user_version = {format_before}")
    async with Subject(make_embedded(tmp_path)) as subject:
        for user_id in ("anna", "berta"):
            await subject.reward(await subject.decide(user_id))
        receipt = await subject.store.erase("anna", "tests")
        assert (receipt.decisions, receipt.rewards, receipt.log_emptied) == (1, 1, True)
        assert (await subject.state("berta")).reward_count == 1
    with ledger_of(tmp_path) as ledger:
        assert ledger.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert ledger.execute("SELECT count(*) FROM erasures").fetchone() == (0,)
        assert ledger.execute("SELECT value FROM meta WHERE key = 'scrubbed'").fetchone() == (b"\1",)
