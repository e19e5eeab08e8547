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
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.loop_definition import DEFAULT_LOOP, LoopDefinition
from bandstand.errors import ConfigurationError, StorageUnavailableError
from bandstand.store.learners.documents import Documents
from bandstand.store.loop_directories import LoopDirectories
from bandstand.store.maintenance.ledger_file import LedgerDraft, drop_derived, insert_rows, read_columns
from bandstand.store.maintenance.move import MoveResult, Step, add_up
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
from bandstand.store.sqlite.user_levels import fill_levels
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


class LoopReturn(NamedTuple):
    """Another loop that is moved along: what it is, its policies, and the schema that holds it."""

    definition: LoopDefinition
    catalogue: Catalogue
    place: str


class _ReturnedLedger(NamedTuple):
    """One of the ledgers that are moved: its schema, its directory, and the file that is made for that."""

    address: LedgerAddress
    directory: Path
    catalogue: Catalogue
    source: Withdrawal
    session: Session
    file: LedgerDraft
    has_one_model: bool

    async def fill(self, *, everybody: bool, step: Step, tick: Tick) -> tuple[MoveResult, ReturnMark]:
        """Make the file, compare both sides, and have it on the disk."""
        connection = await asyncio.to_thread(self.file.create)
        try:
            returning = _Return(self, connection, step, tick)
            result = await returning.fill(everybody=everybody)
            mark = ReturnMark(str(self.directory), secrets.token_hex(16), time.time())
            await asyncio.to_thread(self.file.finish, connection, mark.arrival)
        except BaseException:
            connection.close()
            raise
        return result, mark

    def put_in_place(self, mark: ReturnMark, *, again: bool = False) -> None:
        """Let a service open the file.

        Args:
            mark: of its ledger.
            again: whether it may be there already.

        Raises:
            ConfigurationError: it is not the one that was made for this ledger.
        """
        if self.file.read_arrival() == mark.arrival and mark.directory == str(self.directory):
            self.file.put_in_place()
        elif not (again and mark.directory == str(self.directory) and self.file.has_arrived(mark.arrival)):
            raise ConfigurationError(f"this ledger was moved to the directory {mark.directory!r} before")


async def move_out(
    url: str,
    directory: Path,
    catalogue: Catalogue,
    *,
    loops: Mapping[str, LoopReturn] = MappingProxyType({}),
    everybody: bool = False,
    step: Step = lambda _: None,
    tick: Tick = no_tick,
) -> MoveResult:
    """Move a shared ledger that no process serves into a new directory, and with it those of its other loops.

    All are filled and compared before any is closed; the default loop's is closed first, and its file put in its place
    last, so that no service serves a part of them.

    Args:
        url: of the database.
        directory: of the state, new or empty.
        catalogue: the configured policies and schemas.
        loops: its other loops.
        everybody: compare every user, not some.
        step: called at each step.
        tick: called for each row and user.

    Raises:
        ConfigurationError: processes serve the ledger, or something cannot be moved; the ledger stays as it is.
        StorageUnavailableError: the database failed, or the sides differ; the ledger stays as it is.
    """
    directory = Path(os.path.abspath(directory))  # noqa: ASYNC240, PTH100 (no file is looked at)
    address = LedgerAddress.parse(url)
    async with AsyncExitStack() as opened:
        opened.callback(Ownership(directory).release)
        opened.enter_context(storage_errors(directory))
        default = await _connect(opened, address, directory, catalogue)
        others = {}
        for name, loop in loops.items():
            there = LoopDirectories(directory).get_path(name)
            there.mkdir(parents=True, exist_ok=True, mode=0o700)
            others[name] = await _connect(
                opened, replace(address, schema=loop.place), there, loop.catalogue, loop.definition.scope == "loop"
            )
        result, mark = MoveResult(str(directory), {}, 0, ()), await default.source.read_mark(default.session)
        if mark is None:
            result, mark = await _fill_all(default, others, everybody=everybody, step=step, tick=tick)
        for name, each in others.items():
            step(f"release loop {name}")
            each.put_in_place(await _close_loop(each), again=True)
        step("release")
        default.put_in_place(mark)
    return result


async def _connect(
    opened: AsyncExitStack,
    address: LedgerAddress,
    directory: Path,
    catalogue: Catalogue,
    has_one_model: bool = False,  # noqa: FBT001, FBT002 (a fact of the loop)
) -> _ReturnedLedger:
    source = Withdrawal(address, directory)
    session = await opened.enter_async_context(source.connect())
    file = LedgerDraft(directory)
    return _ReturnedLedger(address, directory, catalogue, source, session, file, has_one_model)


async def _fill_all(
    default: _ReturnedLedger, loops: Mapping[str, _ReturnedLedger], *, everybody: bool, step: Step, tick: Tick
) -> tuple[MoveResult, ReturnMark]:
    """Make all files, and close the default loop's ledger."""
    step("check")
    ledgers = {**loops, DEFAULT_LOOP: default}
    for each in ledgers.values():
        each.file.require_room()
    async with AsyncExitStack() as held:
        for each in ledgers.values():
            await held.enter_async_context(each.source.hold())
            await held.enter_async_context(each.session.transaction(isolation="repeatable_read", readonly=True))
            await each.source.require_returnable(each.session)
        await _require_loops(default.session, loops)
        filled: dict[str, MoveResult] = {}
        try:
            for name, each in loops.items():
                step(f"loop {name}")
                filled[name], _ = await each.fill(everybody=everybody, step=step, tick=tick)
            result, mark = await default.fill(everybody=everybody, step=step, tick=tick)
            step("mark")
            await default.source.mark(mark)
        except BaseException:
            for each in ledgers.values():
                each.file.discard()
            raise
    return add_up(result, filled), mark


async def _close_loop(loop: _ReturnedLedger) -> ReturnMark:
    """Close a loop's ledger, whose file is whole, unless that was done; no process serves it since the default's is."""
    mark = await loop.source.read_mark(loop.session)
    if mark is None:
        arrival = loop.file.read_arrival()
        if arrival is None:
            raise ConfigurationError(f"{str(loop.directory)!r} has not what was made for it: name the same directory")
        mark = ReturnMark(str(loop.directory), arrival, time.time())
        async with loop.source.hold():
            await loop.source.mark(mark)
    return mark


async def _require_loops(session: Session, loops: Collection[str]) -> None:
    """Refuse to leave a loop behind."""
    current = {}
    for (document,) in await session.fetch(_LOOP_MARKS):
        change = json.loads(document)
        current[change["loop"]] = change["after"]
    names = {name for name, after in current.items() if after is not None and name != DEFAULT_LOOP}
    if unclear := names ^ set(loops):
        raise ConfigurationError(f"loops beside the default one have changed: {', '.join(sorted(unclear))}: move again")


class _Return:
    """A ledger that is filled.

    Args:
        ledger: what is left, in one snapshot, and where it goes.
        connection: to its file.
        step: told of each step.
        tick: called for each row and user.
    """

    def __init__(self, ledger: _ReturnedLedger, connection: sqlite3.Connection, step: Step, tick: Tick) -> None:
        self.connection = connection
        self._ledger = ledger
        self._session = ledger.session
        self._step = step
        self._tick = tick
        registry, directory = PolicyRegistry(ledger.catalogue), ledger.directory
        self._state = OpenedDirectory(directory, ledger.catalogue, connection, registry, Documents(directory))

    async def fill(self, *, everybody: bool) -> MoveResult:
        """Copy all, and compare both sides."""
        source, has_one_model = self._ledger.source, self._ledger.has_one_model
        order = await source.find_renumbering(self._session)
        rows = await self._copy(source, order)
        fold = SharedFold(self._ledger.address, self._state.catalogue, has_one_model=has_one_model)
        await fold.open()
        try:
            self._step("copy baselines")
            baselines = ReturnedBaselines(
                self.connection, self._session, fold.registry, order.moved, has_one_model=has_one_model
            )
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
        await asyncio.to_thread(fill_levels, connection)
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
