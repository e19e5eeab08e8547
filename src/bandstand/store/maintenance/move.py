"""A move: all that an embedded ledger holds, into a PostgreSQL that many processes share.

One transaction makes the tables and fills them from one moment of the ledger; then both sides are compared. Only then
is the old ledger marked, and after that the new one released: at no moment do two take events. A move that is cut short
before the mark begins again; after the mark, only the release is left.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bandstand.bandit.loop_definition import DEFAULT_LOOP, LoopDefinition
from bandstand.bandit.profile import Profile, StateKey
from bandstand.errors import ConfigurationError, StorageUnavailableError
from bandstand.store.learners.documents import render
from bandstand.store.loop_directories import LoopDirectories
from bandstand.store.maintenance.offline import OpenedDirectory, Tick, no_tick
from bandstand.store.maintenance.shared_fold import BENT, SharedFold, choose_users, compare_states, is_bent
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.arrival import Arrival, LedgerState, compute_token, describe_target
from bandstand.store.postgres.connections import Session
from bandstand.store.postgres.moved_rows import DERIVED_TABLES, TABLES, count_left_behind, iter_rows, number_events
from bandstand.store.records import to_time
from bandstand.store.sqlite.moved_mark import MovedMark, read_moved_mark, write_moved_mark
from bandstand.store.sqlite.schema import find_last_seq
from bandstand.store.tables.loops import list_loop_changes

_NAMED = 5
_COUNTED_USERS = """SELECT u.uid, u.user_id FROM users AS u WHERE EXISTS (
    SELECT 1 FROM marks AS m WHERE m.uid = u.uid AND m.kind IN ('baseline', 'import')) ORDER BY u.uid"""
_LIVE_PULLS = """SELECT policy, count(*), coalesce(sum(exploring), 0) FROM decisions
    WHERE uid = ?1 AND seq > coalesce((SELECT max(seq) FROM moved_events WHERE uid = ?1 AND kind = 'reset'), 0)
    GROUP BY policy"""
_NEWEST_RESET = "SELECT coalesce(max(n), 0) FROM moved_events WHERE uid = ? AND kind = 'reset' AND seq <= ?"
_OWN_FILES = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "users", "lock", "loops")

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


async def move(
    state: OpenedDirectory, url: str, *, everybody: bool = False, step: Step = lambda _: None, tick: Tick = no_tick
) -> MoveResult:
    """Move a ledger whose directory is owned.

    Args:
        state: the directory, of the default loop, owned for moving.
        url: of the database.
        everybody: compare every user, not some.
        step: called at each step.
        tick: called for each row and user.

    Raises:
        ConfigurationError: something cannot be moved, or the schema holds other data; nothing was written.
        StorageUnavailableError: the database failed, or the sides differ; the old ledger stays as it is.
    """
    target = describe_target(url)
    arrival = Arrival(LedgerAddress.parse(url), compute_token(state.read_secret()))
    mark = read_moved_mark(state.connection)
    if mark is not None and mark.target != target:
        raise ConfigurationError(f"this ledger was moved to {mark.target} before")
    require_movable(state)
    async with arrival.connect() as session:
        if mark is not None:  # all but the release was done
            if not await arrival.is_filled(session):
                raise ConfigurationError(f"this ledger was moved to {target} before, and is served from there")
            step("release")
            await arrival.release(session)
            return MoveResult(target, {}, 0, ())
        step("check")
        await arrival.require_room(session)
        with state.snapshot():
            number_events(state.connection)
            copied = await _copy(state, arrival, session, step, tick)
            await _compare_counts(arrival, session, copied)
            step("verify")
            verified, bent = await verify(state, LedgerAddress.parse(url), everybody=everybody, tick=tick)
            left = (*_list_left_rows(state, copied), *bent, *_list_left_files(state))
        step("mark")
        with state.transaction():
            write_moved_mark(state.connection, MovedMark(target, time.time()))
        step("release")
        await arrival.release(session)
    return MoveResult(target, copied, verified, left)


def require_movable(state: OpenedDirectory) -> None:
    """Refuse what the shared ledger cannot hold.

    Raises:
        ConfigurationError: there is such a thing; the sentence names it.
    """
    connection = state.connection
    current = {change.name: change.after for change in list_loop_changes(connection)}
    names = {name for name, after in current.items() if after is not None and name != DEFAULT_LOOP}
    if names := names | set(LoopDirectories(state.directory).list_names()):
        raise ConfigurationError(f"loops beside the default one cannot be moved: {', '.join(sorted(names))}")
    if (after := current.get(DEFAULT_LOOP)) is not None:
        definition = LoopDefinition.parse(DEFAULT_LOOP, after)
        if definition.scope != "user":
            raise ConfigurationError(f"the default loop has the scope {definition.scope!r}: it cannot be moved")
    if connection.execute("SELECT EXISTS (SELECT 1 FROM subjects)").fetchone()[0]:
        raise ConfigurationError("decisions of a model for everybody (table subjects) cannot be moved")
    for table in TABLES:
        _require_plain_texts(state, table.removesuffix("_s"))


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


async def _copy(state: OpenedDirectory, arrival: Arrival, session: Session, step: Step, tick: Tick) -> dict[str, int]:
    """Make and fill the tables, in one transaction; returns the rows of each."""
    copied: dict[str, int] = {}
    async with session.transaction():
        indexes = await arrival.begin(session)
        for table in TABLES:
            step(f"copy {table}")
            columns = await arrival.read_columns(session, table)
            names, rows = iter_rows(state.connection, table, columns)
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


def _iter_pulls(state: OpenedDirectory) -> Iterator[tuple[Any, ...]]:
    """What users' states count beyond the decisions that are there: those that retention took, and imports."""
    ids: dict[StateKey, int] = {ref.key: number for number, ref in sorted(state.registry.get_refs().items())}
    for uid, user_id in state.connection.execute(_COUNTED_USERS).fetchall():
        live: dict[StateKey, tuple[int, int]] = {}
        for policy, pulls, explores in state.connection.execute(_LIVE_PULLS, (uid,)):
            key = state.registry.get_ref(policy).key
            before = live.get(key, (0, 0))
            live[key] = before[0] + pulls, before[1] + explores
        for key, held in state.rebuild_profile(uid, user_id).policies.items():
            if key in ids:
                pulls, explores = live.get(key, (0, 0))
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
    fold = SharedFold(address, state.catalogue)
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
