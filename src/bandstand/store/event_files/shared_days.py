"""The days of a shared ledger, out of PostgreSQL: of a standby, if the URL asks for one."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from bandstand.bandit.catalogue import Catalogue
from bandstand.store.event_files.day_rows import PAGE, Baselines, DayReader
from bandstand.store.event_files.form import EventRow
from bandstand.store.learners.documents import parse
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.command_pool import open_command_pool
from bandstand.store.postgres.connections import Channel, ConnectionPool, Session
from bandstand.store.postgres.registry import LedgerPolicies
from bandstand.store.records import first_seq_at

_TABLES: Final = ("decisions", "rewards", "marks", "revocations")
# Where a model is everybody's, a decision is about whom it was made for.
_ABOUT: Final = """JOIN users AS u ON u.uid = {row}.uid LEFT JOIN subjects AS s ON s.seq = {decision}
    LEFT JOIN users AS su ON su.uid = s.uid"""
_STANDS: Final = """(SELECT r.value FROM rewards AS r WHERE r.{column} = d.seq AND (r.applied OR r.reason = 'reset')
    AND NOT EXISTS (SELECT 1 FROM revocations AS v WHERE v.reward_seq = r.seq) ORDER BY r.n DESC LIMIT 1)"""
_DECISIONS: Final = f"""SELECT d.version, d.seq, d.uid, coalesce(su.user_id, u.user_id), d.ts, d.policy, d.seed, d.pick,
        d.propensity, d.body, d.numbers,
        coalesce({_STANDS.format(column="decision_seq")}, {_STANDS.format(column="linked_seq")}),
        EXISTS (SELECT 1 FROM windows AS w WHERE w.decision = d.seq AND w.held)
    FROM decisions AS d {_ABOUT.format(row="d", decision="d.seq")}
    WHERE d.seq > $1 AND d.seq <= $2"""  # noqa: S608 (constants)
_REWARDS: Final = f"""SELECT r.n, r.seq, r.uid, coalesce(su.user_id, u.user_id), r.ts, r.value, r.weight, r.features,
        coalesce(r.decision_seq, r.linked_seq), r.decision_seq IS NULL, r.applied, r.picked
    FROM rewards AS r {_ABOUT.format(row="r", decision="coalesce(r.decision_seq, r.linked_seq)")}
    WHERE r.seq > $1 AND r.seq <= $2 AND (r.applied OR r.reason = 'reset')
      AND (r.features IS NOT NULL OR r.picked IS NOT NULL)"""  # noqa: S608 (constants)
_REVOCATIONS: Final = """SELECT v.n, v.seq, v.uid, u.user_id, v.ts, v.reward_seq
    FROM revocations AS v JOIN users AS u ON u.uid = v.uid WHERE v.seq > $1 AND v.seq <= $2"""
_MARKS: Final = """SELECT m.n, m.seq, m.uid, u.user_id, m.ts, m.kind, m.document
    FROM marks AS m JOIN users AS u ON u.uid = m.uid
    WHERE m.seq > $1 AND m.seq <= $2 AND m.kind IN ('reset', 'import')"""
_BASELINES: Final = """SELECT b.uid, u.user_id, b.version, b.last, b.document,
        (SELECT min(r.seq) FROM rewards AS r WHERE r.uid = b.uid AND r.n > b.version) AS next
    FROM baselines AS b JOIN users AS u ON u.uid = b.uid WHERE b.uid > $1 ORDER BY b.uid LIMIT $2"""
_NTH: Final = "SELECT seq FROM {table} WHERE seq > $1 ORDER BY seq LIMIT 1 OFFSET $2"
_KEY: Final = "SELECT value FROM meta WHERE key = 'secret'"
_PICK: Final = 0
"""A reward's request holds its pick alone."""
_MILLISECOND: Final = 0.001


class SharedDays(DayReader):
    """Reads days of a loop's schema, by a thread that runs no event loop.

    Args:
        secret: the ledger's.
        runner: runs what asks the database.
        pool: one connection.
        policies: those that the ledger knows.
    """

    def __init__(self, secret: bytes, runner: asyncio.Runner, pool: ConnectionPool, policies: LedgerPolicies) -> None:
        super().__init__(secret)
        self._runner = runner
        self._pool = pool
        self._policies = policies

    def read_tombstones(self) -> dict[bytes, int]:
        """As the base class says."""
        return {row["user_hash"]: row["seq"] for row in self._fetch("SELECT user_hash, seq FROM tombstones")}

    def find_first_seq(self) -> int | None:
        """As the base class says."""
        firsts = [self._fetch(f"SELECT min(seq) FROM {table}")[0][0] for table in _TABLES]  # noqa: S608 (constants)
        return min((int(seq) for seq in firsts if seq is not None), default=None)

    def read_baselines(self) -> Baselines:
        """As the base class says; each stands after the newest event in it, and before the first that is not."""
        found, after = Baselines([], {}), 0
        while page := self._fetch(_BASELINES, after, PAGE):
            for uid, user_id, version, last, document, following in page:
                end = first_seq_at(last + _MILLISECOND) - 1
                seq = end if following is None else min(end, following - 1)
                state = parse(document).to_json() | {"ledger_seq": seq, "reset_seq": 0}
                found.rows.append(self.build_state("baseline", uid, user_id, json.dumps(state)))
                found.kept_until[uid] = version
            after = page[-1]["uid"]
        return found

    def refresh(self) -> None:
        """As the base class says."""
        self._runner.run(self._policies.load(self._pool))

    def read_page(self, after: int, last: int, baselines: Baselines) -> tuple[int, list[EventRow]]:
        """As the base class says; what a state stands for is told by its user's count of events, not by numbers."""

        async def read(channel: Channel, _: int) -> tuple[int, list[list[Any]]]:
            session = channel.session
            end = await _find_page_end(session, after, last)
            queries = (_DECISIONS, _REWARDS, _REVOCATIONS, _MARKS)
            return end, [await session.fetch(query, after, end) for query in queries]

        end, found = self._runner.run(self._pool.run(read, is_long=True, is_snapshot=True))
        kept = baselines.kept_until
        decisions = [row for row in found[0] if row["version"] >= kept.get(row["uid"], 0)]
        others = ([row for row in rows if row["n"] > kept.get(row["uid"], 0)] for rows in found[1:])
        return end, list(self._build_rows(decisions, *others))

    def _build_rows(
        self,
        decisions: list[Any],
        rewards: list[Any],
        revocations: list[Any],
        marks: list[Any],
    ) -> Iterator[EventRow]:
        names = self._policies.registry.get_names()
        for _, *decision in decisions:
            yield self.build_decision(names, *decision)
        for _, *reward in rewards:
            yield self.build_reward(*reward, _PICK)
        for _, seq, uid, user_id, ts, revoked in revocations:
            yield EventRow("revocation", seq, uid, self.hash_user(user_id), ts, revoked=revoked)
        for _, seq, uid, user_id, ts, kind, document in marks:
            if kind == "reset":
                yield EventRow("reset", seq, uid, self.hash_user(user_id), ts)
            else:
                yield self.build_state("state", uid, user_id, document)._replace(seq=seq, ts=ts)

    def _fetch(self, query: str, *values: object) -> list[Any]:
        async def ask(channel: Channel, _: int) -> list[Any]:
            return list(await channel.session.fetch(query, *values))

        return self._runner.run(self._pool.run(ask, is_long=True))


@contextmanager
def open_shared_days(address: LedgerAddress, catalogue: Catalogue) -> Iterator[SharedDays]:
    """Read a loop's days, whether or not services run on it.

    Raises:
        ConfigurationError: the schema holds no ledger that this version reads.
        StorageUnavailableError: the database cannot be read.
    """
    with open_command_pool(address) as (runner, pool):
        secret = bytes(runner.run(pool.fetch_one(_KEY))[0])
        yield SharedDays(secret, runner, pool, LedgerPolicies(catalogue))


async def _find_page_end(session: Session, after: int, last: int) -> int:
    """The event number up to which no table has more than a page of rows."""
    ends = [await session.fetchval(_NTH.format(table=table), after, PAGE - 1) for table in _TABLES]
    return min([last, *(int(end) for end in ends if end is not None)])
