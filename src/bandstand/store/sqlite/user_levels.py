"""The ledger's index by user, in three levels: rows are moved on behind the commits, many at once.

Users of one commit are scattered over the whole index: if it were one, each row would write a page of its own to the
log, and to the file and its scrub after that, the more so the more users there are. So a row goes into a level of a few
pages first. A thousand and more of them are moved to the next at a time, and some ten thousands to the last, in the
order of users, so that a page is written for many rows. Each move is a small transaction, and could be the last. The
views ``user_decisions`` and ``user_rewards`` read all three; triggers add and delete what belongs to a row.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

from bandstand.errors import BandstandError
from bandstand.store.records import LAST_SEQ
from bandstand.store.sqlite.transaction import transaction
from bandstand.store.sqlite.writer import Writer

_EVENTS: Final = ("decisions", "rewards")
_NEW_ROWS: Final = 1024
"""Operations after which the first level is moved on: it stays at a few pages."""
_RECENT_ROWS: Final = 65_536
"""Rows after which the second level is: some 160 pages, and, at a million, dozens of rows a page of the last one."""
_BUDGET_S: Final = 0.0005
"""Of one transaction, without its commit: a group of requests waits for it."""
_BATCH: Final = 256
"""Rows moved at once, between two looks at the clock."""
_INTERVAL_S: Final = 0.1
_PAUSE_S: Final = 0.01  # for the commits between two moves

Place = tuple[int, int]
"""A user's key and an event's number: how far a pass has come."""
Moved = tuple[int, Place | None]
Caller = Callable[[Callable[[sqlite3.Connection], Moved]], Awaitable[Moved]]
"""Runs a move on the writer's connection."""
START: Final[Place] = (-1, -1)
_END: Final[Place] = (LAST_SEQ, LAST_SEQ)


class Level(NamedTuple):
    """Rows that are to be moved on.

    Attributes:
        source: the table they are in.
        target: the table that they go to.
    """

    source: str
    target: str


NEW_LEVELS: Final = tuple(Level(f"user_{events}_new", f"user_{events}_recent") for events in _EVENTS)
RECENT_LEVELS: Final = tuple(Level(f"user_{events}_recent", f"user_{events}_settled") for events in _EVENTS)


def move_rows(connection: sqlite3.Connection, level: Level, after: Place) -> Moved:
    """Move the rows behind a place in one transaction, in the order of users, until a time has passed.

    Returns:
        How many they were, and the place where the next call goes on; ``None`` at the end of the level.
    """
    find = (
        f"SELECT uid, seq FROM {level.source} WHERE (uid, seq) > (?, ?) ORDER BY uid, seq LIMIT 1 OFFSET {_BATCH - 1}"  # noqa: S608 (constants)
    )
    stretch = "WHERE (uid, seq) > (?, ?) AND (uid, seq) <= (?, ?)"
    place: Place | None = after
    moved = 0
    deadline = time.perf_counter() + _BUDGET_S
    with transaction(connection):
        while place is not None:
            last: Place | None = connection.execute(find, place).fetchone()
            bounds = (*place, *(last or _END))
            copy = (
                f"INSERT INTO {level.target} (uid, seq) SELECT uid, seq FROM {level.source} {stretch} ORDER BY uid, seq"  # noqa: S608 (constants)
            )
            moved += connection.execute(copy, bounds).rowcount
            connection.execute(f"DELETE FROM {level.source} {stretch}", bounds)  # noqa: S608 (constants)
            place = last
            if time.perf_counter() > deadline:
                break
    return moved, place


def fill_levels(connection: sqlite3.Connection) -> None:
    """Index what was copied into empty tables without triggers; by a sort, into the last level."""
    with transaction(connection):
        for events in _EVENTS:
            copy = f"INSERT INTO user_{events}_settled (uid, seq) SELECT uid, seq FROM {events} ORDER BY uid, seq"  # noqa: S608 (constants)
            connection.execute(copy)


def count_recent(connection: sqlite3.Connection) -> int:
    """How many rows are in the second level, as far as it matters."""
    count = "(SELECT count(*) FROM (SELECT 1 FROM {} LIMIT ?1))"
    query = f"SELECT {' + '.join(count.format(level.source) for level in RECENT_LEVELS)}"
    return int(connection.execute(query, (_RECENT_ROWS,)).fetchone()[0])


def count_unfound(connection: sqlite3.Connection) -> int:
    """How many decisions and rewards are not found by their user, or are found and are not there."""
    faults = 0
    for events in _EVENTS:
        by_user = f"SELECT uid, seq FROM user_{events}"  # noqa: S608 (constants)
        rows = f"SELECT uid, seq FROM {events}"  # noqa: S608 (constants)
        query = (
            f"SELECT count(*) FROM ({rows} EXCEPT {by_user}) UNION ALL SELECT count(*) FROM ({by_user} EXCEPT {rows})"  # noqa: S608 (constants)
        )
        faults += sum(count for (count,) in connection.execute(query))
    return faults


class UserLevels:
    """Moves the rows of a ledger on, from level to level, in a process that serves.

    Args:
        writer: the ledger's.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._seen = 0  # of the writer's operations
        self._recent: int | None = None  # rows in the second level; unknown before the first move

    async def run(self) -> None:
        """Move rows on whenever enough have come."""
        while True:
            with suppress(sqlite3.Error, BandstandError):
                await self.move_on()
            await asyncio.sleep(_INTERVAL_S)

    async def move_on(self) -> None:
        """Move on the levels that are full."""
        if (committed := self._writer.committed) - self._seen < _NEW_ROWS:
            return
        self._seen = committed
        if self._recent is None:
            self._recent = await self._writer.call(count_recent, durable=False)
        for level in NEW_LEVELS:  # a few pages that were just written: nobody waits for a disk
            self._recent += await self._move_level(level, self._writer.call_briefly)
        if self._recent >= _RECENT_ROWS:
            self._recent = 0
            for level in RECENT_LEVELS:
                await self._move_level(level, partial(self._writer.call, durable=False))

    async def _move_level(self, level: Level, call: Caller) -> int:
        total, place = 0, START
        while True:
            moved, left = await call(partial(move_rows, level=level, after=place))
            total += moved
            if left is None:
                return total
            place = left
            await asyncio.sleep(_PAUSE_S)
