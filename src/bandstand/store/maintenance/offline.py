"""A state directory opened for maintenance: owned, or only observed while a service runs on it."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.profile import Profile
from bandstand.errors import ConfigurationError
from bandstand.store.learners import erasure, replay
from bandstand.store.learners.documents import Documents
from bandstand.store.records import Sequence
from bandstand.store.sqlite.errors import storage_errors
from bandstand.store.sqlite.moved_mark import require_not_moved
from bandstand.store.sqlite.ownership import Ownership
from bandstand.store.sqlite.schema import (
    SCHEMA_VERSION,
    SCRUBBED_KEY,
    add_young_tables,
    connect,
    create_tables,
    find_last_seq,
)
from bandstand.store.sqlite.transaction import snapshot, transaction
from bandstand.store.tables.policies import PolicyRegistry

_PAGE_SIZE = 500
_LEDGER = "ledger.db"

Tick = Callable[[], None]
"""Called once for each user or document done, so that a command can show how far it is."""


def no_tick() -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True)
class OpenedDirectory:
    """The parts of a state directory.

    Attributes:
        directory: where it is.
        catalogue: the configured policies and schemas.
        connection: to the ledger.
        registry: the policies the ledger knows.
        documents: the folder of checkpoints.
    """

    directory: Path
    catalogue: Catalogue
    connection: sqlite3.Connection
    registry: PolicyRegistry
    documents: Documents

    def count_users(self) -> int:
        """How many users the ledger knows."""
        return int(self.connection.execute("SELECT count(*) FROM users").fetchone()[0])

    def iter_users(self) -> Iterator[tuple[int, str]]:
        """Every user's key and id in order of first sight, read a page at a time."""
        after = 0
        while page := self.connection.execute(
            "SELECT uid, user_id FROM users WHERE uid > ? ORDER BY uid LIMIT ?", (after, _PAGE_SIZE)
        ).fetchall():
            yield from page
            after = page[-1][0]

    def rebuild_profile(self, uid: int, user_id: str) -> Profile:
        """The user's state from the ledger alone, as of now."""
        return replay.rebuild_profile(self.connection, self.registry, uid, user_id)

    def load_baseline(self, uid: int) -> Profile | None:
        """The state that retention kept in place of the user's earlier events."""
        return replay.load_baseline(self.connection, uid)

    def build_sequence(self) -> Sequence:
        """The numbers of events to come."""
        return Sequence(find_last_seq(self.connection))

    def read_secret(self) -> bytes:
        """The deployment's secret, which keys the tombstones."""
        return bytes(self.connection.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()[0])

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let every question inside see the ledger as of the first of them."""
        with snapshot(self.connection):
            yield

    @contextmanager
    def transaction(self, *, commit: bool = True) -> Iterator[None]:
        """Commit everything inside at once, or nothing of it: on an error, or where ``commit`` is false."""
        with transaction(self.connection, commit=commit):
            yield


@contextmanager
def open_owned(
    state_dir: Path, catalogue: Catalogue, *, new: bool = False, migrating: bool = False, moving: bool = False
) -> Iterator[OpenedDirectory]:
    """Own the directory; what is committed inside is synced to the disk.

    Args:
        state_dir: the directory.
        catalogue: the configured policies and schemas.
        new: make the ledger if there is none.
        migrating: take a ledger whose sums were made under another encoding of a schema.
        moving: take one that was moved already.

    Raises:
        ConfigurationError: another process owns the directory, it holds no ledger, it was moved, or a schema has
            changed.
        StorageFullError, StorageUnavailableError: the disk or the ledger refused.
    """
    if not new:
        find_ledger(state_dir)
    ownership = Ownership(state_dir)
    try:
        with storage_errors(state_dir), closing(connect(state_dir / _LEDGER)) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            create_tables(connection)
            if not moving:
                require_not_moved(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("DELETE FROM meta WHERE key = ?", (SCRUBBED_KEY,))  # the next service scrubs it all
            erasure.finish_all(connection, Sequence(find_last_seq(connection)), time.time())
            registry = PolicyRegistry(catalogue)
            registry.load(connection)
            if not migrating:
                registry.require_unchanged(connection)
            registry.register(connection)
            yield OpenedDirectory(state_dir, catalogue, connection, registry, Documents(state_dir))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        ownership.release()


@contextmanager
def open_read_only(state_dir: Path, catalogue: Catalogue) -> Iterator[OpenedDirectory]:
    """Read the directory, with no lock, whether or not a service runs on it.

    Raises:
        ConfigurationError: it holds no ledger, one of a newer format, or sums under another encoding of a schema.
        StorageUnavailableError: the ledger cannot be read.
    """
    path = find_ledger(state_dir)
    with storage_errors(state_dir), closing(connect(path, read_only=True)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if not 0 < version <= SCHEMA_VERSION:
            raise ConfigurationError(f"{path} has format {version}; this version of Bandstand reads {SCHEMA_VERSION}")
        if version < SCHEMA_VERSION:
            add_young_tables(connection)
        registry = PolicyRegistry(catalogue)
        registry.load(connection)
        if changed := registry.find_changed_schemas(connection):
            raise ConfigurationError(
                f"schema {changed[0]!r} is not the one that the sums in {str(state_dir)!r} were made under: "
                "set BANDSTAND_CONFIG as the service has it, or run `bandstand state migrate` first"
            )
        yield OpenedDirectory(state_dir, catalogue, connection, registry, Documents(state_dir))


def find_ledger(state_dir: Path) -> Path:
    """Where the ledger is.

    Raises:
        ConfigurationError: there is no ledger.
    """
    path = state_dir / _LEDGER
    if not path.is_file():
        raise ConfigurationError(f"STATE_DIR {str(state_dir)!r} holds no {_LEDGER}; name the service's state directory")
    return path
