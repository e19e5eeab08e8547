"""What the writer is given: rows for its next commit, or a function that has the connection to itself."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from bandstand.store.sqlite.statements import Row, build_upsert

DoneCallback = Callable[[object, BaseException | None], None]
AcknowledgeCallback = Callable[[BaseException | None], None]
ExclusiveFunction = Callable[[sqlite3.Connection], object]
SumIncrement = tuple[str, Row, tuple[float, ...]]
"""A statement, its key, and the amounts that are added to the sums under that key."""
SumIncrements = tuple[SumIncrement, ...]
SumUp = Callable[[Sequence[Any]], Iterable[SumIncrement]]
"""What operations of one kind add to sums: the amounts of all of them that share a key are one increment."""


class Tally(NamedTuple):
    """What the rows of an operation add to the hourly counts of a policy, by its row's id."""

    hour: int
    policy: int
    decisions: int = 0
    explores: int = 0
    rewards: int = 0
    reward_sum: float = 0.0

    def to_increment(self) -> SumIncrement:
        """The same, as one of the sums of an operation."""
        return _UPSERT_ROLLUP, self[:2], self[2:]


_UPSERT_ROLLUP = build_upsert("rollups", Tally, key=2)


def build_tally(
    ts: float, policy_id: int, decisions: int = 0, explores: int = 0, rewards: int = 0, reward_sum: float = 0.0
) -> SumIncrement:
    """What an event at ``ts`` adds to the hourly counts of a policy: a :class:`Tally`, in less time."""
    return _UPSERT_ROLLUP, (int(ts // 3600), policy_id), (decisions, explores, rewards, reward_sum)


class WriterOperation(Protocol):
    """Rows to insert in one commit, or an exclusive function that manages its own transaction; see :class:`Operation`.

    Attributes:
        rows: (statement, row) pairs.
    """

    rows: list[tuple[str, Row]]

    @property
    def sum_up(self) -> SumUp:
        """What several operations of this kind add to sums with their rows; it is the kind's, and the same for all."""

    @property
    def durable(self) -> bool:
        """Whether it must be synced before it is acknowledged."""

    @property
    def exclusive(self) -> ExclusiveFunction | None:
        """The function."""

    def done(self, result: object, error: BaseException | None, /) -> None:
        """Called after the commit."""

    def acknowledge(self, error: BaseException | None, /) -> None:
        """Called after the sync, or again after the commit."""


class Operation:
    """An operation of which functions say what follows.

    Args:
        rows: (statement, row) pairs; a statement that ends in VALUES takes many rows at once, any other one by one.
        tally: what the rows add to the hourly counts.
        sums: what they add to other sums: a statement, its key, and amounts, which are added up over a group first. A
            key begins with an hour or a day; the sums of ``EVER`` are kept with them, and so are those of the tally.
        durable: must be synced before it is acknowledged.
        done: called on the event loop after the commit, in order, with (result, error).
        acknowledge: called after that with the error, of a durable operation after the sync and with the sync's error.
    """

    __slots__ = ("acknowledge", "done", "durable", "exclusive", "rows", "sums")

    @staticmethod
    def sum_up(operations: "Sequence[Operation]") -> Iterable[SumIncrement]:
        """The sums that the operations were given."""
        return add_up(operation.sums for operation in operations)

    def __init__(
        self,
        rows: list[tuple[str, Row]],
        done: DoneCallback,
        *,
        durable: bool,
        tally: Tally | None = None,
        sums: SumIncrements = (),
        exclusive: ExclusiveFunction | None = None,
        acknowledge: AcknowledgeCallback | None = None,
    ) -> None:
        self.rows = rows
        self.done = done
        self.durable = durable
        self.sums = sums if tally is None else (*sums, tally.to_increment())
        self.exclusive = exclusive
        self.acknowledge = acknowledge or _ignore


def add_up(increments: Iterable[SumIncrements]) -> Iterable[SumIncrement]:
    """Add up the amounts of each statement and key."""
    added: dict[tuple[str, Row], list[tuple[float, ...]]] = {}
    for each in increments:
        for statement, key, amounts in each:
            added.setdefault((statement, key), []).append(amounts)
    return [(statement, key, add_columns(amounts)) for (statement, key), amounts in added.items()]


def add_columns(amounts: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
    """The sum of equally many amounts each, one by one in their order."""
    return tuple(map(sum, zip(*amounts, strict=True)))


def _ignore(_: BaseException | None) -> None:
    """Do nothing after a sync for which nobody waits."""


def make_done_callback(future: "asyncio.Future[Any]") -> DoneCallback:
    """The ``on_done`` that settles a future, unless its waiter was cancelled."""

    def on_done(result: object, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    return on_done
