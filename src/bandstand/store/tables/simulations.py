"""Simulation runs and what they played, in ``simulations.db`` of the state directory."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from bandstand.store.sqlite.transaction import transaction
from bandstand.store.tables.run_table import RunClaim, RunProgress, RunTable

Row = tuple[object, ...]


class Simulations(RunTable):
    """The simulations of one state directory."""

    file: ClassVar[str] = "simulations.db"
    table: ClassVar[str] = "sim_runs"
    script: ClassVar[str] = "simulations.sql"
    details: ClassVar[tuple[str, ...]] = ("sim_events", "sim_plays")

    def save(
        self, claim: RunClaim, progress: RunProgress, *, plays: Sequence[Row], events: Sequence[Row], now: float
    ) -> bool:
        """Write what was played since the last time, all or nothing.

        Args:
            claim: the right to do so.
            progress: how far the run is.
            plays: rows of ``sim_plays`` without the run; a play replaces what was kept of it before.
            events: rows of ``sim_events`` without the run.
            now: seconds since the epoch.

        Returns:
            False where the claim is gone; nothing was written then.
        """
        with self.open() as connection, transaction(connection):
            if not self.write_progress(connection, claim, progress, now):
                return False
            for table, width, rows in (("sim_plays", 9, plays), ("sim_events", 23, events)):
                marks = ", ".join("?" * width)
                insert = f"INSERT OR REPLACE INTO {table} VALUES ({claim.run}, {marks})"  # noqa: S608 (ours)
                connection.executemany(insert, rows)
        return True

    def iter_plays(self, run: int) -> Iterator[Row]:
        """Rows of ``sim_plays`` without the run, in the order of their key."""
        query = """SELECT seed, user, policy, picks, actions, dwells, judged, judges, heard FROM sim_plays
            WHERE run = ? ORDER BY seed, user, policy"""
        with self.open() as connection:
            yield from connection.execute(query, (run,))

    def iter_events(self, run: int) -> Iterator[Row]:
        """Rows of ``sim_events`` without the run, in the order of their key."""
        query = "SELECT * FROM sim_events WHERE run = ? ORDER BY seed, user, policy, step"
        with self.open() as connection:
            for row in connection.execute(query, (run,)):
                yield row[1:]
