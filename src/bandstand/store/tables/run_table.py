"""Background runs, in a file of their own in the state directory.

The file has no owner: a service, its children and command lines write to it side by side, each in short transactions.
A run belongs to the process that holds its *claim*; a write under a claim that is gone is refused, which is how a run
is cancelled, deleted or taken over while it is being played. A claim whose holder has not written for ``STALE_SECONDS``
is a dead process's.
"""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import ClassVar, Literal

from bandstand.errors import ConfigurationError
from bandstand.store.sqlite.errors import storage_errors
from bandstand.store.sqlite.schema import connect
from bandstand.store.sqlite.transaction import transaction
from bandstand.times import CLOCK_SLACK_S, is_ahead

RunState = Literal["queued", "running", "done", "interrupted", "cancelled", "failed"]

STALE_SECONDS = 15.0
MAX_RUN_ID = 2**62
"""What the number of a run can be."""

_RUN_COLUMNS = "id, state, origin, client, created, started, ended, heartbeat, plan, done, total, summary, error"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run, read from its row; ``plan`` and ``summary`` are JSON texts."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """What a claim's holder writes of its run.

    Attributes:
        done: steps so far.
        total: steps in all; None leaves it as it is.
        summary: JSON of what came out so far; None if nothing did yet.
        state: any but ``running`` ends the run and gives the claim back.
        error: why it failed.
    """

    done: int
    total: int | None = None
    summary: str | None = None
    state: RunState = "running"
    error: str | None = None


class RunTable:
    """The runs of one kind in one state directory; every call opens the file for itself, so any thread may make it.

    A subclass names its file, its table of runs, the script that makes its tables, and the tables of what was played,
    whose column ``run`` is a run's number.

    Args:
        state_dir: where the file is, or will be at the first run.

    Raises:
        ConfigurationError: of any method: the file is of a newer format.
        StorageFullError, StorageUnavailableError: of any method: the disk or the file refused.
    """

    file: ClassVar[str]
    table: ClassVar[str]
    script: ClassVar[str]
    details: ClassVar[tuple[str, ...]] = ()
    format: ClassVar[int] = 1

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / self.file

    @property
    def exists(self) -> bool:
        """Whether there is a file yet."""
        return self.path.exists()

    @contextmanager
    def keep_open(self) -> Iterator[None]:
        """Keep the file open: else every write is the last one's, at which SQLite moves its log and syncs the disk."""
        with self.open():
            yield

    def create(self, plan: str, total: int, *, origin: str, client: str, now: float) -> int:
        """Add a run that waits to be played; returns its number."""
        row = ("queued", origin, client, now, plan, 0, total)
        columns = "state, origin, client, created, plan, done, total"
        with self.open() as connection:
            added = connection.execute(f"INSERT INTO {self.table} ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608 (constants)
            return int(added.lastrowid or 0)

    def get(self, run: int, now: float) -> RunRecord | None:
        """The run of that number."""
        with self.open() as connection:
            row = connection.execute(f"SELECT {_RUN_COLUMNS} FROM {self.table} WHERE id = ?", (run,)).fetchone()  # noqa: S608 (constants)
        return None if row is None else _to_run(row, now)

    def list_page(self, *, before: int | None, limit: int, now: float) -> list[RunRecord]:
        """Runs, newest first, from the cursor ``before``; without their summaries."""
        columns = _RUN_COLUMNS.replace("summary", "NULL")
        query = f"SELECT {columns} FROM {self.table} WHERE id < ? ORDER BY id DESC LIMIT ?"  # noqa: S608 (constants)
        with self.open() as connection:
            rows = connection.execute(query, (MAX_RUN_ID if before is None else before, limit)).fetchall()
        return [_to_run(row, now) for row in rows]

    def list_queued(self) -> list[int]:
        """Numbers of the service's runs that wait to be played, oldest first."""
        query = f"SELECT id FROM {self.table} WHERE state = 'queued' AND origin = 'service' ORDER BY id"  # noqa: S608 (constant)
        with self.open() as connection:
            return [run for (run,) in connection.execute(query)]

    def claim(self, run: int, *, now: float, only_queued: bool = False) -> RunClaim | None:
        """Take a run to play it; None if another process plays it, or if it does not wait to be played.

        Args:
            run: its number.
            now: seconds since the epoch.
            only_queued: take it only if it has not been played or ended yet.
        """
        claim = RunClaim(run, secrets.token_hex(8))
        free = (
            "state = 'queued'"
            if only_queued
            else "state NOT IN ('running', 'done') OR (state = 'running' AND heartbeat NOT BETWEEN :stale AND :soon)"
        )
        query = f"""UPDATE {self.table} SET state = 'running', claim = :claim, heartbeat = :now, ended = NULL,
            error = NULL, started = coalesce(started, :now) WHERE id = :id AND ({free})"""  # noqa: S608 (constants)
        values = {
            "id": run,
            "claim": claim.token,
            "now": now,
            "stale": now - STALE_SECONDS,
            "soon": now + CLOCK_SLACK_S,
        }
        with self.open() as connection:
            return claim if connection.execute(query, values).rowcount else None

    def cancel(self, run: int, now: float) -> bool:
        """End a run that waits or is played; the process that plays it notices at its next write.

        Returns:
            Whether there was something to end.
        """
        return self._end_runs("cancelled", now, "id = :id", id=run)

    def interrupt_all(self, now: float) -> bool:
        """Mark the service's own runs as interrupted: for when it starts or ends and none of its children is alive."""
        return self._end_runs("interrupted", now, "origin = 'service'")

    def fail(self, run: int, error: str, now: float) -> bool:
        """Mark a run as failed if its process has died without an outcome; a run that has ended stays as it is."""
        return self._end_runs("failed", now, "id = :id", error, id=run)

    def delete(self, run: int) -> bool:
        """Forget a run and all it played; returns whether it was there."""
        with self.open() as connection, transaction(connection):
            for table in self.details:
                connection.execute(f"DELETE FROM {table} WHERE run = ?", (run,))  # noqa: S608 (constants)
            return bool(connection.execute(f"DELETE FROM {self.table} WHERE id = ?", (run,)).rowcount)  # noqa: S608 (constant)

    def write_progress(
        self, connection: sqlite3.Connection, claim: RunClaim, progress: RunProgress, now: float
    ) -> bool:
        """Write how far a run is.

        Returns:
            False where the claim is gone; nothing was written then.
        """
        values = {
            "id": claim.run,
            "claim": claim.token,
            "state": progress.state,
            "done": progress.done,
            "total": progress.total,
            "summary": progress.summary,
            "now": now,
            "ended": None if progress.state == "running" else now,
            "error": progress.error,
        }
        query = f"""UPDATE {self.table} SET state = :state, done = :done, total = coalesce(:total, total),
            summary = coalesce(:summary, summary), heartbeat = :now, ended = :ended, error = :error
            WHERE id = :id AND claim = :claim AND state = 'running'"""  # noqa: S608 (constant)
        return bool(connection.execute(query, values).rowcount)

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """A connection of the caller's own, closed after."""
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(connect(self.path)) as connection:
                self._create_tables(connection)
                yield connection

    def _end_runs(
        self, state: RunState, now: float, condition: str, error: str | None = None, **values: object
    ) -> bool:
        query = f"""UPDATE {self.table} SET state = :state, claim = NULL, ended = :now, error = :error
            WHERE state IN ('queued', 'running') AND {condition}"""  # noqa: S608 (constants)
        with self.open() as connection:
            return bool(connection.execute(query, {"state": state, "now": now, "error": error, **values}).rowcount)

    def _create_tables(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > self.format:
            raise ConfigurationError(
                f"{self.path} has format {version}; this version of Bandstand reads up to {self.format}"
            )
        connection.execute("PRAGMA synchronous = NORMAL")
        if version:
            return
        connection.execute("PRAGMA journal_mode = WAL")
        with transaction(connection):
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if not version:  # nobody else was faster
                tables = files("bandstand.store.sqlite").joinpath("scripts", self.script).read_text(encoding="utf-8")
                for statement in tables.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {self.format}")


def _to_run(row: tuple[object, ...], now: float) -> RunRecord:
    values = dict(zip(_RUN_COLUMNS.split(", "), row, strict=True))
    heartbeat = float(str(values["heartbeat"] or 0.0))
    if values["state"] == "running" and (heartbeat < now - STALE_SECONDS or is_ahead(heartbeat, now)):
        values["state"] = "interrupted"
    return RunRecord(**values)  # type: ignore[arg-type]  # the table is STRICT and holds these types
