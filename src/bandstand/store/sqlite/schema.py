"""The ledger's file: opening it, and its schema.

SQLite in WAL mode. A commit without a sync survives ``kill -9`` (the page cache is the kernel's); once the log
is synced after it, it survives a power cut as far as the disk tells the truth.
"""

import os
import secrets
import sqlite3
from importlib.resources import files
from pathlib import Path
from types import NoneType
from typing import TypeVar

from bandstand.errors import ConfigurationError

_SCRIPTS = (
    "schema.sql",
    "generations.sql",
    "judgements.sql",
    "loop.sql",
    "shadows.sql",
    "past_rewards.sql",
    "all_time.sql",
    "client_arrivals.sql",
    "erasures.sql",
    "own_times.sql",
    "reviews.sql",
    "reward_sums.sql",
    "turn_about.sql",
    "subjects.sql",
    "reward_windows.sql",
    "gains.sql",
    "arms.sql",
    "reactions.sql",
    "user_levels.sql",
)
"""The nth of them brings a ledger from format n - 1 to format n.

One that ledgers were made with makes the same for ever: a change is a script of its own.
"""
_YOUNG_TABLES = {
    "windows": "decision, held, due, fallback, awaits",
    "reward_parts": "seq, decision, policy, tip_id, value, taught, reason, metrics, formula, body_hash, client, ts",
    "reactions": "seq, action, dwell_ms, ts, name, version, hash",
}
"""What readers look into, and ledgers of older formats lack."""
_YOUNG_VIEWS = {"user_decisions": "SELECT uid, seq FROM decisions", "user_rewards": "SELECT uid, seq FROM rewards"}
"""The same, where older formats have it otherwise."""
SCHEMA_VERSION = len(_SCRIPTS)
SCRUBBED_KEY = "scrubbed"
"""In ``meta``: the file is kept free of what SQLite leaves on its pages (:mod:`bandstand.store.sqlite.scrub`)."""
EVER = -1
"""The day of the rows that sum all days, and the hour of those that sum all hours."""

_T = TypeVar("_T")


def _keep(value: _T) -> _T:
    return value


for _type in (NoneType, bool, bytes):
    # SQLite takes these as they are. The module does not know that: for each value it looks for an adapter, then for a
    # method of either side, each time with an error and its message, which costs as much as the row's insert.
    sqlite3.register_adapter(_type, _keep)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the ledger in autocommit mode, with the pragmas every connection of ours wants."""
    if not (read_only or _is_writable(path)):
        raise _build_error("attempt to write a readonly database", sqlite3.SQLITE_READONLY)
    mode = ("?mode=ro&immutable=1" if _is_at_rest(path) else "?mode=ro") if read_only else ""
    uri = f"{path.absolute().as_uri()}{mode}"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256, timeout=30
    )
    try:
        connection.execute("PRAGMA cache_size = -16000")
        connection.execute("PRAGMA mmap_size = 268435456")
        connection.execute("PRAGMA temp_store = MEMORY")  # no word of a user in a file that nobody knows of
    except BaseException:  # the first statement is where SQLite finds that the file is no database
        connection.close()
        raise
    return connection


def _is_at_rest(path: Path) -> bool:
    """Whether a ledger is read from where nothing can be written, and all of it is in its file, as in a backup.

    A reader else needs an index beside the ledger, which SQLite makes if there is none.
    """
    log = path.with_name(f"{path.name}-wal")
    return not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size)


def _build_error(message: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error


def _is_writable(path: Path) -> bool:
    """Check this before SQLite opens the ledger: it would leave files beside it that stay read-only afterwards."""
    return not path.exists() or os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of a new ledger, or add to an old one what it lacks.

    Raises:
        ConfigurationError: the file was made by a newer Bandstand.
    """
    connection.execute("PRAGMA page_size = 8192")
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise _build_error("a write-ahead log cannot be kept", sqlite3.SQLITE_IOERR_SHMMAP)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        message = f"ledger.db has format {version}; this version of Bandstand reads up to {SCHEMA_VERSION}"
        raise ConfigurationError(message)
    if version < SCHEMA_VERSION:
        scripts = files("bandstand.store.sqlite").joinpath("scripts")
        tables = "\n".join(scripts.joinpath(name).read_text("utf-8") for name in _SCRIPTS[version:])
        if version == 0:
            secret = f"('secret', x'{secrets.token_hex(32)}')"
            tables += f"INSERT INTO meta (key, value) VALUES {secret}, ('{SCRUBBED_KEY}', x'01');"  # noqa: S608 (ours)
        connection.executescript(f"BEGIN IMMEDIATE;\n{tables}\nPRAGMA user_version = {SCHEMA_VERSION};\nCOMMIT;")
    connection.execute("DELETE FROM meta WHERE key = ''")  # what can only be read fails here, not at the first event


def add_young_tables(connection: sqlite3.Connection) -> None:
    """Let a reader find nothing where a ledger of an older format lacks a table; the ledger itself is not touched."""
    young = {name: f"TABLE {name} ({columns})" for name, columns in _YOUNG_TABLES.items()}
    young |= {name: f"VIEW {name} AS {query}" for name, query in _YOUNG_VIEWS.items()}
    for name, definition in young.items():
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (name,)).fetchone():
            connection.execute(f"CREATE TEMP {definition}")


def is_kept_scrubbed(connection: sqlite3.Connection) -> bool:
    """Whether every process that wrote to the ledger has scrubbed what it moved into the file."""
    query = "SELECT EXISTS (SELECT 1 FROM meta WHERE key = ?)"
    return bool(connection.execute(query, (SCRUBBED_KEY,)).fetchone()[0])


def find_last_seq(connection: sqlite3.Connection) -> int:
    """The newest event number in the ledger."""
    query = """SELECT max(coalesce((SELECT max(seq) FROM decisions), 0), coalesce((SELECT max(seq) FROM rewards), 0),
                          coalesce((SELECT max(seq) FROM marks), 0), coalesce((SELECT max(seq) FROM tombstones), 0),
                          coalesce((SELECT max(seq) FROM generations), 0),
                          coalesce((SELECT max(seq) FROM revocations), 0),
                          coalesce((SELECT max(seq) FROM reward_parts), 0),
                          coalesce((SELECT max(seq) FROM judgements), 0),
                          coalesce((SELECT max(seq) FROM conclusions), 0),
                          coalesce((SELECT max(seq) FROM judge_spending), 0))"""
    return int(connection.execute(query).fetchone()[0])
