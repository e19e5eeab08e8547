"""The tables of a ledger: made by the first process, found by the others."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import accumulate, pairwise
from operator import mul
from typing import Any

import asyncpg

from bandstand.errors import ConfigurationError
from bandstand.store.postgres.connections import Channel, ConnectionPool
from bandstand.store.tables.loop_health import LAST_BUCKET

_READS_FROM_KEY = "reads_from"


@dataclass(frozen=True, slots=True)
class FormatUpgrade:
    """What brings a ledger from one format to the next while processes of the version before serve it.

    It may add tables, columns with a default and views, none of which takes long: its locks stop everybody.

    Attributes:
        statements: SQL.
        reads_from: the oldest format whose processes may continue. Where that is the new one, the others stop.
    """

    statements: str
    reads_from: int


_PRIORS = """
-- What was learned of all users, for each policy, and how often another one was asked for. Without a document it named
-- somebody who was erased.
CREATE TABLE priors (
    policy     TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    document   BYTEA,
    wanted     BIGINT NOT NULL,
    settled    BIGINT NOT NULL
);
-- Whom each was learned from.
CREATE TABLE prior_members (
    policy TEXT NOT NULL,
    uid    BIGINT NOT NULL,
    PRIMARY KEY (policy, uid)
);
CREATE INDEX prior_members_by_user ON prior_members (uid);"""


def _read_script(name: str) -> str:
    return files("bandstand.store.postgres").joinpath("scripts", name).read_text("utf-8")


UPGRADES: tuple[FormatUpgrade, ...] = (
    FormatUpgrade(_read_script("subjects.sql"), reads_from=1),
    FormatUpgrade(_PRIORS, reads_from=1),
)
"""The nth of them brings a ledger from format n to n + 1; it stays the same for ever."""
FORMAT = 1 + len(UPGRADES)
MOVING_KEY = "moving"
"""In ``meta``: whose rows are being moved in, by :func:`bandstand.store.postgres.arrival.compute_token`."""
MOVED_KEY = "moved"
"""In ``meta``: into which directory the ledger was moved, as JSON; it takes no more events."""
_NOTE_MEANING = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_TRIES = 5
_OLDEST_SERVER = 140_000
_STEP = 1.1892071150027210667  # the fourth root of 2, written as the embedded ledger's scripts write it

STRIPED = {
    "rollups": (("hour", "policy"), ("decisions", "explores", "rewards", "reward_sum")),
    "draws": (
        ("day", "policy", "bin"),
        (
            *("decisions", "explores", "floor", "floor_variance", "picked", "likeliest", "variance", "weight"),
            *("weight_squares", "support"),
        ),
    ),
    "arrivals": (("day", "policy", "source", "bucket"), ("rewards", "reward_sum")),
    "prompt_totals": (("prompt",), ("generations", "tips", "decisions", "rewards", "reward_sum", "reward_squares")),
    "enrolled": (("experiment", "arm"), ("users",)),
    "metric_sums": (("policy", "metric", "tip_id"), ("parts", "total", "squares")),
    "judgement_totals": (("policy", "state", "reason"), ("count",)),
    "shadow_sums": (
        ("policy",),
        ("decisions", "agreed", "rewarded", "r", "rr", "w", "ww", "wr", "wwr", "wrr", "wwrr"),
    ),
}
"""Totals by name: their keys and their sums. Each is a table ``NAME_s`` with a stripe, and a view over all stripes."""


def build_striped_upsert(table: str, select: str) -> str:
    """An insert of what a SELECT of keys, stripe and sums finds, added to what the stripe has under the same key."""
    keys, sums = STRIPED[table]
    added = ", ".join(f"{name} = {table}_s.{name} + excluded.{name}" for name in sums)
    return f"""INSERT INTO {table}_s ({", ".join((*keys, "stripe", *sums))}) {select}
        ON CONFLICT ({", ".join((*keys, "stripe"))}) DO UPDATE SET {added}"""


def _build_views() -> str:
    views = []
    for table, (keys, sums) in STRIPED.items():
        columns = ", ".join((*keys, *(f"sum({name}) AS {name}" for name in sums)))
        views.append(f"CREATE VIEW {table} AS SELECT {columns} FROM {table}_s GROUP BY {', '.join(keys)};")  # noqa: S608 (constants)
    return "\n".join(views)


async def create_tables(pool: ConnectionPool, schema: str) -> bytes:
    """Make the tables if there are none, and return the deployment's secret.

    Raises:
        ConfigurationError: the server is too old, the role may not, or another format is there.
    """
    for tries in range(_TRIES):
        try:
            return await pool.transact(lambda channel, _: _create(channel, schema))
        except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError):
            if tries == _TRIES - 1:  # another process makes the same at the same moment
                raise
    raise AssertionError


async def _create(channel: Channel, schema: str) -> bytes:
    session = channel.session
    await require_server(session)
    try:
        if not await session.fetchval("SELECT to_regnamespace($1) IS NOT NULL", schema):
            await session.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        found = await session.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{schema}.meta")
        if not found:
            await run_scripts(session)
    except asyncpg.InsufficientPrivilegeError:
        raise ConfigurationError(
            f"the role of STATE_URL may not make the schema {schema!r} or tables in it: grant it CREATE, or make it"
        ) from None
    meta: dict[str, Any] = dict(await session.fetch("SELECT key, value FROM meta"))
    if "format" not in meta:
        raise ConfigurationError("the ledger of STATE_URL is not all there: it is being restored, or was cut short")
    if int(meta["format"]) < FORMAT:
        await _upgrade(session, int(meta["format"]))
    require_readable(meta, FORMAT)
    if MOVING_KEY in meta:
        raise ConfigurationError(
            "a ledger is being moved to STATE_URL: let `bandstand state move` end, or run it again"
        )
    require_not_returned(meta)
    return bytes(meta["secret"])


def require_not_returned(meta: Mapping[str, bytes]) -> None:
    """Refuse a ledger that was moved into a directory.

    Raises:
        ConfigurationError: it was.
    """
    if MOVED_KEY in meta:
        directory = json.loads(meta[MOVED_KEY])["directory"]
        raise ConfigurationError(
            f"the ledger of STATE_URL was moved into the directory {directory!r}: unset STATE_URL, and set STATE_DIR "
            "to it; nothing is written here any more"
        )


async def _upgrade(session: Any, found: int) -> None:
    """Bring the tables to this version's format, or let another process have done so."""
    await session.execute("SET LOCAL lock_timeout = '2s'")
    locked = await session.fetchval("SELECT value FROM meta WHERE key = 'format' FOR UPDATE")
    for upgrade in UPGRADES[max(found, int(locked)) - 1 :]:
        await session.execute(upgrade.statements)
        await session.execute(_NOTE_MEANING, _READS_FROM_KEY, str(upgrade.reads_from).encode())
        await session.execute("UPDATE deployment SET epoch = epoch + 1")  # whoever may not go on finds out at once
    await session.execute(_NOTE_MEANING, "format", str(FORMAT).encode())


def require_readable(meta: Mapping[str, bytes], known: int) -> None:
    """Refuse a ledger of a later format, unless that says that processes of an earlier version may continue.

    Args:
        meta: the ledger's.
        known: the format of this version.

    Raises:
        ConfigurationError: they may not.
    """
    found = int(meta["format"])
    if found > known < int(meta.get(_READS_FROM_KEY, found)):
        raise ConfigurationError(f"the ledger of STATE_URL has format {found}; this version of Bandstand reads {known}")


async def require_server(session: Any) -> None:
    """Refuse a server that is too old.

    Raises:
        ConfigurationError: it is.
    """
    version = int(await session.fetchval("SELECT current_setting('server_version_num')"))
    if version < _OLDEST_SERVER:
        raise ConfigurationError("STATE_URL names a PostgreSQL older than 14")


async def run_scripts(session: Any) -> None:
    """Make the tables in an empty schema, which is the first of the search path."""
    await session.execute(f"{_read_script('schema.sql')}\n{_build_views()}")
    for upgrade in UPGRADES:
        await session.execute(upgrade.statements)
    bounds = [factor - 1.0 for factor in accumulate([_STEP] * LAST_BUCKET, mul)]
    delays = [*enumerate(bounds), (LAST_BUCKET, float("inf"))]
    assert all(lower < upper for (_, lower), (_, upper) in pairwise(delays))  # noqa: S101 (a bucket ends where the next begins)
    await session.executemany("INSERT INTO delays (bucket, below) VALUES ($1, $2)", delays)
    oldest = UPGRADES[-1].reads_from if UPGRADES else FORMAT
    meta = [
        ("format", str(FORMAT).encode()),
        (_READS_FROM_KEY, str(oldest).encode()),
        ("secret", secrets.token_bytes(32)),
    ]
    await session.executemany("INSERT INTO meta (key, value) VALUES ($1, $2)", meta)
