"""A move: all that an embedded ledger holds, into a PostgreSQL that many processes share.

One transaction makes the tables and fills them from one moment of the ledger; then both sides are compared. Only then
is the old ledger marked, and after that the new one released: at no moment do two take events. A move that is cut short
before the mark begins again; after the mark, only the release is left.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from bandstand.bandit.loop_definition import DEFAULT_LOOP, EVERYBODY, LoopDefinition
from bandstand.bandit.policy_state import PolicyState
from bandstand.bandit.profile import Profile, StateKey
from bandstand.errors import ConfigurationError, StorageUnavailableError
from bandstand.store.learners.documents import render
from bandstand.store.loop_directories import LoopDirectories
from bandstand.store.maintenance.offline import OpenedDirectory, Tick, no_tick
from bandstand.store.maintenance.shared_fold import BENT, SharedFold, choose_users, compare_states, is_bent
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.arrival import Arrival, LedgerState, compute_token, describe_target
from bandstand.store.postgres.connections import Session
from bandstand.store.postgres.loop_schemas import compute_place
from bandstand.store.postgres.moved_rows import DERIVED_TABLES, TABLES, count_left_behind, iter_rows, number_events
from bandstand.store.records import to_time
from bandstand.store.sqlite.moved_mark import MovedMark, read_moved_mark, write_moved_mark
from bandstand.store.sqlite.schema import find_last_seq
from bandstand.store.tables.loops import list_loop_changes

_NAMED = 5
_COUNTED_USERS = """SELECT u.uid, u.user_id FROM users AS u WHERE EXISTS (
    SELECT 1 FROM marks AS m WHERE m.uid = u.uid AND m.kind IN ('baseline', 'import'))
    OR u.user_id = ? ORDER BY u.uid"""
_LIVE_PULLS = """SELECT policy, count(*), coalesce(sum(exploring), 0) FROM decisions
    WHERE seq IN (SELECT seq FROM user_decisions WHERE uid = ?1)
        AND seq > coalesce((SELECT max(seq) FROM moved_events WHERE uid = ?1 AND kind = 'reset'), 0)
    GROUP BY policy"""
_ALL_PULLS = "SELECT policy, decisions, explores FROM rollups WHERE hour = -1 AND policy > 0 AND ?1 > 0"
_HAS_SUBJECTS = """SELECT EXISTS (SELECT 1 FROM subjects) AND EXISTS (SELECT 1 FROM users WHERE user_id = ?)"""
_NEWEST_RESET = "SELECT coalesce(max(n), 0) FROM moved_events WHERE uid = ? AND kind = 'reset' AND seq <= ?"
_OWN_FILES = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "users", "lock", "loops")

NO_LOOPS: Mapping[str, OpenedDirectory] = MappingProxyType({})
NO_PLACES: Mapping[str, str] = MappingProxyType({})
Step = Callable[[str], None]
"""Told what is about to be done."""


@dataclass(frozen=True, slots=True)
class MoveResult:
    """What a move did.

    Attributes:
        target: where the ledger is now; it holds no secret.
        tables: rows by table of the shared ledger, the same on both sides.
        verified: users whose state was folded on both sides and is the same.
        left_behind: what has no place there, in sentences.
    """

    target: str
    tables: Mapping[str, int]
    verified: int
    left_behind: tuple[str, ...]


class _MovedLedger(NamedTuple):
    """One of the ledgers that are moved: the default loop's, or that of another loop.

    Attributes:
        state: its directory, owned for moving.
        address: of the schema that it goes to.
        target: the same in words.
        arrival: there.
        session: to there.
        places: the schemas of the loops that its events tell of.
    """

    state: OpenedDirectory
    address: LedgerAddress
    target: str
    arrival: Arrival
    session: Session
    places: Mapping[str, str]

    @property
    def is_marked(self) -> bool:
        """Whether its directory is closed already.

        Raises:
            ConfigurationError: it was moved elsewhere.
        """
        mark = read_moved_mark(self.state.connection)
        if mark is not None and mark.target != self.target:
            raise ConfigurationError(f"this ledger was moved to {mark.target} before")
        return mark is not None

    async def fill(self, *, everybody: bool, step: Step, tick: Tick) -> MoveResult:
        """Copy all, and compare both sides."""
        state = self.state
        with state.snapshot():
            number_events(state.connection)
            copied = await _copy(state, self.arrival, self.session, self.places, step, tick)
            await _compare_counts(self.arrival, self.session, copied)
            step("verify")
            verified, bent = await verify(state, self.address, everybody=everybody, tick=tick)
            left = (*_list_left_rows(state, copied), *bent, *_list_left_files(state))
        return MoveResult(self.target, copied, verified, left)

    def mark(self) -> None:
        """Close the directory."""
        with self.state.transaction():
            write_moved_mark(self.state.connection, MovedMark(self.target, time.time()))


async def move(
    state: OpenedDirectory,
    url: str,
    *,
    loops: Mapping[str, OpenedDirectory] = NO_LOOPS,
    everybody: bool = False,
    step: Step = lambda _: None,
    tick: Tick = no_tick,
) -> MoveResult:
    """Move a ledger whose directory is owned, and with it those of its other loops.

    All are filled and compared before any is closed; the default loop's is closed first and opened last, so that no
    service serves a part of them.

    Args:
        state: the directory, of the default loop, owned for moving.
        url: of the database.
        loops: the directories of its other loops, likewise.
        everybody: compare every user, not some.
        step: called at each step.
        tick: called for each row and user.

    Raises:
        ConfigurationError: something cannot be moved, or the schema holds other data; nothing was written.
        StorageUnavailableError: the database failed, or the sides differ; the old ledgers stay as they are.
    """
    address = LedgerAddress.parse(url)
    if loops and address.has_transaction_pooler:
        raise ConfigurationError("loops beside the default one need a URL without pooler=transaction")
    places = {name: compute_place(address.schema, name, each.read_secret()) for name, each in loops.items()}
    require_movable(state, loops)
    async with AsyncExitStack() as opened:
        default = await _connect(opened, url, state, None, places)
        others = {name: await _connect(opened, url, each, places[name], NO_PLACES) for name, each in loops.items()}
        was_marked = default.is_marked
        if not was_marked:
            step("check")
            for each in (default, *others.values()):
                await each.arrival.require_room(each.session)
        elif not await default.arrival.is_filled(default.session):
            raise ConfigurationError(f"this ledger was moved to {default.target} before, and is served from there")
        # Where all was filled, a command may have changed a loop that was not closed yet.
        open_loops = {name: each for name, each in others.items() if not each.is_marked}
        results: dict[str, MoveResult] = {}
        for name, each in open_loops.items():
            step(f"loop {name}")
            results[name] = await each.fill(everybody=everybody, step=step, tick=tick)
        result = MoveResult(default.target, {}, 0, ())
        if not was_marked:
            result = await default.fill(everybody=everybody, step=step, tick=tick)
            step("mark")
            default.mark()
        for name, each in open_loops.items():
            step(f"mark loop {name}")
            each.mark()
        for each in others.values():
            if await each.arrival.is_filled(each.session):  # a killed move may have come as far
                await each.arrival.release(each.session)
        step("release")
        await default.arrival.release(default.session)
    return add_up(result, results)


async def _connect(
    opened: AsyncExitStack, url: str, state: OpenedDirectory, place: str | None, places: Mapping[str, str]
) -> _MovedLedger:
    """A ledger with a connection to where it goes, until the stack is closed."""
    address = LedgerAddress.parse(url)
    address = address if place is None else replace(address, schema=place)
    arrival = Arrival(address, compute_token(state.read_secret()))
    session = await opened.enter_async_context(arrival.connect())
    return _MovedLedger(state, address, describe_target(url, address.schema), arrival, session, places)


def add_up(default: MoveResult, loops: Mapping[str, MoveResult]) -> MoveResult:
    """What all came to."""
    tables, verified, left = dict(default.tables), default.verified, list(default.left_behind)
    for name, each in loops.items():
        verified += each.verified
        left += [f"loop {name}: {sentence}" for sentence in each.left_behind]
        for table, rows in each.tables.items():
            tables[table] = tables.get(table, 0) + rows
    return MoveResult(default.target, tables, verified, tuple(left))


def require_movable(state: OpenedDirectory, loops: Mapping[str, OpenedDirectory] = NO_LOOPS) -> None:
    """Refuse what the shared ledger cannot hold.

    Raises:
        ConfigurationError: there is such a thing; the sentence names it.
    """
    current = {change.name: change.after for change in list_loop_changes(state.connection)}
    known = {name for name, after in current.items() if after is not None and name != DEFAULT_LOOP}
    found = set(LoopDirectories(state.directory).list_names())
    if unclear := (known ^ found) | (found ^ loops.keys()):
        raise ConfigurationError(
            f"loops beside the default one are not in order: {', '.join(sorted(unclear))}: start the service once, and "
            "stop it"
        )
    if (after := current.get(DEFAULT_LOOP)) is not None:
        definition = LoopDefinition.parse(DEFAULT_LOOP, after)
        if definition.scope != "user":
            raise ConfigurationError(f"the default loop has the scope {definition.scope!r}: it cannot be moved")
    for each in (state, *loops.values()):
        for table in TABLES:
            _require_plain_texts(each, table.removesuffix("_s"))


def _require_plain_texts(state: OpenedDirectory, table: str) -> None:
    """Refuse texts that PostgreSQL does not keep."""
    columns = state.connection.execute(f"PRAGMA table_info({table})").fetchall()
    texts = [name for _, name, kind, *_ in columns if kind == "TEXT"]
    if not texts:
        return
    found = " OR ".join(f"instr({name}, char(0)) > 0" for name in texts)
    if count := state.connection.execute(f"SELECT count(*) FROM {table} WHERE {found}").fetchone()[0]:  # noqa: S608 (constants)
        raise ConfigurationError(
            f"{count:,} rows of {table} hold U+0000, which PostgreSQL does not keep: erase their users first"
        )


# ── copying ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _copy(
    state: OpenedDirectory, arrival: Arrival, session: Session, places: Mapping[str, str], step: Step, tick: Tick
) -> dict[str, int]:
    """Make and fill the tables, in one transaction; returns the rows of each."""
    copied: dict[str, int] = {}
    async with session.transaction():
        indexes = await arrival.begin(session)
        for table in TABLES:
            step(f"copy {table}")
            columns = await arrival.read_columns(session, table)
            names, rows = iter_rows(state.connection, table, columns, places)
            copied[table] = await arrival.copy(session, table, names, rows, tick)
        step("copy baselines")
        for table, made in (("baselines", _iter_baselines(state)), ("pulls", _iter_pulls(state))):
            copied[table] = await arrival.copy(session, table, DERIVED_TABLES[table], made, tick)
        step("index")
        await arrival.finish(session, _read_state(state), indexes)
        step("commit")
    return copied


def _read_state(state: OpenedDirectory) -> LedgerState:
    connection = state.connection
    (shadow_set,) = connection.execute("SELECT coalesce(max(seq), 0) FROM moved_shadows").fetchone()
    (followed,) = connection.execute("SELECT coalesce(max(seq), 0) FROM followers WHERE name = 'gains'").fetchone()
    return LedgerState(state.read_secret(), find_last_seq(connection), shadow_set, followed)


def _iter_baselines(state: OpenedDirectory) -> Iterator[tuple[Any, ...]]:
    query = """SELECT b.uid, e.n, u.user_id FROM moved_baselines AS b JOIN users AS u ON u.uid = b.uid
        JOIN moved_events AS e ON e.uid = b.uid AND e.kind = 'baseline'"""
    for uid, n, user_id in state.connection.execute(query).fetchall():
        profile = state.load_baseline(uid)
        assert profile is not None  # noqa: S101 (it is in the same snapshot)
        profile.user_id = user_id
        last = to_time(profile.seq)
        profile.reset_seq = _number_reset(state, uid, profile.reset_seq)
        profile.seq = n
        yield uid, n, last, render(profile)


def has_one_model(state: OpenedDirectory) -> bool:
    """Whether decisions were made for people by everybody's model."""
    return bool(state.connection.execute(_HAS_SUBJECTS, (EVERYBODY,)).fetchone()[0])


def _iter_pulls(state: OpenedDirectory) -> Iterator[tuple[Any, ...]]:
    """What users' states count beyond what is counted again: the decisions that are there, or the totals of all."""
    ids: dict[StateKey, int] = {ref.key: number for number, ref in sorted(state.registry.get_refs().items())}
    is_shared = has_one_model(state)
    for uid, user_id in state.connection.execute(_COUNTED_USERS, (EVERYBODY if is_shared else "",)).fetchall():
        live: dict[StateKey, tuple[int, int]] = {}
        counted = _ALL_PULLS if is_shared and user_id == EVERYBODY else _LIVE_PULLS
        for policy, pulls, explores in state.connection.execute(counted, (uid,)):
            key = state.registry.get_ref(policy).key
            before = live.get(key, (0, 0))
            live[key] = before[0] + pulls, before[1] + explores
        policies = state.rebuild_profile(uid, user_id).policies
        for key in ids.keys() & (policies.keys() | live.keys()):
            pulls, explores = live.get(key, (0, 0))
            held = policies.get(key, PolicyState())
            yield uid, ids[key], held.pulls - pulls, held.explores - explores, held.last_updated or 0.0


def _number_reset(state: OpenedDirectory, uid: int, reset_seq: int) -> int:
    return int(state.connection.execute(_NEWEST_RESET, (uid, reset_seq)).fetchone()[0])


# ── comparing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _compare_counts(arrival: Arrival, session: Session, copied: Mapping[str, int]) -> None:
    for table, rows in copied.items():
        if (found := await arrival.count(session, table)) != rows:
            raise StorageUnavailableError(f"{table} has {found:,} rows instead of {rows:,}: move again")


async def verify(
    state: OpenedDirectory, address: LedgerAddress, *, everybody: bool = False, tick: Tick = no_tick
) -> tuple[int, tuple[str, ...]]:
    """Fold users on both sides; returns how many are the same, and a sentence about those that cannot be.

    Raises:
        StorageUnavailableError: a user differs.
    """
    chosen = choose_users(state, everybody=everybody)
    fold = SharedFold(address, state.catalogue, has_one_model=has_one_model(state))
    await fold.open()
    bent = 0
    try:
        for uid, user_id in chosen:
            truth, moved = state.rebuild_profile(uid, user_id), await fold.load(user_id)
            if is_bent(state, uid, truth):
                bent += 1
            elif (difference := _compare(state, uid, moved, truth)) is not None:
                raise StorageUnavailableError(
                    f"user {user_id!a} is not the same after the move ({difference}): nothing is served from there"
                )
            tick()
    finally:
        await fold.close()
    left = (f"{bent:,} {BENT}: each event counts as of its own time from now on",) if bent else ()
    return len(chosen) - bent, left


def _compare(state: OpenedDirectory, uid: int, moved: Profile, truth: Profile) -> str | None:
    """The first difference between the two sides, in words."""
    if moved.reset_seq != _number_reset(state, uid, truth.reset_seq):
        return "its reset differs"
    return compare_states(moved, truth)


# ── what is left ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _list_left_rows(state: OpenedDirectory, copied: Mapping[str, int]) -> Iterator[str]:
    (answers,) = state.connection.execute("SELECT count(*) FROM past_rewards").fetchone()
    if answers:
        yield (
            f"past_rewards: how {answers:,} rewards were answered that retention took; their Idempotency-Keys stay "
            "spent, and a request that comes again with one is refused"
        )
    for table in TABLES:
        if left := count_left_behind(state.connection, table, copied[table]):
            yield f"{table.removesuffix('_s')}: {left:,} rows that hang on a decision which is gone"


def _list_left_files(state: OpenedDirectory) -> Iterator[str]:
    names = sorted(path.name for path in state.directory.iterdir() if path.name not in _OWN_FILES)
    if names:
        named = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
        yield f"files that stay in the directory (a process's own, and learned priors, which are learned anew): {named}"
