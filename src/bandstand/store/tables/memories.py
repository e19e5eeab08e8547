"""Changes of a policy's memory: which rewards count from then on, and why."""

import json
import sqlite3
from typing import NamedTuple

from bandstand.bandit.memory import Memory
from bandstand.store.tables.event_rows import INSERT_ONE_MARK, MarkInsert

_SELECT = "SELECT ts, document FROM marks WHERE uid IS NULL AND kind = 'memory' ORDER BY seq"


class MemoryChange(NamedTuple):
    """A policy whose rewards count differently from now on.

    Attributes:
        policy: its name.
        ts: when, seconds since the epoch.
        memory: how they count.
        gain: by how much its score is above that of the memory before.
    """

    policy: str
    ts: float
    memory: Memory
    gain: float


def log_memory_change(connection: sqlite3.Connection, *, seq: int, change: MemoryChange) -> None:
    """Write a change down."""
    document = to_document(change)
    connection.execute(INSERT_ONE_MARK, MarkInsert(seq, None, "memory", change.ts, "evidence", document))


def to_document(change: MemoryChange) -> str:
    """A change as the document of its mark."""
    return json.dumps({"policy": change.policy, **change.memory._asdict(), "gain": change.gain})


def list_memory_changes(connection: sqlite3.Connection) -> list[MemoryChange]:
    """Every change of a memory, the oldest first."""
    return [parse_memory_change(ts, document) for ts, document in connection.execute(_SELECT)]


def parse_memory_change(ts: float, document: str) -> MemoryChange:
    """The change of a mark."""
    entry = json.loads(document)
    memory = Memory(float(entry["half_life"]), float(entry["since"]))
    return MemoryChange(str(entry["policy"]), float(ts), memory, float(entry["gain"]))
