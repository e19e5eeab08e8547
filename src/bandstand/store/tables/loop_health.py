"""Sums about the health of the learning loop, updated in the commit of their events.

What a client's reward adds is worked out here when it is submitted, and what decisions add as they are committed, for
all of a group; the rewards of judges and persons are counted once their row is there
(:mod:`bandstand.store.tables.reward_sums`).
"""

import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from operator import mul
from typing import Any, NamedTuple

from bandstand.store.records import Decision, Reward
from bandstand.store.sqlite.operations import SumIncrement, add_columns
from bandstand.store.sqlite.schema import EVER
from bandstand.store.sqlite.statements import RowType, build_columns, build_upsert

BINS = 10
NO_DECISION = -1
"""The bucket of a reward that answers no decision."""
BUCKETS_PER_DOUBLING = 4
"""Of 1 s + the delay of a reward; the ledger counts by the bounds in the table ``delays``."""
LAST_BUCKET = 106

_DAY = 86_400
_STEP = 1.1892071150027210667  # the fourth root of 2, written as the ledger's scripts write it
_BELOW = [factor - 1.0 for factor in accumulate([_STEP] * LAST_BUCKET, mul)]  # the table `delays`, but for its last row


class Draws(NamedTuple):
    """Sums over decisions of one policy in one bin; see ``loop.sql`` for each. ``day`` is ``None`` for all days."""

    day: int | None
    policy: str
    bin: int
    decisions: int
    explores: int
    floor: float
    floor_variance: float
    picked: int
    likeliest: float
    variance: float
    weight: float
    weight_squares: float
    support: float


class Arrivals(NamedTuple):
    """Rewards that stand, of one policy, source and delay. ``day`` is ``None`` for all days."""

    day: int | None
    policy: str
    source: str
    bucket: int
    rewards: int
    reward_sum: float


UPSERT_DRAWS = build_upsert("draws", Draws, key=3)
UPSERT_ARRIVALS = build_upsert("arrivals", Arrivals, key=4)


class LoopSums(NamedTuple):
    """Everything that is summed: over all days, and by day for the newest."""

    draws: list[Draws]
    arrivals: list[Arrivals]


def to_day(ts: float) -> int:
    """The day of an event, in days since the epoch."""
    return int(ts // _DAY)


def compute_draw_sums(decision: Decision) -> tuple[int, tuple[float, ...]]:
    """What a decision adds to ``draws``: its bin, and the amounts in the order of :class:`Draws`."""
    assert decision.numbers is not None  # noqa: S101 (a decision is handed over in full)
    numbers, floor = decision.numbers, decision.floor
    count, likeliest = numbers.shape[1] - decision.excluded, numbers.item(3, decision.likeliest)
    weight = 1.0 / (count * decision.propensity)
    support = 1.0 if floor > 0.0 else int((numbers[3] > 0.0).sum()) / count
    return BINS - 1 if likeliest >= 1.0 else int(BINS * likeliest), (
        1,
        int(decision.exploring),
        floor,
        floor * (1.0 - floor),
        int(decision.pick == decision.likeliest),
        likeliest,
        likeliest * (1.0 - likeliest),
        weight,
        weight * weight,
        support,
    )


def sum_draws(day: int, policy_id: int, decisions: Iterable[Decision]) -> list[SumIncrement]:
    """What decisions of one day, by one policy, add to ``draws``."""
    bins: dict[int, list[tuple[float, ...]]] = {}
    for decision in decisions:
        part, amounts = compute_draw_sums(decision)
        bins.setdefault(part, []).append(amounts)
    return [(UPSERT_DRAWS, (day, policy_id, part), add_columns(amounts)) for part, amounts in bins.items()]


def build_arrival(reward: Reward, policy_id: int, answered: float | None) -> SumIncrement:
    """What a reward adds to ``arrivals``, just as ``COUNT_ARRIVAL`` would.

    Args:
        reward: which.
        policy_id: its policy's key in the ledger.
        answered: when the decision was made that it names or is linked to; ``None`` for none.
    """
    ts = reward.ts
    bucket, decided = (NO_DECISION, ts) if answered is None else (find_bucket(ts, answered), answered)
    return UPSERT_ARRIVALS, (int(decided // _DAY), policy_id, reward.source, bucket), (1, reward.value)


def find_bucket(ts: float, answered: float) -> int:
    """The bucket of a reward's delay; one that seems negative, since the clock was set back, is in the first."""
    return bisect_right(_BELOW, ts - answered)


def compute_delay(bucket: int) -> float:
    """The delay in the middle of a bucket, in seconds: within 9 % of 1 s + any delay that it holds."""
    return float(2.0 ** ((bucket + 0.5) / BUCKETS_PER_DOUBLING)) - 1.0


def load_loop_sums(connection: sqlite3.Connection, since: int) -> LoopSums:
    """The sums over all days, and by day from the day ``since`` on; a policy that was redefined has some for each."""
    draws = [Draws(*row) for row in _read_sums(connection, "draws", Draws, since)]
    arrivals = [Arrivals(*row) for row in _read_sums(connection, "arrivals", Arrivals, since)]
    return LoopSums(draws, arrivals)


def _read_sums(connection: sqlite3.Connection, table: str, row: RowType, since: int) -> Iterator[tuple[Any, ...]]:
    names = dict(connection.execute("SELECT id, name FROM policies"))
    select = f"SELECT {build_columns(table, row)} FROM {table}"  # noqa: S608 (constants)
    query = f"{select} WHERE day = ? UNION ALL {select} WHERE day >= ?"
    for day, policy, *sums in connection.execute(query, (EVER, max(0, since))):
        yield (None if day == EVER else day, names[policy], *sums)
