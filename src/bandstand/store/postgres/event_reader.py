"""The decision log of a shared ledger, for commands: as :mod:`bandstand.store.maintenance.decision_log` reads it.

It is read a page of event numbers at a time, each page in a transaction of its own. A reward carries its pick, so what
retention has taken of its decision is not missed.
"""

import asyncio
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, Final

import numpy as np

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.profile import Profile
from bandstand.store.learners.documents import parse
from bandstand.store.logged_events import PAGE, LoggedDecision, LoggedEvent, LoggedReset, LoggedReward, LoggedState
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.command_pool import open_command_pool
from bandstand.store.postgres.connections import Channel, ConnectionPool, Session
from bandstand.store.postgres.registry import LedgerPolicies
from bandstand.store.records import first_seq_at
from bandstand.store.sqlite.packing import unpack_body
from bandstand.store.tables.loops import LoopChange, parse_loop_change

_NOT_REVOKED: Final = """NOT EXISTS (SELECT 1 FROM revocations AS v
    WHERE v.reward_seq = r.seq AND v.seq <= {last}::bigint AND v.ts <= {end}::float8)"""
_STANDS: Final = f"""(SELECT r.value FROM rewards AS r
    WHERE r.{{column}} = d.seq AND r.seq <= $4 AND r.ts <= $6 AND (r.applied OR r.reason = 'reset')
        AND {_NOT_REVOKED.format(last="$4", end="$6")} ORDER BY r.n DESC LIMIT 1)"""  # noqa: S608 (constants)
_DECISIONS: Final = f"""SELECT d.seq, d.uid, d.version, d.policy, d.ts, d.seed, d.pick, d.propensity, d.body, d.numbers,
        coalesce({_STANDS.format(column="decision_seq")}, {_STANDS.format(column="linked_seq")}) AS reward
    FROM decisions AS d
    WHERE d.seq > $1 AND d.seq <= $2 AND d.seq >= $3 AND d.ts >= $5 AND d.ts <= $6
        AND NOT EXISTS (SELECT 1 FROM windows AS w WHERE w.decision = d.seq AND w.held)"""  # noqa: S608 (constants)
_REWARDS: Final = f"""SELECT r.seq, r.uid, r.n, r.ts, r.value, r.weight, r.features, r.picked,
        coalesce(r.decision_seq, r.linked_seq) AS decision
    FROM rewards AS r WHERE r.seq > $1 AND r.seq <= $2 AND r.applied AND r.ts <= $4
        AND {_NOT_REVOKED.format(last="$3", end="$4")}"""  # noqa: S608 (constants)
_MARKS: Final = """SELECT seq, uid, n, ts, kind, document FROM marks
    WHERE seq > $1 AND seq <= $2 AND ts <= $3 AND kind IN ('reset', 'import') AND uid IS NOT NULL"""
_TABLES: Final = ("decisions", "rewards", "marks")
FIND_LAST_EVENT: Final = """SELECT greatest((SELECT max(seq) FROM decisions), (SELECT max(seq) FROM rewards),
    (SELECT max(seq) FROM marks), (SELECT max(seq) FROM revocations))"""
_NTH: Final = "SELECT seq FROM {table} WHERE seq > $1 ORDER BY seq LIMIT 1 OFFSET $2"
_COUNT: Final = """SELECT (SELECT count(*) FROM decisions) + (SELECT count(*) FROM rewards)
    + (SELECT count(*) FROM marks)"""
_BASELINES: Final = "SELECT uid, document FROM baselines WHERE uid > $1 ORDER BY uid LIMIT $2"
_LOOP_CHANGES: Final = "SELECT seq, ts, client, document FROM marks WHERE uid IS NULL AND kind = 'loop' ORDER BY seq"


class SharedEventReader:
    """The log of one loop, read by a thread that runs no event loop.

    Args:
        runner: runs what asks the database.
        pool: one connection.
        policies: those that the ledger knows.
    """

    def __init__(self, runner: asyncio.Runner, pool: ConnectionPool, policies: LedgerPolicies) -> None:
        self._runner = runner
        self._pool = pool
        self._policies = policies

    def read_events(
        self, *, since: float | None = None, until: float | None = None, page: int = PAGE
    ) -> Iterator[list[LoggedEvent]]:
        """Every event of the ledger as of now, in order, in lists of bounded length.

        States that replace events which retention deleted come first; decisions from before them are left out.

        Args:
            since: decisions before this time are left out; what they taught is not.
            until: nothing after this time is read, rewards included.
            page: most events of one kind in a list.
        """
        last = int(self._fetch(FIND_LAST_EVENT)[0][0] or 0)
        self._runner.run(self._policies.load(self._pool))
        names = self._policies.registry.get_names()
        kept = dict[int, int]()
        for states in self._read_baselines(page):
            kept.update((each.uid, each.profile.seq) for each in states)
            yield list(states)
        first = 0 if since is None else first_seq_at(since)
        bounds = (first, last, -math.inf if since is None else since, math.inf if until is None else until)
        after = 0
        while after < last:
            after, events = self._runner.run(self._read_page(after, page, bounds, names, kept))
            yield events

    def count_events(self) -> int:
        """About how many events :meth:`read_events` gives: rows of the ledger, few of which it passes over."""
        return int(self._fetch(_COUNT)[0][0])

    def list_loop_changes(self) -> list[LoopChange]:
        """Every change of a loop, where this is the default one's ledger."""
        return [parse_loop_change(*row) for row in self._fetch(_LOOP_CHANGES)]

    def _fetch(self, query: str, *values: object) -> list[Any]:
        async def fetch_rows(channel: Channel, _: int) -> list[Any]:
            return list(await channel.session.fetch(query, *values))

        return self._runner.run(self._pool.run(fetch_rows, is_long=True))

    def _read_baselines(self, page: int) -> Iterator[list[LoggedState]]:
        after = 0
        while rows := self._fetch(_BASELINES, after, page):
            yield [LoggedState(0, row["uid"], 0.0, parse(row["document"])) for row in rows]
            after = rows[-1]["uid"]

    async def _read_page(
        self,
        after: int,
        page: int,
        bounds: tuple[int, int, float, float],
        names: Mapping[int, str],
        kept: dict[int, int],
    ) -> tuple[int, list[LoggedEvent]]:
        first, last, begin, end = bounds

        async def read(channel: Channel, _: int) -> tuple[int, list[Any], list[Any], list[Any]]:
            session = channel.session
            until = await _find_page_end(session, after, last, page)
            return (
                until,
                await session.fetch(_DECISIONS, after, until, first, last, begin, end),
                await session.fetch(_REWARDS, after, until, last, end),
                await session.fetch(_MARKS, after, until, end),
            )

        until, decisions, rewards, marks = await self._pool.run(read, is_long=True, is_snapshot=True)
        events: list[LoggedEvent] = [
            _to_decision(row, names) for row in decisions if row["version"] >= kept.get(row["uid"], 0)
        ]
        events += [_to_reward(row) for row in rewards if row["n"] > kept.get(row["uid"], 0)]
        events += [_to_mark_event(row) for row in marks if row["n"] > kept.get(row["uid"], 0)]
        return until, sorted(events, key=attrgetter("seq"))


@contextmanager
def open_shared_log(address: LedgerAddress, catalogue: Catalogue) -> Iterator[SharedEventReader]:
    """Read a loop's log, whether or not services run on it.

    Raises:
        ConfigurationError: the schema holds no ledger that this version reads.
        StorageUnavailableError: the database cannot be read.
    """
    with open_command_pool(address) as (runner, pool):
        policies = LedgerPolicies(catalogue)
        runner.run(policies.load(pool))
        yield SharedEventReader(runner, pool, policies)


async def _find_page_end(session: Session, after: int, last: int, page: int) -> int:
    """The event number up to which no table has more than a page of rows."""
    ends = [await session.fetchval(_NTH.format(table=table), after, page - 1) for table in _TABLES]
    return min([last, *(int(end) for end in ends if end is not None)])


def _to_decision(row: Any, names: Mapping[int, str]) -> LoggedDecision:
    means, _, _, probabilities = np.frombuffer(row["numbers"], dtype=np.float64).reshape(4, -1)
    return LoggedDecision(
        seq=row["seq"],
        uid=row["uid"],
        policy=names[row["policy"]],
        ts=row["ts"],
        seed=row["seed"],
        pick=row["pick"],
        propensity=row["propensity"],
        probabilities=probabilities,
        body=unpack_body(row["body"]),
        reward=row["reward"],
        means=means,
    )


def _to_reward(row: Any) -> LoggedReward:
    body, decision = row["picked"], row["decision"]
    if row["features"] is not None:
        legacy = json.loads(row["features"])
        # Under another schema, context may be read from what was sent as a feature.
        request = {"context": legacy["features"] | legacy["context"], "candidates": [{"features": legacy["features"]}]}
        body, decision = json.dumps(request).encode(), None
    return LoggedReward(row["seq"], row["uid"], row["ts"], row["value"], row["weight"], decision, 0, body)


def _to_mark_event(row: Any) -> LoggedReset | LoggedState:
    if row["kind"] == "reset":
        return LoggedReset(row["seq"], row["uid"], row["ts"])
    return LoggedState(row["seq"], row["uid"], row["ts"], Profile.from_json(json.loads(row["document"])))
