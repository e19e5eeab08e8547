"""A move back: all that a PostgreSQL ledger holds, into a state directory that one process owns.

No process serves meanwhile. The new ledger is filled from one snapshot in a folder of its own, both sides are compared,
the old ledger is marked, and only then the new one is put in its place: at no moment do two take events. A move that is
cut short before the mark begins again; after the mark, only the last step is left.
"""

import asyncio
import json
import os
import secrets
import sqlite3
import time
from pathlib import Path

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.loop_definition import DEFAULT_LOOP
from bandstand.errors import ConfigurationError, StorageUnavailableError
from bandstand.store.learners.documents import Documents
from bandstand.store.maintenance.ledger_file import LedgerDraft, drop_derived, insert_rows, read_columns
from bandstand.store.maintenance.move import MoveResult, Step
from bandstand.store.maintenance.offline import OpenedDirectory, Tick, no_tick
from bandstand.store.maintenance.returned_baselines import ReturnedBaselines
from bandstand.store.maintenance.shared_fold import BENT, SharedFold, choose_users, compare_states, is_bent
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.connections import Session
from bandstand.store.postgres.evaluation_runs import EVALUATION_RUNS
from bandstand.store.postgres.returned_rows import IS_READABLE, RETURNED_TABLES, RowConverter, build_select
from bandstand.store.postgres.withdrawal import Renumbering, ReturnMark, Withdrawal
from bandstand.store.sqlite.errors import storage_errors
from bandstand.store.sqlite.ownership import Ownership
from bandstand.store.tables.policies import PolicyRegistry

_CHUNK = 5000
_LOOP_MARKS = "SELECT document FROM marks WHERE uid IS NULL AND kind = 'loop' ORDER BY seq"
_HAS_KEY = "EXISTS (SELECT 1 FROM idempotency AS k WHERE k.reward_seq = r.seq)"
_PAST_REWARDS = f"""SELECT r.seq, r.uid, r.policy, r.value, r.applied AND v.seq IS NULL,
        CASE WHEN v.seq IS NULL THEN r.reason ELSE 'revoked' END
    FROM rewards AS r LEFT JOIN revocations AS v ON v.reward_seq = r.seq WHERE NOT {IS_READABLE} AND {_HAS_KEY}
    UNION ALL SELECT r.seq, r.uid, r.policy, r.value, r.reason IS NULL, r.reason FROM reward_parts AS r
    WHERE NOT EXISTS (SELECT 1 FROM decisions AS d WHERE d.seq = r.decision) AND {_HAS_KEY}
        AND NOT EXISTS (SELECT 1 FROM rewards AS w WHERE w.seq = r.seq)"""  # noqa: S608 (constants)
_METRIC_SUMS = """DELETE FROM metric_sums;
INSERT INTO metric_sums (policy, metric, tip_id, parts, total, squares)
    SELECT p.policy, m.key, p.tip_id, count(*), sum(m.value), sum(m.value * m.value)
    FROM reward_parts AS p, json_each(p.metrics) AS m
    WHERE p.metrics IS NOT NULL AND (p.reason IS NULL OR p.reason = 'not_first') GROUP BY 1, 2, 3;"""


async def move_out(
    url: str,
    directory: Path,
    catalogue: Catalogue,
    *,
    everybody: bool = False,
    step: Step = lambda _: None,
    tick: Tick = no_tick,
) -> MoveResult:
    """Move a shared ledger that no process serves into a new directory.

    Args:
        url: of the database.
        directory: of the state, new or empty.
        catalogue: the configured policies and schemas.
        everybody: compare every user, not some.
        step: called at each step.
        tick: called for each row and user.

    Raises:
        ConfigurationError: processes serve the ledger, or something cannot be moved; the ledger stays as it is.
        StorageUnavailableError: the database failed, or the sides differ; the ledger stays as it is.
    """
    directory = Path(os.path.abspath(directory))  # noqa: ASYNC240, PTH100 (no file is looked at)
    address = LedgerAddress.parse(url)
    file, source = LedgerDraft(directory), Withdrawal(address, directory)
    ownership = Ownership(directory)
    try:
        with storage_errors(directory):
            async with source.connect() as session:
                if (mark := await source.read_mark(session)) is not None:
                    return _put_in_place(file, mark, directory, step)
                step("check")
                file.require_room()
                async with source.hold(), session.transaction(isolation="repeatable_read", readonly=True):
                    await source.require_returnable(session)
                    await _require_one_loop(session)
                    returning = _Return(directory, catalogue, file.create(), session, step, tick)
                    try:
                        result = await returning.fill(source, address, everybody=everybody)
                        mark = ReturnMark(str(directory), secrets.token_hex(16), time.time())
                        await asyncio.to_thread(file.finish, returning.connection, mark.arrival)
                        step("mark")
                        await source.mark(mark)
                    except BaseException:
                        returning.connection.close()
                        file.discard()
                        raise
                    step("release")
                    file.put_in_place()
                    return result
    finally:
        ownership.release()


def _put_in_place(file: LedgerDraft, mark: ReturnMark, directory: Path, step: Step) -> MoveResult:
    """Do the last step of a move that was cut short before it."""
    if mark.directory != str(directory) or file.read_arrival() != mark.arrival:
        raise ConfigurationError(f"this ledger was moved to the directory {mark.directory!r} before")
    step("release")
    file.put_in_place()
    return MoveResult(str(directory), {}, 0, ())


async def _require_one_loop(session: Session) -> None:
    """Refuse loops that a directory keeps in directories of their own."""
    current = {}
    for (document,) in await session.fetch(_LOOP_MARKS):
        change = json.loads(document)
        current[change["loop"]] = change["after"]
    names = sorted(name for name, after in current.items() if after is not None and name != DEFAULT_LOOP)
    if names:
        raise ConfigurationError(f"loops beside the default one cannot be moved: {', '.join(names)}")


class _Return:
    """A ledger that is filled.

    Args:
        directory: where it will be.
        catalogue: the configured policies and schemas.
        connection: to its file.
        session: of the ledger that is left, in one snapshot.
        step: called at each step.
        tick: called for each row and user.
    """

    def __init__(
        self,
        directory: Path,
        catalogue: Catalogue,
        connection: sqlite3.Connection,
        session: Session,
        step: Step,
        tick: Tick,
    ) -> None:
        self.connection = connection
        self._session = session
        self._step = step
        self._tick = tick
        registry = PolicyRegistry(catalogue)
        self._state = OpenedDirectory(directory, catalogue, connection, registry, Documents(directory))

    async def fill(self, source: Withdrawal, address: LedgerAddress, *, everybody: bool) -> MoveResult:
        """Copy all, and compare both sides."""
        order = await source.find_renumbering(self._session)
        rows = await self._copy(source, order)
        fold = SharedFold(address, self._state.catalogue)
        await fold.open()
        try:
            self._step("copy baselines")
            baselines = ReturnedBaselines(self.connection, self._session, fold.registry, order.moved)
            rows["baselines"] = await baselines.write(self._tick)
            self._step("verify")
            self._state.registry.load(self.connection)
            self._state.registry.require_unchanged(self.connection)
            self._state.registry.register(self.connection)
            self._compare_counts(rows)
            verified, bent = await self._verify(fold, order, everybody=everybody)
        finally:
            await fold.close()
        left = (*_list_reordered(order), *bent, *await self._list_left_rows(rows))
        return MoveResult(str(self._state.directory), rows, verified, left)

    async def _copy(self, source: Withdrawal, order: Renumbering) -> dict[str, int]:
        """Fill the tables; returns the rows of each."""
        connection, rows = self.connection, dict[str, int]()
        derived = drop_derived(connection)
        connection.execute("BEGIN")
        for table in RETURNED_TABLES:
            self._step(f"copy {table}")
            rows[table] = await self._copy_table(table, order)
        past = [tuple(row) for row in await self._session.fetch(_PAST_REWARDS)]
        columns = read_columns(connection, "past_rewards")
        convert = RowConverter("rewards", columns, order.moved).convert
        insert_rows(connection, "past_rewards", columns, map(convert, past))
        connection.execute("UPDATE meta SET value = ? WHERE key = 'secret'", (await source.read_secret(self._session),))
        followed = await self._session.fetchval("SELECT seq FROM followers WHERE name = 'gains'")
        connection.execute("UPDATE followers SET seq = ? WHERE name = 'gains'", (followed,))
        connection.execute("COMMIT")
        self._step("index")
        for definition in derived.values():
            await asyncio.to_thread(connection.execute, definition)
        parts = int(await self._session.fetchval("SELECT count(*) FROM reward_parts"))
        if parts != rows["reward_parts"]:  # what metrics add up to is of the parts that are there
            connection.executescript(_METRIC_SUMS)
            rows["metric_sums"] = connection.execute("SELECT count(*) FROM metric_sums").fetchone()[0]
        return rows

    async def _copy_table(self, table: str, order: Renumbering) -> int:
        columns = read_columns(self.connection, table)
        convert = RowConverter(table, columns, order.moved).convert
        cursor = await self._session.cursor(build_select(table, columns))
        copied = 0
        while rows := await cursor.fetch(_CHUNK):
            insert_rows(self.connection, table, columns, map(convert, rows))
            copied += len(rows)
            for _ in rows:
                self._tick()
        return copied

    # ── comparing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _compare_counts(self, rows: dict[str, int]) -> None:
        for table, copied in rows.items():
            source = "marks WHERE kind = 'baseline'" if table == "baselines" else table
            (found,) = self.connection.execute(f"SELECT count(*) FROM {source}").fetchone()  # noqa: S608 (constants)
            expected = copied + (rows["baselines"] if table == "marks" else 0)
            if found < expected if table in {"policies", "schemas"} else found != expected:
                raise StorageUnavailableError(f"{table} has {found:,} rows instead of {expected:,}: move again")

    async def _verify(self, fold: SharedFold, order: Renumbering, *, everybody: bool) -> tuple[int, tuple[str, ...]]:
        """Fold users on both sides; returns how many are the same, and a sentence about those that cannot be."""
        verified = bent = 0
        for uid, user_id in choose_users(self._state, everybody=everybody):
            if uid in order.misplaced:
                continue
            shared, truth = await fold.load(user_id), self._state.rebuild_profile(uid, user_id)
            if is_bent(self._state, uid, truth):
                bent += 1
                continue
            difference = (
                "its reset differs"
                if bool(shared.reset_seq) != bool(truth.reset_seq)
                else compare_states(shared, truth)
            )
            if difference is not None:
                raise StorageUnavailableError(
                    f"user {user_id!a} is not the same after the move ({difference}): nothing is served from there"
                )
            verified += 1
            self._tick()
        return verified, (f"{bent:,} {BENT}: each counts as of the event after it from now on",) if bent else ()

    async def _list_left_rows(self, rows: dict[str, int]) -> list[str]:
        """What has no place there, in sentences."""
        sentences = []
        for table in ("rewards", "revocations", "reward_parts"):
            count = int(await self._session.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608 (constants)
            if gone := count - rows[table]:
                sentences.append(
                    f"{table}: {gone:,} rows whose decision retention took; what they taught is in baselines"
                )
        if await self._session.fetchval("SELECT to_regclass($1) IS NOT NULL", EVALUATION_RUNS):
            runs = int(await self._session.fetchval(f"SELECT count(*) FROM {EVALUATION_RUNS}"))  # noqa: S608 (a constant)
            if runs:
                sentences.append(f"{EVALUATION_RUNS}: {runs:,} evaluations, which are in no ledger")
        return sentences


def _list_reordered(order: Renumbering) -> list[str]:
    sentences = []
    if order.moved:
        sentences.append(f"{len(order.moved):,} events got other event numbers, so that their order is that of numbers")
    if order.misplaced:
        sentences.append(
            f"the resets of {len(order.misplaced):,} users stand after decisions which came after them, and which they "
            "take along"
        )
    return sentences
