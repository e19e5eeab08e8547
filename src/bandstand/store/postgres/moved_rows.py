"""Rows of an embedded ledger as the shared one keeps them: which come from where, and how their events are numbered.

The nth event of a user that may move their state, in the order of event numbers, has the number n. A decision was made
from the state as of the newest of them before it.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from bandstand.store.postgres.picked_request import cut_request
from bandstand.store.sqlite.packing import unpack_body

NOWHERE: Mapping[str, str] = MappingProxyType({})
"""No loop is moved along."""
FOLDED_STRIPE = -1
"""Of totals that many connections have counted, where they are brought together."""
_CUT = "cut_pick"
"""The last column of rows whose column ``picked`` is a request yet, to be cut to this candidate."""

_NUMBER_EVENTS = """
CREATE TEMP TABLE moved_baselines AS
    SELECT uid, document, document ->> '$.ledger_seq' AS seq, document ->> '$.reset_seq' AS reset_seq FROM marks AS m
    WHERE kind = 'baseline' AND seq = (SELECT max(seq) FROM marks WHERE uid = m.uid AND kind = 'baseline');
CREATE TEMP TABLE moved_events (
    uid INTEGER, seq INTEGER, late INTEGER, kind TEXT, n INTEGER, PRIMARY KEY (uid, seq, late)) WITHOUT ROWID;
INSERT INTO moved_events (uid, seq, late, kind, n)
    SELECT uid, seq, late, kind, row_number() OVER (PARTITION BY uid ORDER BY seq, late) FROM (
    SELECT uid, seq, 1 AS late, 'reward' AS kind FROM rewards
    UNION ALL SELECT uid, seq, 1, 'revocation' FROM revocations
    UNION ALL SELECT uid, seq, 1, kind FROM marks WHERE uid IS NOT NULL AND kind IN ('reset', 'import')
    UNION ALL SELECT uid, reset_seq, 1, 'reset' FROM moved_baselines AS b WHERE reset_seq > 0
        AND NOT EXISTS (SELECT 1 FROM marks WHERE seq = b.reset_seq)
    UNION ALL SELECT uid, seq, 2, 'baseline' FROM moved_baselines);
CREATE TEMP TABLE moved_shadows AS SELECT seq FROM marks WHERE uid IS NULL AND kind = 'shadow';
"""
_FORGET_NUMBERS = """DROP TABLE IF EXISTS moved_baselines; DROP TABLE IF EXISTS moved_events;
DROP TABLE IF EXISTS moved_shadows"""


def number_events(connection: sqlite3.Connection) -> None:
    """Number the events of every user, in tables of this connection alone."""
    for statement in (*_FORGET_NUMBERS.split(";"), *_NUMBER_EVENTS.split(";")):
        connection.execute(statement)


def _count_before(row: str) -> str:
    """SQL: the number of the newest event of its user before that of ``row``; 0 for none."""
    return f"""coalesce((SELECT e.n FROM moved_events AS e WHERE e.uid = {row}.uid AND e.seq < {row}.seq
        ORDER BY e.seq DESC, e.late DESC LIMIT 1), 0)"""  # noqa: S608 (constants)


def _with_user_of_decision(table: str, key: str = "decision") -> str:
    return f"SELECT t.*, d.uid FROM {table} AS t JOIN decisions AS d ON d.seq = t.{key}"  # noqa: S608 (constants)


_DECISION_OF_REWARD = "coalesce(r.decision_seq, r.linked_seq)"
_SELECTS: Mapping[str, str] = {
    "users": """SELECT u.uid, u.user_id, coalesce((SELECT max(n) FROM moved_events WHERE uid = u.uid), 0) AS version,
        coalesce((SELECT max(n) FROM moved_events WHERE uid = u.uid AND kind = 'reset'), 0) AS reset_version,
        EXISTS (SELECT 1 FROM generated_tips WHERE uid = u.uid) AS has_tips,
        u.uid IN (SELECT d.uid FROM shadows AS s JOIN decisions AS d ON d.seq = s.decision) AS is_shadowed
        FROM users AS u""",
    "policies": "SELECT * FROM policies",
    "schemas": "SELECT * FROM schemas",
    "decisions": f"""SELECT d.*, {_count_before("d")} AS version, d.body AS picked, d.pick AS {_CUT}
        FROM decisions AS d ORDER BY d.seq""",  # noqa: S608 (constants)
    "subjects": "SELECT s.* FROM subjects AS s JOIN decisions AS d ON d.seq = s.seq",
    "decision_ids": _with_user_of_decision("decision_ids", "seq"),
    "rewards": f"""SELECT r.*, e.n, coalesce(d.ts, ({_DECISION_OF_REWARD} >> 20) / 1000.0) AS decided,
        coalesce((SELECT max(seq) FROM moved_shadows WHERE seq <= r.seq), 0) AS shadow_set,
        iif(r.features IS NULL, d.body, NULL) AS picked, d.pick AS {_CUT}
        FROM rewards AS r JOIN moved_events AS e ON e.uid = r.uid AND e.seq = r.seq AND e.late = 1
        LEFT JOIN decisions AS d ON d.seq = {_DECISION_OF_REWARD} ORDER BY r.seq""",  # noqa: S608 (constants)
    "claims": """SELECT d.uid, d.seq AS decision_seq, max(c.holder) AS holder FROM (
            SELECT decision_seq, seq AS holder FROM rewards WHERE decision_seq IS NOT NULL
            UNION ALL SELECT decision_seq, seq FROM judgements
            WHERE decision_seq IS NOT NULL AND state = 'waiting') AS c
        JOIN decisions AS d ON d.seq = c.decision_seq GROUP BY d.seq""",
    "windows": _with_user_of_decision("windows"),
    "reward_parts": _with_user_of_decision("reward_parts"),
    "reactions": """SELECT x.*, coalesce(r.uid, d.uid) AS uid FROM reactions AS x
        LEFT JOIN rewards AS r ON r.seq = x.seq LEFT JOIN reward_parts AS p ON p.seq = x.seq
        LEFT JOIN decisions AS d ON d.seq = p.decision WHERE coalesce(r.uid, d.uid) IS NOT NULL""",
    "idempotency": "SELECT * FROM idempotency",
    "revocations": """SELECT v.*, e.n, g.n AS reward_n FROM revocations AS v
        JOIN moved_events AS e ON e.uid = v.uid AND e.seq = v.seq AND e.late = 1
        JOIN moved_events AS g ON g.uid = v.uid AND g.seq = v.reward_seq AND g.late = 1""",
    "marks": """SELECT m.*, e.n FROM marks AS m
        LEFT JOIN moved_events AS e ON e.uid = m.uid AND e.seq = m.seq AND e.late = 1 WHERE m.kind <> 'baseline'""",
    "tombstones": "SELECT * FROM tombstones",
    "enrolments": "SELECT * FROM enrolments",
    "prompts": "SELECT * FROM prompts",
    "generations": "SELECT * FROM generations",
    "generated_tips": "SELECT * FROM generated_tips",
    "lineage": _with_user_of_decision("lineage"),
    "shadows": _with_user_of_decision("shadows"),
    "judgements": f"SELECT j.*, {_count_before('j')} AS version FROM judgements AS j",  # noqa: S608 (constants)
    "turns": "SELECT * FROM turns",
    "verdicts": "SELECT * FROM verdicts",
    "conclusions": "SELECT * FROM conclusions",
    "judge_spending": "SELECT * FROM judge_spending",
    **{
        f"{name}_s": f"SELECT *, {FOLDED_STRIPE} AS stripe FROM {name}"  # noqa: S608 (constants)
        for name in (
            *("rollups", "draws", "arrivals", "prompt_totals", "metric_sums", "enrolled", "judgement_totals"),
            "shadow_sums",
        )
    },
    "gain_days": "SELECT * FROM gain_days",
    "gain_users": "SELECT * FROM gain_users",
    "arm_users": "SELECT * FROM arm_users",
    "arm_sums": "SELECT * FROM arm_sums",
    "arm_days": "SELECT * FROM arm_days",
}
TABLES = tuple(_SELECTS)
"""What is copied as rows, in this order."""
DERIVED_TABLES: Mapping[str, tuple[str, ...]] = {
    "baselines": ("uid", "version", "last", "document"),
    "pulls": ("uid", "policy", "pulls", "explores", "last"),
}
"""The columns of what is made of users' states."""


@dataclass(frozen=True, slots=True)
class ColumnTypes:
    """The columns of a table of the shared ledger: their types, by name, in order."""

    types: Mapping[str, str]

    def convert(self, name: str, value: Any) -> Any:
        """A value of the embedded ledger as the driver wants it for that column."""
        match self.types[name]:
            case _ if value is None:
                return None
            case "boolean":
                return bool(value)
            case "double precision":
                return float(value)
            case "bigint" | "integer" | "smallint":
                return int(value)
        return value


def iter_rows(
    connection: sqlite3.Connection, table: str, columns: ColumnTypes, places: Mapping[str, str] = NOWHERE
) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """The columns of a table that the embedded ledger says something of, and its rows.

    Args:
        connection: of that ledger, whose events are numbered.
        table: of the shared one.
        columns: of that table.
        places: the schemas of loops.
    """
    select = _SELECTS[table]
    if table == "marks" and places:
        connection.create_function("place_loop", 1, partial(_place_loop, places), deterministic=True)
        select = f"""SELECT t.seq, t.uid, t.n, t.kind, t.ts, t.client,
                iif(t.kind = 'loop' AND t.uid IS NULL, place_loop(t.document), t.document) AS document
            FROM ({select}) AS t"""  # noqa: S608 (constants)
    cursor = connection.execute(select)
    names = [name for name, *_ in cursor.description]
    kept = [(place, name) for place, name in enumerate(names) if name in columns.types]
    cut = names.index(_CUT) if _CUT in names else None
    convert = columns.convert

    def build() -> Iterator[tuple[Any, ...]]:
        for row in cursor:
            values = row
            if cut is not None:
                place = names.index("picked")
                picked = None if row[place] is None else cut_request(unpack_body(row[place]), row[cut])
                values = (*row[:place], picked, *row[place + 1 :])
            yield tuple(convert(name, values[place]) for place, name in kept)

    return [name for _, name in kept], build()


def _place_loop(places: Mapping[str, str], text: str) -> str:
    """The mark of a change of a loop, with the schema that holds what was made."""
    document = json.loads(text)
    if document["action"] == "create" and document["loop"] in places:
        document["place"] = places[document["loop"]]
    return json.dumps(document)


def count_left_behind(connection: sqlite3.Connection, table: str, copied: int) -> int:
    """Rows of a table that hang on nothing which is still there, and so have no place in the shared ledger."""
    if table == "claims":
        return 0
    gone = " WHERE kind <> 'baseline'" if table == "marks" else ""
    query = f"SELECT count(*) FROM {table.removesuffix('_s')}{gone}"  # noqa: S608 (constants)
    return int(connection.execute(query).fetchone()[0]) - copied
