"""Deletions in small transactions: however much there is to delete, nobody waits behind them for long.

A transaction ends after some milliseconds and the next one continues where it stopped. So what is deleted must not be
looked for by anybody while it goes: whatever makes it so is committed before the first of them.
"""

import sqlite3
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from bandstand.store.records import LAST_SEQ
from bandstand.store.sqlite.transaction import transaction

_BUDGET_S = 0.003
"""Of one transaction, without its commit."""
_BATCH = 8
"""Rows looked for at once, between two looks at the clock."""


class Sweep(NamedTuple):
    """Rows that go together.

    Attributes:
        find: a SELECT of at most ?4 pairs, a key after ?2 and up to ?3 in order, and whether it goes; ?1 is whose.
        deletes: statements that delete what hangs on a key, by the name under which they are counted.
    """

    find: str
    deletes: Mapping[str, str]


class Sweeper:
    """Deletes what sweeps find, one after the other.

    Args:
        sweeps: what to delete.
        owner: whose rows.
        until: up to which key.

    Attributes:
        counts: rows deleted so far, by the names in the sweeps.
    """

    def __init__(self, sweeps: Iterable[Sweep], *, owner: int = 0, until: int = LAST_SEQ) -> None:
        self.counts: Counter[str] = Counter()
        self._sweeps = deque(sweeps)
        self._owner = owner
        self._until = until
        self._after = -1  # the key that was looked at last

    def run(self, connection: sqlite3.Connection) -> bool:
        """Delete for some milliseconds, in one transaction; returns whether everything is gone."""
        deadline = time.perf_counter() + _BUDGET_S
        counts, sweeps, after = Counter(self.counts), self._sweeps.copy(), self._after
        with transaction(connection):
            while sweeps:
                found = connection.execute(sweeps[0].find, (self._owner, after, self._until, _BATCH)).fetchall()
                keys = [(key,) for key, goes in found if goes]
                for name, statement in sweeps[0].deletes.items():
                    counts[name] += connection.executemany(statement, keys).rowcount if keys else 0
                after = found[-1][0] if found else after
                if len(found) < _BATCH:
                    sweeps.popleft()
                    after = -1
                if time.perf_counter() > deadline:
                    break
        self.counts, self._sweeps, self._after = counts, sweeps, after
        return not sweeps

    def run_all(self, connection: sqlite3.Connection) -> Counter[str]:
        """Delete everything, for who has the ledger to themselves; returns how much it was, by name."""
        while not self.run(connection):
            pass
        return self.counts
