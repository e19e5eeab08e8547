"""Simulation runs and what they played, in ``simulations.db`` of the state directory.

The file has no owner: a service, its simulating children and command lines write to it side by side, each in short
transactions. A run belongs to whoever holds its *claim*; a write under a claim that is gone is refused, which is how a
run is cancelled, deleted or taken over while it is being played. A claim whose holder has not written for
``STALE_SECONDS`` is a dead process's.
"""

import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from bandstand.errors import ConfigurationError
from bandstand.store.sqlite.errors import storage_errors
from bandstand.store.sqlite.schema import connect
from bandstand.store.sqlite.transaction import transaction

RunState = Literal["queued", "running", "done", "interrupted", "cancelled", "failed"]
Row = tuple[object, ...]

FORMAT = 1
STALE_SECONDS = 15.0

_FILE = "simulations.db"
_RUN_COLUMNS = "id, state, origin, client, created, started, ended, heartbeat, plan, done, total, summary, error"
_PLAY_COLUMNS = "seed, user, policy, picks, actions, dwells, judged, judges, heard"
_EVENT_COLUMNS = (
    "seed, user, policy, step, persona, tip_id, hour_of_day, day_of_week, priority, is_overdue, task_age_days, score, "
    "propensity, exploring, action, dwell_ms, reward, expected_reward, best_reward, judge, fallback, heard, taught"
)
_IS_CLAIMED = "id = :id AND claim = :claim AND state = 'running'"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationRun:
    """A run as its row tells; ``plan`` and ``summary`` are JSON texts."""

    id: int
    state: RunState
    origin: str
    client: str
    created: float
    started: float | None
    ended: float | None
    heartbeat: float | None
    plan: str
    done: int
    total: int
    summary: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class RunClaim:
    """The right to write a run."""

    run: int
    token: str


class Simulations:
    """The runs of one state directory; every call opens the file for itself, so that any thread may make it.

    Args:
        state_dir: where the file is, or will be at the first run.

    Raises:
        ConfigurationError: of any method: the file is of a newer format.
        StorageFullError, StorageUnavailableError: of any method: the disk or the file refused.
    """

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / _FILE

    @contextmanager
    def keep_open(self) -> Iterator[None]:
        """Keep the file open: else every write is the last one's, at which SQLite moves its log and syncs the disk."""
        with self._open():
            yield

    def create(self, plan: str, total: int, *, origin: str, client: str, now: float) -> int:
        """Add a run that waits to be played; returns its number."""
        row = ("queued", origin, client, now, plan, 0, total)
        with self._open() as connection:
            added = connection.execute(
                "INSERT INTO sim_runs (state, origin, client, created, plan, done, total) VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            return int(added.lastrowid or 0)

    def get(self, run: int, now: float) -> SimulationRun | None:
        """The run of that number."""
        with self._open() as connection:
            row = connection.execute(f"SELECT {_RUN_COLUMNS} FROM sim_runs WHERE id = ?", (run,)).fetchone()  # noqa: S608 (constant)
        return None if row is None else _to_run(row, now)

    def list_page(self, *, before: int | None, limit: int, now: float) -> list[SimulationRun]:
        """Runs, newest first, from the cursor ``before``; without their summaries."""
        columns = _RUN_COLUMNS.replace("summary", "NULL")
        query = f"SELECT {columns} FROM sim_runs WHERE id < ? ORDER BY id DESC LIMIT ?"  # noqa: S608 (constant)
        with self._open() as connection:
            rows = connection.execute(query, (2**62 if before is None else before, limit)).fetchall()
        return [_to_run(row, now) for row in rows]

    def list_queued(self) -> list[int]:
        """Numbers of the service's runs that wait to be played, oldest first."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT id FROM sim_runs WHERE state = 'queued' AND origin = 'service' ORDER BY id"
            )
            return [run for (run,) in rows]

    def claim(self, run: int, *, now: float, only_queued: bool = False) -> RunClaim | None:
        """Take a run to play it; None where somebody plays it, or where it is not there to be played.

        Args:
            run: its number.
            now: seconds since the epoch.
            only_queued: take it only if it has not been played or ended yet.
        """
        claim = RunClaim(run, secrets.token_hex(8))
        free = (
            "state = 'queued'"
            if only_queued
            else "state NOT IN ('running', 'done') OR (state = 'running' AND heartbeat < :stale)"
        )
        query = f"""UPDATE sim_runs SET state = 'running', claim = :claim, heartbeat = :now, ended = NULL, error = NULL,
            started = coalesce(started, :now) WHERE id = :id AND ({free})"""  # noqa: S608 (two constants)
        values = {"id": run, "claim": claim.token, "now": now, "stale": now - STALE_SECONDS}
        with self._open() as connection:
            return claim if connection.execute(query, values).rowcount else None

    def save(
        self,
        claim: RunClaim,
        *,
        plays: Sequence[Row],
        events: Sequence[Row],
        done: int,
        summary: str,
        now: float,
        state: RunState = "running",
        error: str | None = None,
    ) -> bool:
        """Write what was played since the last time, all or nothing.

        Args:
            claim: the right to do so.
            plays: rows of ``sim_plays`` in the order of ``_PLAY_COLUMNS``; a play replaces what was kept of it before.
            events: rows of ``sim_events`` in the order of ``_EVENT_COLUMNS``.
            done: decisions so far.
            summary: JSON.
            now: seconds since the epoch.
            state: any but ``running`` ends the run and gives the claim back.
            error: why it failed.

        Returns:
            False where the claim is gone; nothing was written then.
        """
        values = {"id": claim.run, "claim": claim.token, "state": state, "done": done, "summary": summary, "now": now}
        values |= {"error": error, "ended": None if state == "running" else now}
        query = f"""UPDATE sim_runs SET state = :state, done = :done, summary = :summary, heartbeat = :now,
            ended = :ended, error = :error WHERE {_IS_CLAIMED}"""  # noqa: S608 (constant)
        with self._open() as connection, transaction(connection):
            if not connection.execute(query, values).rowcount:
                return False
            for table, columns, rows in (("sim_plays", _PLAY_COLUMNS, plays), ("sim_events", _EVENT_COLUMNS, events)):
                marks = ", ".join("?" * len(columns.split(", ")))
                insert = f"INSERT OR REPLACE INTO {table} (run, {columns}) VALUES ({claim.run}, {marks})"  # noqa: S608 (ours)
                connection.executemany(insert, rows)
        return True

    def cancel(self, run: int, now: float) -> bool:
        """End a run that waits or is played; whoever plays it notices at their next write.

        Returns:
            Whether there was something to end.
        """
        return self._end_runs("cancelled", now, "id = :id", id=run)

    def interrupt_all(self, now: float) -> bool:
        """Mark the service's own runs as interrupted: for when it starts or ends and none of its children is alive."""
        return self._end_runs("interrupted", now, "origin = 'service'")

    def fail(self, run: int, error: str, now: float) -> bool:
        """Mark a run as failed whose process has ended without a word; one that has ended itself stays as it is."""
        return self._end_runs("failed", now, "id = :id", error, id=run)

    def delete(self, run: int) -> bool:
        """Forget a run and all it played; returns whether it was there."""
        with self._open() as connection, transaction(connection):
            for table in ("sim_events", "sim_plays"):
                connection.execute(f"DELETE FROM {table} WHERE run = ?", (run,))  # noqa: S608 (constants)
            return bool(connection.execute("DELETE FROM sim_runs WHERE id = ?", (run,)).rowcount)

    def iter_plays(self, run: int) -> Iterator[Row]:
        """Rows of ``sim_plays`` without the run, in the order of their key."""
        query = f"SELECT {_PLAY_COLUMNS} FROM sim_plays WHERE run = ? ORDER BY seed, user, policy"  # noqa: S608 (constant)
        with self._open() as connection:
            yield from connection.execute(query, (run,))

    def iter_events(self, run: int) -> Iterator[Row]:
        """Rows of ``sim_events`` without the run, in the order of their key."""
        query = f"SELECT {_EVENT_COLUMNS} FROM sim_events WHERE run = ? ORDER BY seed, user, policy, step"  # noqa: S608 (constant)
        with self._open() as connection:
            yield from connection.execute(query, (run,))

    def _end_runs(
        self, state: RunState, now: float, condition: str, error: str | None = None, **values: object
    ) -> bool:
        query = f"""UPDATE sim_runs SET state = :state, claim = NULL, ended = :now, error = :error
            WHERE state IN ('queued', 'running') AND {condition}"""  # noqa: S608 (constants)
        with self._open() as connection:
            return bool(connection.execute(query, {"state": state, "now": now, "error": error, **values}).rowcount)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(connect(self.path)) as connection:
                _create_tables(connection, self.path)
                yield connection


def _create_tables(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > FORMAT:
        raise ConfigurationError(f"{path} has format {version}; this version of Bandstand reads up to {FORMAT}")
    connection.execute("PRAGMA synchronous = NORMAL")
    if version:
        return
    connection.execute("PRAGMA journal_mode = WAL")
    with transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if not version:  # nobody else was faster
            tables = files("bandstand.store.sqlite").joinpath("scripts", "simulations.sql").read_text(encoding="utf-8")
            for statement in tables.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {FORMAT}")


def _to_run(row: Row, now: float) -> SimulationRun:
    values = dict(zip(_RUN_COLUMNS.split(", "), row, strict=True))
    if values["state"] == "running" and float(str(values["heartbeat"])) < now - STALE_SECONDS:
        values["state"] = "interrupted"
    return SimulationRun(**values)  # type: ignore[arg-type]  # the table is STRICT and holds these types
