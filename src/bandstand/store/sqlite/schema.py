"""The ledger's file: opening, its schema, and the rows that events become.

SQLite in WAL mode. A commit without a sync survives ``kill -9`` (the page cache is the kernel's); once the log
is synced after it, it survives a power cut as far as the disk tells the truth.
"""

import os
import secrets
import sqlite3
from importlib.resources import files
from pathlib import Path

from bandstand.errors import ConfigurationError
from bandstand.store.records import Decision, Reward
from bandstand.store.sqlite.packing import pack_body

_SCRIPTS = (
    "schema.sql",
    "generations.sql",
    "judgements.sql",
    "loop.sql",
    "shadows.sql",
    "past_rewards.sql",
    "all_time.sql",
    "client_arrivals.sql",
    "own_times.sql",
)
"""The nth of them brings a ledger from format n - 1 to format n.

One that ledgers were made with makes the same for ever: a change is a script of its own.
"""
SCHEMA_VERSION = len(_SCRIPTS)
EVER = -1
"""The day of the rows that sum all days, and the hour of those that sum all hours."""
LEGACY_LINK_SECONDS = 24 * 3600

_MAX_LEGACY_CANDIDATES = 1000
"""A legacy reward is linked among the user's newest thousand decisions: a bound on one insert's work."""

Row = tuple[object, ...]

INSERT_DECISION = "INSERT INTO decisions VALUES "
INSERT_DECISION_ID = "INSERT INTO decision_ids VALUES "
INSERT_USER = "INSERT OR IGNORE INTO users VALUES "
INSERT_REWARD = "INSERT INTO rewards VALUES "
INSERT_IDEMPOTENCY_KEY = "INSERT INTO idempotency VALUES "
INSERT_MARK = "INSERT INTO marks VALUES "
INSERT_ENROLMENT = "INSERT OR IGNORE INTO enrolments VALUES "

INSERT_LEGACY_REWARD = f"""
INSERT INTO rewards VALUES (?1, ?2, ?3, NULL, (
    SELECT seq FROM (
        SELECT seq, policy, tip_id FROM decisions
        WHERE uid = ?2 AND seq < ?1 AND seq > ?14 ORDER BY seq DESC LIMIT {_MAX_LEGACY_CANDIDATES}
    ) AS recent
    WHERE tip_id = ?4 AND policy IN (SELECT id FROM policies WHERE name = (SELECT name FROM policies WHERE id = ?3))
      AND NOT EXISTS (SELECT 1 FROM rewards WHERE decision_seq = recent.seq)
      AND NOT EXISTS (SELECT 1 FROM rewards WHERE linked_seq = recent.seq)
    ORDER BY seq DESC LIMIT 1
), ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
"""  # noqa: S608 (a constant number)

INSERT_LINEAGE = """
INSERT OR IGNORE INTO lineage SELECT ?1, generation, prompt FROM generated_tips
    WHERE uid = ?2 AND tip_id = ?3 AND generation < ?1 ORDER BY generation DESC LIMIT 1
"""


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the ledger in autocommit mode, with the pragmas every connection of ours wants."""
    if not (read_only or _is_writable(path)):
        raise sqlite3.OperationalError("attempt to write a readonly database")
    uri = f"{path.absolute().as_uri()}{'?mode=ro' if read_only else ''}"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256, timeout=30
    )
    try:
        connection.execute("PRAGMA cache_size = -16000")
        connection.execute("PRAGMA mmap_size = 268435456")
    except BaseException:  # the first statement is where SQLite finds that the file is no database
        connection.close()
        raise
    return connection


def _is_writable(path: Path) -> bool:
    """Ask before SQLite does: it would open the ledger and leave files beside it that stay read-only afterwards."""
    return not path.exists() or os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of a new ledger, or add to an old one what it lacks.

    Raises:
        ConfigurationError: the file was made by a newer Bandstand.
    """
    connection.execute("PRAGMA page_size = 8192")
    connection.execute("PRAGMA journal_mode = WAL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        message = f"ledger.db has format {version}; this version of Bandstand reads up to {SCHEMA_VERSION}"
        raise ConfigurationError(message)
    if version < SCHEMA_VERSION:
        scripts = files("bandstand.store.sqlite").joinpath("scripts")
        tables = "\n".join(scripts.joinpath(name).read_text("utf-8") for name in _SCRIPTS[version:])
        if version == 0:
            tables += f"INSERT INTO meta VALUES ('secret', x'{secrets.token_hex(32)}');"  # noqa: S608 (digits of ours)
        connection.executescript(f"BEGIN IMMEDIATE;\n{tables}\nPRAGMA user_version = {SCHEMA_VERSION};\nCOMMIT;")
    connection.execute("DELETE FROM meta WHERE key = ''")  # what can only be read fails here, not at the first event


def find_last_seq(connection: sqlite3.Connection) -> int:
    """The newest event number in the ledger."""
    query = """SELECT max(coalesce((SELECT max(seq) FROM decisions), 0), coalesce((SELECT max(seq) FROM rewards), 0),
                          coalesce((SELECT max(seq) FROM marks), 0), coalesce((SELECT max(seq) FROM tombstones), 0),
                          coalesce((SELECT max(seq) FROM generations), 0),
                          coalesce((SELECT max(seq) FROM revocations), 0),
                          coalesce((SELECT max(seq) FROM judgements), 0),
                          coalesce((SELECT max(seq) FROM conclusions), 0),
                          coalesce((SELECT max(seq) FROM judge_spending), 0))"""
    return int(connection.execute(query).fetchone()[0])


def build_decision_row(decision: Decision, policy_id: int) -> Row:
    """A decision as a row of ``decisions``."""
    numbers = decision.numbers
    return (
        decision.seq,
        None if decision.own_id else decision.decision_id[16:],
        decision.uid,
        policy_id,
        decision.client,
        decision.ts,
        decision.tip_id,
        decision.pick,
        decision.exploring,
        decision.seed,
        decision.score,
        decision.propensity,
        decision.floor,
        pack_body(decision.body),
        b"" if numbers is None else numbers.tobytes(),
    )


def build_reward_row(reward: Reward, uid: int, policy_id: int, linked_seq: int | None = None) -> Row:
    """A reward as a row of ``rewards``; one that names no decision may be linked to one."""
    return (
        reward.seq,
        uid,
        policy_id,
        reward.decision_seq,
        linked_seq,
        reward.tip_id,
        reward.value,
        reward.weight,
        reward.applied,
        reward.reason,
        reward.source,
        reward.features,
        reward.body_hash,
        reward.client,
        reward.ts,
    )


def build_legacy_reward_row(reward: Reward, uid: int, policy_id: int, linkable_after: int) -> Row:
    """The parameters of ``INSERT_LEGACY_REWARD``, of a turn without a decision: the link is looked up at the insert."""
    return (
        reward.seq,
        uid,
        policy_id,
        reward.tip_id,
        reward.value,
        reward.weight,
        reward.applied,
        reward.reason,
        reward.source,
        reward.features,
        reward.body_hash,
        reward.client,
        reward.ts,
        linkable_after,
    )
