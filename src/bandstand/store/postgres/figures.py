"""What a process measures of its database: how many queries, how long they took, and errors."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import asyncpg


@dataclass(slots=True)
class PoolFigures:
    """Figures of the connections of one kind, since the process began.

    Attributes:
        calls: pieces of work that were done.
        seconds: that these took on a connection.
        errors: tries that failed, by SQLSTATE, or by the error's name where the server said nothing.
        open: connections that are open now.
        busy: of these, those that are in use.
    """

    calls: int = 0
    seconds: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    open: int = 0
    busy: int = 0

    def record_call(self, seconds: float) -> None:
        """Count what was done."""
        self.calls += 1
        self.seconds += seconds

    def record_error(self, error: BaseException) -> None:
        """Count what failed."""
        code = error.sqlstate if isinstance(error, asyncpg.PostgresError) else None
        self.errors[code or type(error).__name__] += 1


@dataclass(frozen=True, slots=True)
class LedgerFigures:
    """A process's hold on a shared ledger, for health and metrics.

    Attributes:
        slot: the process numbers its events by it.
        is_leader: it does what one process does for all.
        processes: how many share the ledger, as of ten seconds ago.
        configurations: how many different settings these have.
        format: of the ledger.
        round_trip_s: of the last thing that was written; ``None`` before the first.
        skew_s: by how much this clock is ahead of the database's.
        lease_s: seconds that the lease of the slot has left.
        synchronous_standbys: connected ones that commits wait for; ``None`` if the role may not see them.
        stale_scores: decisions that were made again because their user had been rewarded elsewhere.
        refreshed_scores: decisions before which the newer rewards of other processes were read.
        due_checkpoints: users whose state is to be written.
        pools: by kind of connection.
    """

    slot: int
    is_leader: bool
    processes: int
    configurations: int
    format: int
    round_trip_s: float | None
    skew_s: float
    lease_s: float
    synchronous_standbys: int | None
    stale_scores: int
    refreshed_scores: int
    due_checkpoints: int
    pools: dict[str, PoolFigures]

    def to_details(self) -> dict[str, Any]:
        """What a store says of itself."""
        return {
            "store": "postgresql",
            "slot": self.slot,
            "leader": self.is_leader,
            "processes": self.processes,
            "configurations": self.configurations,
            "format": self.format,
            "last_round_trip_ms": None if self.round_trip_s is None else round(self.round_trip_s * 1000, 3),
            "clock_skew_ms": round(self.skew_s * 1000, 3),
            "lease_seconds": round(max(0.0, self.lease_s), 3),
            "synchronous_standbys": self.synchronous_standbys,
            "stale_scores": self.stale_scores,
            "refreshed_scores": self.refreshed_scores,
            "due_checkpoints": self.due_checkpoints,
            "pools": {
                name: {
                    "calls": pool.calls,
                    "seconds": pool.seconds,
                    "errors": dict(pool.errors),
                    "open": pool.open,
                    "busy": pool.busy,
                }
                for name, pool in self.pools.items()
            },
        }
