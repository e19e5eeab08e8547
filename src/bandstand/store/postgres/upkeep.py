"""Upkeep that one leading process does for all: retention, and adding up the totals of past hours.

The leader holds a lease by the database's clock. Every transaction of its work looks whether the lease is still its
own, by a number that grows with every new leader: one that was paused, and is not the leader any more, writes nothing.
"""

import asyncio
import time
from contextlib import suppress
from typing import Any

from bandstand.bandit.profile import Profile
from bandstand.errors import BandstandError, StorageUnavailableError
from bandstand.store.learners.documents import parse, render
from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.folding import fold_events
from bandstand.store.postgres.gain_log import SharedGains
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.part_statements import build_metric_counts
from bandstand.store.postgres.profiles import BASELINE, EVENTS
from bandstand.store.postgres.schema import STRIPED
from bandstand.store.postgres.slots import MAX_SKEW_S
from bandstand.store.records import first_seq_at, to_time
from bandstand.store.tables.loop_health import to_day

LEASE_S = 10.0
_RENEWAL_S = 3.0
_INTERVAL_S = 3600.0
_DAY = 86_400.0
_KEY_DAYS = 7
_SPENDING_DAYS = 35
_MILLISECOND = 0.001
_ROWS = 100
"""In one transaction: a longer one would keep their users, and the database's processor, from others."""
_REST = 1.0
"""Times that each took, for which others go first."""
_LOOSE_HOURS = 2
_FOLDED_STRIPE = -1

_LEAD = """INSERT INTO leases (name, holder, until, fence)
    VALUES ('upkeep', $1, clock_timestamp() + make_interval(secs => $2), 1)
    ON CONFLICT (name) DO UPDATE SET holder = $1, until = clock_timestamp() + make_interval(secs => $2),
        fence = leases.fence + (leases.holder IS DISTINCT FROM $1)::integer
    WHERE leases.holder = $1 OR leases.until < clock_timestamp() RETURNING fence"""
_STEP_DOWN = "UPDATE leases SET until = clock_timestamp() WHERE name = 'upkeep' AND holder = $1"
REQUIRE_LEAD = """SELECT 1 FROM leases WHERE name = 'upkeep' AND holder = $1 AND fence = $2
    AND until > clock_timestamp() FOR SHARE"""

_HAVE_LEASE = """INSERT INTO leases (name, until, fence) VALUES ('upkeep', clock_timestamp(), 0)
    ON CONFLICT DO NOTHING"""
_LOCK_LEASE = "SELECT 1 FROM leases WHERE name = 'upkeep' FOR UPDATE"
"""Until the transaction ends, nobody else does what a leader does."""

_DELETE_KEYS = """DELETE FROM idempotency WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency WHERE ts < $1 LIMIT $2))"""
_DELETE_SPENDING = """DELETE FROM judge_spending WHERE seq = ANY (ARRAY(
    SELECT seq FROM judge_spending WHERE day < $1 LIMIT $2))"""
_DELETE_GAINS = """DELETE FROM gain_users WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM gain_users WHERE day < $1 LIMIT $2))"""
"""Whose part it was in the sums of days that retention takes."""
_DELETE_TEXTS = """DELETE FROM turns WHERE judgement = ANY (ARRAY(
    SELECT judgement FROM turns WHERE judgement <= $1 ORDER BY judgement LIMIT $2))"""
_DELETE_QUOTES = """UPDATE verdicts SET quotes = NULL WHERE seq = ANY (ARRAY(
    SELECT seq FROM verdicts WHERE quotes IS NOT NULL AND judgement <= $1 LIMIT $2))"""
_DELETE_GENERATIONS = """WITH old AS MATERIALIZED (
        SELECT seq, uid FROM generations WHERE seq <= $1 ORDER BY seq LIMIT $2),
    tips AS (DELETE FROM generated_tips AS t USING old WHERE t.uid = old.uid AND t.generation = old.seq)
    DELETE FROM generations AS g USING old WHERE g.seq = old.seq"""
_DELETE_PROCESSES = (
    "DELETE FROM processes WHERE seen < clock_timestamp() - interval '1 hour' AND $1::bigint > 0 AND $2 > 0"
)
_COUNT_PULLS = """counted AS (
        INSERT INTO pulls (uid, policy, pulls, explores, last)
        SELECT o.uid, o.policy, count(*), count(*) FILTER (WHERE o.exploring), max(o.ts)
        FROM old AS o JOIN held AS h ON h.uid = o.uid AND o.version >= h.reset_version GROUP BY 1, 2
        ON CONFLICT (uid, policy) DO UPDATE SET pulls = pulls.pulls + excluded.pulls,
            explores = pulls.explores + excluded.explores, last = greatest(pulls.last, excluded.last)),
    """
_DELETE_DECISIONS = """WITH old AS MATERIALIZED (
        SELECT seq, uid, policy, exploring, version, ts FROM decisions WHERE seq <= $1 ORDER BY seq LIMIT $2),
    held AS MATERIALIZED (
        SELECT uid, reset_version FROM users WHERE uid IN (SELECT uid FROM old) ORDER BY uid FOR NO KEY UPDATE),
    {counted}ids AS (DELETE FROM decision_ids AS i USING old WHERE i.seq = old.seq),
    traced AS (DELETE FROM lineage AS l USING old WHERE l.decision = old.seq),
    shadowed AS (DELETE FROM shadows AS s USING old WHERE s.decision = old.seq),
    windowed AS (DELETE FROM windows AS w USING old WHERE w.decision = old.seq),
    claimed AS (DELETE FROM claims AS c USING old WHERE c.uid = old.uid AND c.decision_seq = old.seq)
    DELETE FROM decisions AS d USING old WHERE d.seq = old.seq"""
_DELETE_PARTS = f"""WITH old AS MATERIALIZED (
        SELECT * FROM reward_parts AS p WHERE seq <= $1 AND NOT EXISTS (
            SELECT 1 FROM decisions AS d WHERE d.seq = p.decision) ORDER BY seq LIMIT $2),
    uncounted AS ({build_metric_counts("old", "-1", str(_FOLDED_STRIPE))}),
    reacted AS (DELETE FROM reactions AS x USING old WHERE x.seq = old.seq AND NOT EXISTS (
        SELECT 1 FROM rewards AS r WHERE r.seq = x.seq))
    DELETE FROM reward_parts AS p USING old WHERE p.seq = old.seq"""  # noqa: S608 (constants)
_DELETE_SUBJECTS = """DELETE FROM subjects WHERE seq = ANY (ARRAY(
    SELECT s.seq FROM subjects AS s WHERE s.seq <= $1
        AND NOT EXISTS (SELECT 1 FROM decisions AS d WHERE d.seq = s.seq)
        AND NOT EXISTS (SELECT 1 FROM rewards AS r WHERE r.decision_seq = s.seq)
        AND NOT EXISTS (SELECT 1 FROM rewards AS r WHERE r.linked_seq = s.seq) ORDER BY s.seq LIMIT $2))"""
"""Whoever is erased is found by them in what everybody's model was taught, for as long as that is there."""
_OVERDUE = """SELECT uid, max(n) AS n FROM rewards AS r WHERE seq <= $1 AND NOT EXISTS (
        SELECT 1 FROM revocations AS v WHERE v.uid = r.uid AND v.ts > $2 AND v.reward_seq <= $1)
    GROUP BY uid ORDER BY uid LIMIT 200"""
_LOCK = "SELECT user_id FROM users WHERE uid = $1 FOR NO KEY UPDATE"
_WRITE_BASELINE = """INSERT INTO baselines (uid, version, last, document) VALUES ($1, $2, $3, $4)
    ON CONFLICT (uid) DO UPDATE SET version = excluded.version, document = excluded.document,
        last = greatest(baselines.last, excluded.last)"""
_EVENTS_UNTIL = f"{EVENTS} WHERE n <= $3"
_LAST_REVOCATION = "SELECT max(n) FROM revocations WHERE uid = $1 AND reward_n <= $2"
_FORGET_EVENTS = (
    "DELETE FROM revocations WHERE uid = $1 AND reward_n <= $2",
    """DELETE FROM reactions AS x USING rewards AS r WHERE r.uid = $1 AND r.n <= $2 AND x.seq = r.seq
        AND NOT EXISTS (SELECT 1 FROM reward_parts AS p WHERE p.seq = x.seq)""",
    "DELETE FROM rewards WHERE uid = $1 AND n <= $2",
    "DELETE FROM marks WHERE uid = $1 AND n <= $2 AND kind IN ('reset', 'import')",
)


class Upkeep:
    """Leads where nobody else does, and keeps the ledger small.

    Args:
        ledger: whose.
        gains: sums up what goes, before it does.
    """

    def __init__(self, ledger: SharedLedger, gains: SharedGains) -> None:
        self._ledger = ledger
        self._gains = gains
        self._fence: int | None = None
        self._done_at = -_INTERVAL_S
        self._is_asked = False  # somebody waits for what is done now

    @property
    def is_leader(self) -> bool:
        """Whether this process led when it last looked."""
        return self._fence is not None

    @property
    def held_lease(self) -> tuple[str, int] | None:
        """Who leads by which fence, if it is this process; whoever writes as the leader looks for it in the ledger."""
        return None if self._fence is None else (self._ledger.lease.holder, self._fence)

    async def run(self) -> None:
        """Lead whenever that is free, and see to the ledger once an hour; the lease is renewed meanwhile."""
        loop, retention = asyncio.get_running_loop(), None
        try:
            while True:
                with suppress(BandstandError):
                    await self.try_to_lead()
                is_due = loop.time() - self._done_at >= _INTERVAL_S
                if self.is_leader and is_due and (retention is None or retention.done()):
                    retention = asyncio.create_task(self._see_to_ledger())
                await asyncio.sleep(_RENEWAL_S)
        finally:
            if retention is not None:
                retention.cancel()
                await asyncio.gather(retention, return_exceptions=True)

    async def _see_to_ledger(self) -> None:
        with suppress(BandstandError):  # it goes on where it was at the next look
            await self.apply_retention()
            self._done_at = asyncio.get_running_loop().time()

    async def step_down(self) -> None:
        """Let another lead."""
        if self.is_leader:
            self._fence = None
            with suppress(BandstandError):
                await self._ledger.writers.fetch(_STEP_DOWN, self._ledger.lease.holder)

    async def try_to_lead(self) -> None:
        """Renew the lease, or take it where it is free; not by a clock that is wrong."""
        fence: int | None = None
        try:
            if abs(self._ledger.lease.skew_s) <= MAX_SKEW_S or not self._ledger.has_real_clock:
                row = await self._ledger.writers.fetch_one(_LEAD, self._ledger.lease.holder, LEASE_S)
                fence = None if row is None else row["fence"]
        finally:
            self._fence = fence

    async def apply_retention(self) -> None:
        """Delete what is past its days; what was learned of it stays."""
        options, now = self._ledger.options, self._ledger.clock()
        await self._delete(_DELETE_KEYS, now - _KEY_DAYS * _DAY)
        await self._delete(_DELETE_SPENDING, int(now // _DAY) - _SPENDING_DAYS)
        await self._delete(_DELETE_PROCESSES, 1)
        if options.turn_retention_days:
            cutoff = first_seq_at(now - options.turn_retention_days * _DAY)
            for statement in (_DELETE_TEXTS, _DELETE_QUOTES):
                await self._delete(statement, cutoff)
        if options.retention_days:
            cutoff = first_seq_at(now - options.retention_days * _DAY)
            await self._gains.follow_until(cutoff)
            # The answer of a reward is kept for as long as its Idempotency-Key.
            answered = first_seq_at(now - max(options.retention_days, _KEY_DAYS) * _DAY)
            await self._delete_events(cutoff, answered, now)
        for table, (keys, _) in STRIPED.items():
            if keys[0] in {"hour", "day"}:
                await self._fold_stripes(table, int(now // (3600 if keys[0] == "hour" else _DAY)))

    async def delete_log(self) -> None:
        """Delete every decision and reward until now; what was learned stays. Whoever leads waits for each step."""
        ledger, now = self._ledger, self._ledger.clock()
        until = max(ledger.next_seq(now), first_seq_at(now + _MILLISECOND))
        await ledger.writers.transact(lambda channel, _: channel.session.execute(_HAVE_LEASE))
        await self._gains.follow_until(until)
        self._is_asked = True
        try:
            await self._delete_events(until, until, now + _DAY)  # what was taken back lately goes, too
        finally:
            self._is_asked = False

    async def _delete_events(self, cutoff: int, answered: int, now: float) -> None:
        """Delete what was decided up to ``cutoff``, and what came of it up to ``answered``."""
        await self._delete(_DELETE_GENERATIONS, cutoff)
        # The totals of all decisions count for everybody's model, whether or not they are there.
        counted = "" if self._ledger.options.has_one_model else _COUNT_PULLS
        await self._delete(_DELETE_DECISIONS.format(counted=counted), cutoff)
        await self._delete(_DELETE_GAINS, to_day(to_time(cutoff)))
        await self._delete(_DELETE_PARTS, answered)
        await self._trim_rewards(answered, now)
        await self._delete(_DELETE_SUBJECTS, answered)

    async def _delete(self, statement: str, until: float) -> None:
        """Delete up to a bound, some rows at a time."""
        rows = _ROWS
        while rows == _ROWS:

            async def delete(channel: Channel) -> int:
                tag: str = await channel.session.execute(statement, until, _ROWS)
                return int(tag.rsplit(maxsplit=1)[-1])

            started = time.monotonic()
            rows = await self._do(delete)
            if rows == _ROWS:
                await asyncio.sleep(_REST * (time.monotonic() - started))

    async def _trim_rewards(self, cutoff: int, now: float) -> None:
        """Replace rewards up to ``cutoff`` by what they made of their users, user by user."""
        while overdue := await self._ledger.readers.fetch(_OVERDUE, cutoff, now - 3600.0):
            for row in overdue:
                started = time.monotonic()
                await self._trim_user(row["uid"], row["n"])
                await asyncio.sleep(_REST * (time.monotonic() - started))

    async def _trim_user(self, uid: int, until: int) -> None:
        registry = self._ledger.registry

        async def trim(channel: Channel) -> None:
            session = channel.session
            user_id = await session.fetchval(_LOCK, uid)
            before = await session.fetchrow(BASELINE, uid)
            if user_id is None:
                return
            profile = Profile(user_id) if before is None else parse(before["document"])
            # What a baseline holds is taken back by an event after it, which may not go before it is folded.
            revoked = await session.fetchval(_LAST_REVOCATION, uid, profile.seq)
            # Some at a time: everybody who rewards a model of many waits meanwhile.
            last_n = max(min(until, profile.seq + _ROWS), profile.seq, revoked or 0)
            events = await session.fetch(_EVENTS_UNTIL, uid, profile.seq, last_n)
            fold_events(registry, profile, events)
            profile.seq = last_n
            last = max((each["ts"] for each in events if each["ts"] is not None), default=0.0)
            await session.execute(_WRITE_BASELINE, uid, last_n, last, render(profile))
            for statement in _FORGET_EVENTS:
                await session.execute(statement, uid, last_n)

        await self._do(trim)

    async def _fold_stripes(self, table: str, now: int) -> None:
        """Bring the totals of past hours or days together, which many connections have counted."""
        keys, sums = STRIPED[table]
        added = ", ".join(f"{name} = {table}_s.{name} + excluded.{name}" for name in sums)
        statement = f"""WITH gone AS (
                DELETE FROM {table}_s WHERE {keys[0]} >= 0 AND {keys[0]} < $1 AND stripe <> {_FOLDED_STRIPE}
                RETURNING *)
            INSERT INTO {table}_s ({", ".join((*keys, "stripe", *sums))})
            SELECT {", ".join(keys)}, {_FOLDED_STRIPE}, {", ".join(f"sum({name})" for name in sums)} FROM gone
            GROUP BY {", ".join(keys)}
            ON CONFLICT ({", ".join((*keys, "stripe"))}) DO UPDATE SET {added}"""  # noqa: S608 (constants)
        await self._do(lambda channel: channel.session.execute(statement, now - _LOOSE_HOURS))

    async def _do(self, work: Any) -> Any:
        """Do something in a transaction of the leader's, or in one that keeps any leader out.

        Raises:
            NoLeaderError: another leads by now; nothing was done.
        """

        async def do(channel: Channel, _: int) -> Any:
            if self._is_asked:
                await channel.session.execute(_LOCK_LEASE)
                return await work(channel)
            held = (self._ledger.lease.holder, self._fence)
            if self._fence is None or await channel.session.fetchval(REQUIRE_LEAD, *held) is None:
                self._fence = None
                raise NoLeaderError("another process leads by now")
            return await work(channel)

        return await self._ledger.writers.transact(do, is_long=True)


class NoLeaderError(StorageUnavailableError):
    """This process does not lead, or not any more."""
