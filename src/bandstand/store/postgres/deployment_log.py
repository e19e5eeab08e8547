"""What the deployment does as a whole: every change raises the epoch, under which all decisions are compared."""

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import numpy as np

from bandstand.bandit.memory import TaughtReward
from bandstand.bandit.profile import StateKey
from bandstand.errors import BandstandError
from bandstand.store.postgres.background import BackgroundTasks
from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.decision_statements import SETTLE_SHADOWS
from bandstand.store.postgres.folding import list_taught
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.profiles import EVENTS
from bandstand.store.postgres.schema import STRIPED, build_striped_upsert
from bandstand.store.protocol import MovedError
from bandstand.store.records import Decision, PolicyRef, PolicyTotals
from bandstand.store.tables.event_rows import MarkInsert
from bandstand.store.tables.launches import LaunchEvent, build_launch_row, number_event, parse_launch
from bandstand.store.tables.loop_health import Arrivals, Draws, LoopSums, to_day
from bandstand.store.tables.memories import MemoryChange, parse_memory_change, to_document
from bandstand.store.tables.promotions import ExperimentStart, Promotion, build_promotion_row, parse_promotion
from bandstand.store.tables.shadows import Shadow, ShadowSums
from bandstand.store.tables.splits import HOLDOUT, HoldoutStart

LOCK_DEPLOYMENT = "SELECT epoch, shadow_set FROM deployment FOR UPDATE"
RAISE_EPOCH = "UPDATE deployment SET epoch = epoch + 1"
_RAISE_SHADOWS = "UPDATE deployment SET epoch = epoch + 1, shadow_set = $1"
_ADD_MARK = (
    "INSERT INTO marks (seq, uid, kind, ts, client, document) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"
)
IS_MARKED = "SELECT EXISTS (SELECT 1 FROM marks WHERE seq = $1)"
_PROMOTIONS = """SELECT kind, ts, client, document FROM marks
    WHERE uid IS NULL AND kind IN ('promotion', 'demotion') ORDER BY seq"""
_NEWEST_PROMOTION = """SELECT seq, kind, ts, client, document FROM marks
    WHERE uid IS NULL AND kind IN ('promotion', 'demotion') ORDER BY seq DESC LIMIT 1"""
_LAUNCHES = """SELECT seq, ts, client, document FROM marks
    WHERE uid IS NULL AND kind IN ('launch', 'launch-note') ORDER BY seq"""
_NEWEST_LAUNCH = """SELECT coalesce(max(seq), 0) FROM marks
    WHERE uid IS NULL AND kind IN ('launch', 'launch-note')"""
_NEWEST_SPLIT = """SELECT seq, ts, document FROM marks WHERE uid IS NULL AND kind = $1
    ORDER BY seq DESC LIMIT 1"""
_MEMORIES = "SELECT ts, document FROM marks WHERE uid IS NULL AND kind = 'memory' ORDER BY seq"
_ENROLLED = "SELECT arm, users::bigint FROM enrolled WHERE experiment = $1 AND users <> 0"
_TOTALS = """SELECT p.name, sum(decisions)::bigint, sum(explores)::bigint, sum(rewards)::bigint, sum(reward_sum)
    FROM rollups_s AS r JOIN policies AS p ON p.id = r.policy WHERE r.hour = -1 GROUP BY p.name"""
_SHADOW_POLICIES = "SELECT document FROM marks WHERE seq = $1"
_LOCK_DECIDER = """SELECT u.uid, u.is_shadowed FROM users AS u JOIN decisions AS d ON d.uid = u.uid WHERE d.seq = $1
    FOR NO KEY UPDATE OF u"""
_ADD_SHADOWS = """INSERT INTO shadows (decision, policy, uid,
        pick, exploring, agrees, propensity, weight, probabilities)
    SELECT $1, s.policy, $2, s.pick, s.exploring, s.agrees, s.propensity, s.weight, s.probabilities
    FROM unnest($3::integer[], $4::integer[], $5::boolean[], $6::boolean[], $7::float8[], $8::float8[], $9::bytea[])
        AS s(policy, pick, exploring, agrees, propensity, weight, probabilities)
    WHERE EXISTS (SELECT 1 FROM decisions WHERE seq = $1)
    ON CONFLICT DO NOTHING RETURNING policy, agrees"""
_COUNT_SHADOWS = build_striped_upsert(
    "shadow_sums",
    """SELECT s.policy, $3::smallint, 1, s.agrees::integer, 0, 0, 0, 0, 0, 0, 0, 0, 0
        FROM unnest($1::integer[], $2::boolean[]) AS s(policy, agrees)""",
)
_SHADOWS = "SELECT policy, pick, exploring, agrees, propensity, weight, probabilities FROM shadows WHERE decision = $1"
_SHADOW_SUMS = f"SELECT policy, {', '.join(STRIPED['shadow_sums'][1])} FROM shadow_sums"  # noqa: S608 (constants)


class SharedDeployment:
    """What a shared ledger holds of no single user, as :class:`bandstand.store.protocol.DeploymentLog` has it."""

    def __init__(self, ledger: SharedLedger) -> None:
        self._ledger = ledger
        self._background = BackgroundTasks()

    async def close(self) -> None:
        """Write the shadows that were taken."""
        await self._background.join()

    def subscribe(self, on_change: Callable[[], Awaitable[None]]) -> None:
        """Register a function to call after another process has changed the state that all decisions depend on."""
        self._ledger.subscribe(on_change)

    def subscribe_restores(self, listener: Callable[[], Awaitable[None]]) -> None:
        """Register a function to call after the ledger was put back to an earlier moment, and was read anew."""
        self._ledger.subscribe_restores(listener)

    # ── promotions and experiments ────────────────────────────────────────────────────────────────────────────────

    async def log_promotion(self, promotion: Promotion) -> None:
        """Log a change of the active policy: from here on, decisions by the old one are refused.

        Where another process has made the same policy active at the same moment, nothing is logged.
        """
        ledger = self._ledger

        async def write(channel: Channel, _: int) -> None:
            session = channel.session
            await session.fetchrow(LOCK_DEPLOYMENT)
            newest = await session.fetchrow(_NEWEST_PROMOTION)
            if newest is not None:
                if parse_promotion(*newest[1:]).policy == promotion.policy:
                    return  # or it is this one, whose answer was lost
                ledger.observe_seq(newest["seq"])
            await session.execute(_ADD_MARK, *build_promotion_row(ledger.next_seq(promotion.ts), promotion))
            await session.execute(RAISE_EPOCH)

        await ledger.writers.transact(write)
        await ledger.reload()

    async def raise_epoch(self) -> None:
        """Make every process that decides by the deployment's old state be refused, and load it again."""

        async def write(channel: Channel, _: int) -> None:
            await channel.session.execute(RAISE_EPOCH)

        await self._ledger.writers.transact(write)
        await self._ledger.reload()

    async def list_promotions(self) -> list[Promotion]:
        """Every change of the active policy, the oldest first."""
        return [parse_promotion(*row) for row in await self._ledger.readers.fetch(_PROMOTIONS)]

    async def set_experiment(self, definition: str | None) -> ExperimentStart | None:
        """Say which experiment runs from now on, if any; one of the same definition as the last continues."""
        begun = await self._begin_split("experiment", definition)
        return None if begun is None else ExperimentStart(*begun)

    async def set_holdout(self, definition: str | None) -> HoldoutStart | None:
        """Say who is held out from now on, if anybody; a holdout of the same definition as the last continues."""
        begun = await self._begin_split(HOLDOUT, definition)
        return None if begun is None else HoldoutStart(*begun)

    async def find_running_split(self, kind: str, definition: str) -> tuple[int, float] | None:
        """The number and the time of the beginning of a split, if it is the one that runs."""
        newest = await self._ledger.readers.fetch_one(_NEWEST_SPLIT, kind)
        return (newest["seq"], newest["ts"]) if newest is not None and newest["document"] == definition else None

    async def _begin_split(self, kind: str, definition: str | None) -> tuple[int, float] | None:
        """The number and the time of the beginning of a split, which may have been earlier; ``None`` for none."""
        ledger = self._ledger
        ts = ledger.clock()

        async def begin(channel: Channel, _: int) -> tuple[int, float] | None:
            session = channel.session
            await session.fetchrow(LOCK_DEPLOYMENT)
            newest = await session.fetchrow(_NEWEST_SPLIT, kind)
            running = None if newest is None else newest["document"]
            if running == definition:
                return None if running is None else (newest["seq"], newest["ts"])
            ledger.observe_seq(0 if newest is None else newest["seq"])
            seq = ledger.next_seq(ts)
            await session.execute(_ADD_MARK, *MarkInsert(seq, None, kind, ts, "settings", definition))
            await session.execute(RAISE_EPOCH)
            return None if definition is None else (seq, ts)

        begun = await ledger.writers.transact(begin)
        await ledger.reload()
        return begun

    async def log_launch(self, event: LaunchEvent, *, after: int) -> LaunchEvent:
        """Log an event of a launch, if ``after`` is the newest there is.

        Raises:
            MovedError: another process has logged one since.
        """
        ledger, kept = self._ledger, list[LaunchEvent]()

        async def write(channel: Channel, tries: int) -> LaunchEvent:
            session = channel.session
            await session.fetchrow(LOCK_DEPLOYMENT)
            newest = await session.fetchval(_NEWEST_LAUNCH)
            if tries and kept and newest == kept[-1].seq:
                return kept[-1]  # it is done, and its answer was lost
            if newest != after:
                raise MovedError("another process has changed a launch meanwhile")
            ledger.observe_seq(newest)
            kept.append(number_event(event, ledger.next_seq(event.ts)))
            await session.execute(_ADD_MARK, *build_launch_row(kept[-1]))
            await session.execute(RAISE_EPOCH)
            return kept[-1]

        logged = await ledger.writers.transact(write)
        await ledger.reload()
        return logged

    async def list_launches(self) -> list[LaunchEvent]:
        """Every event of every launch, the oldest first."""
        return [parse_launch(*row) for row in await self._ledger.readers.fetch(_LAUNCHES)]

    async def count_enrolled(self, experiment: int) -> Mapping[str, int]:
        """How many users each arm of an experiment has decided for."""
        return {row["arm"]: row["users"] for row in await self._ledger.readers.fetch(_ENROLLED, experiment)}

    # ── memories ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def set_memory(self, change: MemoryChange) -> None:
        """Log that a policy's rewards count differently from now on; everybody's are summed again as they are met."""
        seq = self._ledger.next_seq(change.ts)
        await self._change(seq, MarkInsert(seq, None, "memory", change.ts, "evidence", to_document(change)))

    async def list_memory_changes(self) -> list[MemoryChange]:
        """Every change of a policy's memory, the oldest first."""
        return [parse_memory_change(*row) for row in await self._ledger.readers.fetch(_MEMORIES)]

    async def list_taught_rewards(self, user_id: str, key: StateKey) -> list[TaughtReward]:
        """What a policy was taught of a user since the last reset, the oldest first."""
        ledger = self._ledger
        row = await ledger.readers.fetch_one("SELECT uid FROM users WHERE user_id = $1", user_id)
        if row is None:
            return []
        events = await ledger.readers.fetch(EVENTS, row["uid"], 0)
        await ledger.prepare_events(events)
        return list_taught(ledger.registry, events, key)

    # ── shadows ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def set_shadows(self, policies: Collection[PolicyRef]) -> None:
        """Say which policies are in the shadow from now on."""
        ledger = self._ledger
        meant, ts = [ledger.registry.get_id(ref) for ref in policies], ledger.clock()

        async def change(channel: Channel, _: int) -> None:
            session = channel.session
            now = await session.fetchrow(LOCK_DEPLOYMENT)
            document = await session.fetchval(_SHADOW_POLICIES, now["shadow_set"])
            if meant == ([] if document is None else json.loads(document)):
                return
            ledger.observe_seq(now["shadow_set"])
            seq = ledger.next_seq(ts)
            await session.execute(_ADD_MARK, *MarkInsert(seq, None, "shadow", ts, "settings", json.dumps(meant)))
            await session.execute(_RAISE_SHADOWS, seq)

        await ledger.writers.transact(change)
        await ledger.reload()

    def log_shadows(self, decision: Decision, shadow_picks: Collection[Shadow]) -> None:
        """Log what policies in the shadow would have done with a decision that was submitted; nobody waits for it."""
        picks = list(shadow_picks)
        self._background.start(self._log_shadows(decision.seq, picks))

    async def _log_shadows(self, decision_seq: int, picks: list[Shadow]) -> None:
        ledger = self._ledger
        columns: list[list[Any]] = [
            [ledger.registry.get_id(each.policy) for each in picks],
            [each.pick for each in picks],
            [bool(each.exploring) for each in picks],
            [bool(each.agrees) for each in picks],
            [each.propensity for each in picks],
            [each.weight for each in picks],
            [each.probabilities.tobytes() for each in picks],
        ]

        async def log(channel: Channel, _: int) -> None:
            session = channel.session
            user = await session.fetchrow(_LOCK_DECIDER, decision_seq)
            if user is None:  # refused, or erased meanwhile
                return
            if not user["is_shadowed"]:
                await session.execute("UPDATE users SET is_shadowed = true WHERE uid = $1", user["uid"])
            added = await session.fetch(_ADD_SHADOWS, decision_seq, user["uid"], *columns)
            counted = [row["policy"] for row in added], [row["agrees"] for row in added]
            await session.execute(_COUNT_SHADOWS, *counted, channel.stripe)
            await session.execute(SETTLE_SHADOWS, [decision_seq], channel.stripe)

        try:
            await ledger.decisions.transact(log)
        except BandstandError as error:
            ledger.record_error(error.detail)

    async def load_shadows(self, decision: Decision) -> list[Shadow]:
        """What policies in the shadow would have done with a decision."""
        await self._background.join()
        refs = self._ledger.registry.get_refs()
        return [
            Shadow(refs[policy], pick, exploring, agrees, propensity, weight, np.frombuffer(raw))
            for policy, pick, exploring, agrees, propensity, weight, raw in await self._ledger.readers.fetch(
                _SHADOWS, decision.seq
            )
        ]

    async def load_shadow_sums(self) -> Mapping[PolicyRef, ShadowSums]:
        """The result of it, of every definition of a policy that was ever in the shadow."""
        await self._background.join()
        refs = self._ledger.registry.get_refs()
        return {
            refs[policy]: ShadowSums(*map(int, sums[:3]), *sums[3:])
            for policy, *sums in await self._ledger.readers.fetch(_SHADOW_SUMS)
        }

    # ── counts ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def load_policy_totals(self) -> dict[str, PolicyTotals]:
        """Deployment-wide counts by policy."""
        return {name: PolicyTotals(*counts) for name, *counts in await self._ledger.readers.fetch(_TOTALS)}

    async def load_loop_sums(self, days: int) -> LoopSums:
        """Sums about the health of the learning loop, by policy, and by day for the newest ``days``."""
        since = to_day(self._ledger.clock()) - days + 1
        draws = [Draws(*row) for row in await self._read_sums("draws", since)]
        arrivals = [Arrivals(*row) for row in await self._read_sums("arrivals", since)]
        return LoopSums(draws, arrivals)

    async def _read_sums(self, table: str, since: int) -> list[tuple[Any, ...]]:
        keys, sums = STRIPED[table]
        whole = {"decisions", "explores", "picked", "rewards"}
        summed = ", ".join(f"sum({name}){'::bigint' if name in whole else ''}" for name in sums)
        names = ["p.name" if name == "policy" else f"t.{name}" for name in keys]
        query = f"""SELECT {", ".join(names)}, {summed} FROM {table}_s AS t JOIN policies AS p ON p.id = t.policy
            WHERE t.day = -1 OR t.day >= $1 GROUP BY {", ".join((*names, "p.id"))} ORDER BY t.day, p.id"""  # noqa: S608 (constants)
        rows = await self._ledger.readers.fetch(query, max(0, since))
        return [(None if day == -1 else day, *rest) for day, *rest in rows]

    async def _change(self, seq: int, mark: MarkInsert) -> None:
        """Write a mark of the whole deployment, and raise the epoch."""

        async def write(channel: Channel, tries: int) -> None:
            session = channel.session
            await session.fetchrow(LOCK_DEPLOYMENT)
            if tries and await session.fetchval(IS_MARKED, seq):
                return
            await session.execute(_ADD_MARK, *mark)
            await session.execute(RAISE_EPOCH)

        await self._ledger.writers.transact(write)
        await self._ledger.reload()
