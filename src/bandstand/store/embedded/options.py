"""How an embedded store behaves."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How an embedded store behaves; ``settings`` documents each.

    Attributes:
        sync: rewards, resets, erasures and turns are synced to disk before they are acknowledged.
        max_warm_users: profiles kept in memory.
        max_pending: events that may wait for a commit.
        checkpoint_seconds: between two rounds of writing changed documents.
        retention_days: decisions older than this are trimmed; 0 keeps all.
        turn_retention_days: the texts of turns older than this are deleted; 0 keeps them.
        shared_user: whose model is everybody's; ``None`` if each has their own.
        follow_seconds: seconds between two steps of the sums that follow the commits; 0 makes steps only on request.
        close_seconds: how long closing may spend on checkpoints (what is left is replayed at the next start).
    """

    sync: bool = True
    max_warm_users: int = 100_000
    max_pending: int = 10_000
    checkpoint_seconds: float = 30.0
    retention_days: float = 90.0
    turn_retention_days: float = 30.0
    shared_user: str | None = None
    close_seconds: float = 10.0
    follow_seconds: float = 1.0
