"""Checkpoints and totals of a shared ledger against its events: compared with them, or made again from them.

A checkpoint is the state as of a version, so it is compared with the fold of all events up to that version, each user
as of one moment; services run on meanwhile. Of the totals some are what rows of the ledger add up to, and have to be
equal; the others count also what was deleted since, and have to be at least what is there.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.profile import Profile
from bandstand.store.learners.documents import DocumentError, parse, render
from bandstand.store.maintenance.offline import Tick, no_tick
from bandstand.store.maintenance.rebuild_verify import TOLERANCE, find_difference
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.command_pool import open_command_pool
from bandstand.store.postgres.connections import Channel, ConnectionPool, Session
from bandstand.store.postgres.folding import fold_events
from bandstand.store.postgres.part_statements import build_metric_sums
from bandstand.store.postgres.profiles import EVENTS
from bandstand.store.postgres.registry import LedgerPolicies
from bandstand.store.postgres.restores import HAVE_READ_ANEW
from bandstand.store.postgres.schema import STRIPED, build_striped_upsert

T = TypeVar("T")
SAMPLE = 1000
_PAGE = 1000
_PASSES = 3
_WAIT_S = 10.0
"""How long services are waited for, which are to let go of what they have in memory."""
_LOOK_S = 0.2
_FOLDED_STRIPE = -1

_SAMPLE = "SELECT uid FROM checkpoints ORDER BY md5(uid::text || clock_timestamp()::date::text), uid LIMIT $1"
_NEXT = "SELECT uid FROM checkpoints WHERE uid > $1 ORDER BY uid LIMIT $2"
_COUNT = """SELECT (SELECT count(*) FROM users) AS users, (SELECT count(*) FROM checkpoints) AS checkpoints,
    (SELECT count(*) FROM users AS u WHERE u.version > 0
        AND NOT EXISTS (SELECT 1 FROM checkpoints AS c WHERE c.uid = u.uid)) AS missing"""
_LOCK = "SELECT 1 FROM users WHERE uid = $1 FOR NO KEY UPDATE"
_USER = """SELECT u.user_id, u.version, u.parted_version, c.version AS checkpoint_version, c.document AS checkpoint,
        b.version AS baseline_version, b.document AS baseline, EXISTS (
            SELECT 1 FROM revocations AS v WHERE v.uid = c.uid AND v.n > c.version AND v.reward_n <= c.version
        ) AS is_taken_back
    FROM checkpoints AS c LEFT JOIN users AS u ON u.uid = c.uid LEFT JOIN baselines AS b ON b.uid = c.uid
    WHERE c.uid = $1"""
_EVENTS_UNTIL = f"{EVENTS} WHERE n <= $3"
_NOW = "SELECT clock_timestamp() AS now"
_ARE_ANEW = """SELECT NOT EXISTS (SELECT 1 FROM processes
    WHERE seen < $1 AND seen > clock_timestamp() - interval '30 seconds')"""
_WRITE = "UPDATE checkpoints SET version = $2, document = $3 WHERE uid = $1"
_DELETE = "DELETE FROM checkpoints WHERE uid = $1"

_DERIVED = {
    "enrolled": ("SELECT experiment, arm, count(*) AS users FROM enrolments GROUP BY 1, 2", "true"),
    "metric_sums": (build_metric_sums("reward_parts"), "true"),
    "judgement_totals": (
        """SELECT policy, state, coalesce(reason, '') AS reason, count(*) AS count FROM judgements
            WHERE state = 'waiting' GROUP BY 1, 2, 3""",
        "state = 'waiting'",
    ),
}
"""Totals of what is there: the query of their rows, and which of the totals these are."""
_LASTING = {"rollups": "hour", "draws": "day", "arrivals": "day"}
"""Totals of all that ever was, under -1, and by this column of the time since they are kept by it."""


@dataclass(slots=True)
class SharedVerification:
    """What a comparison of a shared ledger's checkpoints and totals with its events found.

    Attributes:
        users: users of the ledger.
        missing: those who have taught something and have no checkpoint; they are folded as they are met.
        compared: checkpoints that were looked at.
        equal: those that say what the events say.
        superseded: those that nobody reads: something in them was taken back since, or counts otherwise.
        faults: those that cannot be trusted, by the user's key, and why.
        totals: names of totals that are not what they should be, and by how much.
    """

    users: int = 0
    missing: int = 0
    compared: int = 0
    equal: int = 0
    superseded: int = 0
    faults: dict[int, str] = field(default_factory=dict)
    totals: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether there is nothing to repair."""
        return not self.faults and not self.totals


@dataclass(frozen=True, slots=True)
class SharedRebuild:
    """What a rebuild did.

    Attributes:
        users: users of the ledger.
        compared: checkpoints that were looked at.
        mended: those that were wrong, and were made again.
        totals: totals that were wrong, and were made again.
        left: what could not be.
    """

    users: int
    compared: int
    mended: int
    totals: list[str]
    left: list[str]


def verify_shared(
    address: LedgerAddress, catalogue: Catalogue, *, everybody: bool = False, tick: Tick = no_tick
) -> SharedVerification:
    """Compare checkpoints of a sample of users, or of all, and the totals, with the events; services may run meanwhile.

    Raises:
        ConfigurationError: the schema holds no ledger of this version.
        StorageUnavailableError: it cannot be read.
    """
    with open_command_pool(address) as (runner, pool):
        return runner.run(_Checker(pool, catalogue).verify(everybody=everybody, tick=tick))


def rebuild_shared(address: LedgerAddress, catalogue: Catalogue, tick: Tick = no_tick) -> SharedRebuild:
    """Make wrong checkpoints and totals again from the events, and have all services read the ledger anew.

    Raises:
        ConfigurationError: the schema holds no ledger of this version.
        StorageUnavailableError: it cannot be written.
    """
    with open_command_pool(address, writes=True) as (runner, pool):
        return runner.run(_Checker(pool, catalogue).rebuild(tick))


async def _execute(channel: Channel, _: int, *, statement: str) -> None:
    await channel.session.execute(statement)


class _Checker:
    def __init__(self, pool: ConnectionPool, catalogue: Catalogue) -> None:
        self._pool = pool
        self._policies = LedgerPolicies(catalogue)

    async def verify(self, *, everybody: bool, tick: Tick) -> SharedVerification:
        await self._policies.load(self._pool)
        counts = await self._pool.fetch_one(_COUNT)
        found = SharedVerification(users=counts["users"], missing=counts["missing"])
        async for uid in self._iter_keys(everybody=everybody or counts["checkpoints"] <= SAMPLE):
            fault = await self._transact(self._check, uid, is_written=False)
            found.compared += 1
            found.equal += fault is None
            found.superseded += fault == ""
            if fault:
                found.faults[uid] = fault
            tick()
        for table in _DERIVED:
            rows = await self._pool.fetch(_build_differences(table))
            found.totals += [_describe(table, row) for row in rows]
        for table in _LASTING:
            rows = await self._pool.fetch(_build_excess(table))
            found.totals += [_describe(table, row) for row in rows]
        return found

    async def rebuild(self, tick: Tick) -> SharedRebuild:
        found = await self.verify(everybody=True, tick=tick)
        wrong = list(found.faults)
        for _ in range(_PASSES):  # whoever holds what is wrong in memory may write it once more, until they let go
            mended = [uid for uid in wrong if await self._transact(self._mend, uid)]
            if not mended:
                break
            await self._have_read_anew()
        totals = []
        for table in _DERIVED:
            rows = await self._pool.fetch(_build_differences(table))
            if rows:
                await self._pool.transact(partial(_execute, statement=_build_mend(table)))
                totals += [_describe(table, row) for row in rows]
        left = [each for each in found.totals if each.split(":")[0] in _LASTING]
        return SharedRebuild(found.users, found.compared, len(wrong), totals, left)

    async def _have_read_anew(self) -> None:
        now = (await self._pool.fetch_one(_NOW))["now"]
        await self._pool.transact(partial(_execute, statement=HAVE_READ_ANEW))
        for _ in range(int(_WAIT_S / _LOOK_S)):
            if (await self._pool.fetch_one(_ARE_ANEW, now))[0]:
                return
            await asyncio.sleep(_LOOK_S)

    async def _iter_keys(self, *, everybody: bool) -> AsyncIterator[int]:
        if not everybody:
            for row in await self._pool.fetch(_SAMPLE, SAMPLE):
                yield row["uid"]
            return
        after = 0
        while rows := await self._pool.fetch(_NEXT, after, _PAGE):
            for row in rows:
                yield row["uid"]
            after = rows[-1]["uid"]

    async def _transact(self, work: Callable[[Session, int], Awaitable[T]], uid: int, *, is_written: bool = True) -> T:
        """Do something about a user as of one moment, or under locks."""

        async def run(channel: Channel, _: int) -> T:
            return await work(channel.session, uid)

        if is_written:
            return await self._pool.transact(run, is_long=True)
        return await self._pool.run(run, is_long=True, is_snapshot=True)

    async def _check(self, session: Session, uid: int) -> str | None:
        """What is wrong with a checkpoint; ``None`` for nothing, and empty where nobody reads it."""
        row = await session.fetchrow(_USER, uid)
        if row is None:  # erased meanwhile
            return ""
        try:
            document = parse(row["checkpoint"])
        except DocumentError as error:
            return str(error)
        if (fault := _find_foreign(document, row)) is not None:
            return fault
        registry = self._policies.registry
        matches = registry.has_matching_shapes(document) and registry.has_matching_memories(document)
        earliest = max(row["parted_version"], row["baseline_version"] or 0)
        if document.seq < earliest or row["is_taken_back"] or not matches:
            return ""
        truth = await self._fold(session, uid, row, document.seq)
        for profile in (document, truth):
            _drop_counters(profile)
        return find_difference(document, truth)

    async def _mend(self, session: Session, uid: int) -> bool:
        """Make a checkpoint again if it is wrong, while its user can teach nothing; returns whether it was."""
        is_there = await session.fetchval(_LOCK, uid)
        if not await self._check(session, uid):
            return False
        if not is_there:
            await session.execute(_DELETE, uid)
            return True
        row = await session.fetchrow(_USER, uid)
        profile = await self._fold(session, uid, row, row["version"])
        profile.seq = row["version"]
        await session.execute(_WRITE, uid, profile.seq, render(profile))
        return True

    async def _fold(self, session: Session, uid: int, row: Any, until: int) -> Profile:
        """A user's state as of a version, by what retention left and the events after that."""
        registry, profile = self._policies.registry, Profile(row["user_id"])
        if row["baseline"] is not None:
            profile = parse(row["baseline"])
            for key in profile.policies:
                profile.restart(key, registry.get_memory(key[0]).since)
        events = await session.fetch(_EVENTS_UNTIL, uid, profile.seq, until)
        if not self._policies.has_all(events):  # a service has just brought new ones
            await self._policies.load(self._pool)
        fold_events(registry, profile, events)
        return profile


def _find_foreign(document: Profile, row: Any) -> str | None:
    """Why a document cannot be this user's checkpoint."""
    if row["user_id"] is None:
        return "belongs to nobody the ledger knows"
    if document.user_id != row["user_id"] or document.seq != row["checkpoint_version"]:
        return "is another user's, or of another version"
    return "knows events that the ledger does not" if document.seq > row["version"] else None


def _drop_counters(profile: Profile) -> None:
    """Leave out what decisions count, which no event moves."""
    for key, state in list(profile.policies.items()):
        if not state.reward_count and (state.ridge is None or not state.ridge.count):
            del profile.policies[key]
        state.pulls = state.explores = 0
        state.last_updated = None


def _build_differences(table: str) -> str:
    """By how much the totals of a table are less than what is there."""
    keys, sums = STRIPED[table]
    truth, condition = _DERIVED[table]
    kept = f"""SELECT {", ".join(keys)}, {", ".join(f"sum({name}) AS {name}" for name in sums)}
        FROM {table}_s WHERE {condition} GROUP BY {", ".join(keys)}"""  # noqa: S608 (constants)
    changes = ", ".join(f"coalesce(t.{name}, 0)::float8 - coalesce(k.{name}, 0)::float8 AS {name}" for name in sums)
    differ = " OR ".join(
        f"abs(coalesce(t.{name}, 0) - coalesce(k.{name}, 0)) > {TOLERANCE} * (1 + abs(coalesce(t.{name}, 0)))"
        for name in sums
    )
    return f"""SELECT {", ".join(keys)}, {changes} FROM ({truth}) AS t FULL JOIN ({kept}) AS k
        USING ({", ".join(keys)}) WHERE {differ}"""  # noqa: S608 (constants)


def _build_mend(table: str) -> str:
    """Adds what the totals of a table are short of, all in one statement: of one moment."""
    keys, sums = STRIPED[table]
    columns = f"{', '.join(keys)}, {_FOLDED_STRIPE}, {', '.join(sums)}"
    return build_striped_upsert(table, f"SELECT {columns} FROM ({_build_differences(table)}) AS d")  # noqa: S608 (constants)


def _build_excess(table: str) -> str:
    """Where the parts by time are more than the whole that they are of."""
    time, (keys, sums) = _LASTING[table], STRIPED[table]
    own = [key for key in keys if key != time]
    count = "decisions" if "decisions" in sums else "rewards"
    excess = f"sum({count}) FILTER (WHERE {time} >= 0) - coalesce(sum({count}) FILTER (WHERE {time} = -1), 0)"
    return f"""SELECT {", ".join(own)}, ({excess})::float8 AS {count} FROM {table}_s
        GROUP BY {", ".join(own)} HAVING {excess} > 0"""  # noqa: S608 (constants)


def _describe(table: str, row: Any) -> str:
    keys, _ = STRIPED[table]
    where = ", ".join(f"{name} {value}" for name, value in row.items() if name in keys)
    amounts = ", ".join(f"{name} by {value:g}" for name, value in row.items() if name not in keys and value)
    return f"{table}: {where}: {amounts}"
