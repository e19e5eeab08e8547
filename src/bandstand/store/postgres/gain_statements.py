"""Statements of gains and arms: what a page of events touches, and the sums that it is added to."""

from bandstand.store.postgres.reward_statements import REWARD_ORDER
from bandstand.store.tables.arms import LEFT_OUT, REWARD, ArmSums
from bandstand.store.tables.gains import GainDay, build_standing_sql
from bandstand.store.tables.windows import NOT_FIRST

_AMOUNTS = GainDay._fields[2:]
_ARM_AMOUNTS = ArmSums._fields[3:]


def _build_upsert(table: str, keys: tuple[str, ...], sums: tuple[str, ...], *, adds: bool = True) -> str:
    names = (*keys, *sums)
    values = ", ".join(f"${number}" for number in range(1, len(names) + 1))
    changes = ", ".join(f"{name} = {f'{table}.{name} + ' if adds else ''}excluded.{name}" for name in sums)
    return f"""INSERT INTO {table} ({", ".join(names)}) VALUES ({values})
        ON CONFLICT ({", ".join(keys)}) DO UPDATE SET {changes}"""  # noqa: S608 (constants)


POSITION = "SELECT coalesce(max(seq), 0) FROM followers WHERE name = 'gains'"
LOCK_POSITION = "SELECT seq FROM followers WHERE name = 'gains' FOR UPDATE"
LOCK_USERS = "SELECT uid FROM users WHERE uid = ANY ($1::bigint[]) ORDER BY uid FOR KEY SHARE"
MOVE = "UPDATE followers SET seq = $1 WHERE name = 'gains'"
FIND_LAST = """SELECT greatest(
    (SELECT max(seq) FROM rewards WHERE seq > $1 AND seq <= $2),
    (SELECT max(seq) FROM revocations WHERE seq > $1 AND seq <= $2),
    (SELECT max(seq) FROM reward_parts WHERE seq > $1 AND seq <= $2),
    (SELECT max(seq) FROM decisions WHERE seq > $1 AND seq <= $2))"""
FIND_ENDS = """SELECT
    (SELECT seq FROM rewards WHERE seq > $1 ORDER BY seq LIMIT 1 OFFSET $2),
    (SELECT seq FROM revocations WHERE seq > $1 ORDER BY seq LIMIT 1 OFFSET $2),
    (SELECT seq FROM reward_parts WHERE seq > $1 ORDER BY seq LIMIT 1 OFFSET $2),
    CASE WHEN $3 THEN (SELECT seq FROM decisions WHERE seq > $1 ORDER BY seq LIMIT 1 OFFSET $2) END"""
"""Where the nth event of each kind is; of decisions only where they count for an arm."""
MARKS = "SELECT seq, kind, document FROM marks WHERE uid IS NULL AND kind = ANY ($1::text[]) ORDER BY seq"

_BEFORE, _NOW = build_standing_sql("$1", REWARD_ORDER), build_standing_sql("$2", REWARD_ORDER)
# Whose it is: in a loop with one model for everybody, whom the decision was made for.
_OF_PERSON = """LEFT JOIN subjects AS s ON s.seq = d.seq JOIN users AS u ON u.uid = coalesce(s.uid, d.uid)
    JOIN policies AS p ON p.id = d.policy"""
TOUCHED = f"""SELECT d.seq, u.uid, d.policy, d.ts, d.pick, d.numbers, u.user_id, p.name, {_BEFORE}, {_NOW}
    FROM (SELECT coalesce(decision_seq, linked_seq) AS seq FROM rewards WHERE seq > $1 AND seq <= $2
        UNION SELECT coalesce(r.decision_seq, r.linked_seq)
        FROM revocations AS v JOIN rewards AS r ON r.seq = v.reward_seq
        WHERE v.seq > $1 AND v.seq <= $2
        UNION SELECT decision FROM reward_parts WHERE seq > $1 AND seq <= $2) AS touched
    JOIN decisions AS d ON d.seq = touched.seq {_OF_PERSON}"""  # noqa: S608 (constants)
DECIDED = f"""SELECT d.seq, u.uid, u.user_id, p.name FROM decisions AS d {_OF_PERSON}
    WHERE d.seq > $1 AND d.seq <= $2"""  # noqa: S608 (constants)

METRICS = f"""SELECT decision, seq, metrics FROM reward_parts WHERE decision = ANY ($1::bigint[]) AND seq <= $2
    AND metrics IS NOT NULL AND (reason IS NULL OR reason = '{NOT_FIRST}') ORDER BY seq"""  # noqa: S608 (constants)

ADD_DAYS = _build_upsert("gain_days", ("day", "policy"), _AMOUNTS)
ADD_USERS = _build_upsert("gain_users", ("uid", "day", "policy"), _AMOUNTS)
LOAD_DAYS = f"""SELECT g.day, p.name, {", ".join(f"g.{name}" for name in _AMOUNTS)}
    FROM gain_days AS g JOIN policies AS p ON p.id = g.policy ORDER BY g.day, g.policy"""  # noqa: S608 (constants)

FIND_ARM_USERS = """SELECT split, uid, arm, metric, decisions, n, total FROM arm_users
    WHERE split = ANY ($1::bigint[]) AND uid = ANY ($2::bigint[])"""
FIND_METRICS = "SELECT DISTINCT split, metric FROM arm_sums WHERE split = ANY ($1::bigint[])"
ADD_ARM_USERS = _build_upsert("arm_users", ("split", "uid", "arm", "metric"), ("decisions", "n", "total"), adds=False)
DELETE_ARM_USERS = "DELETE FROM arm_users WHERE split = $1 AND uid = $2 AND arm = $3 AND metric = $4"
ADD_ARMS = _build_upsert("arm_sums", ("split", "arm", "metric"), _ARM_AMOUNTS)
KEEP_DAY = f"""INSERT INTO arm_days (split, day, arm, metric, {", ".join(_ARM_AMOUNTS)})
    SELECT split, $1::integer, arm, metric, {", ".join(_ARM_AMOUNTS)} FROM arm_sums
    WHERE split = $2 AND metric = '{REWARD}'
    ON CONFLICT (split, day, arm, metric) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in _ARM_AMOUNTS)}"""  # noqa: S608 (constants)
_ARM_COLUMNS = ", ".join(ArmSums._fields)
LOAD_ARMS = f"SELECT {_ARM_COLUMNS} FROM arm_sums WHERE split = $1 AND users > 0"  # noqa: S608 (constants)
LOAD_ARM_DAYS = f"""SELECT day, {_ARM_COLUMNS} FROM arm_days WHERE split = $1 AND metric = $2
    ORDER BY day"""  # noqa: S608 (constants)

SUBTRACT_GAINS = f"""UPDATE gain_days AS d SET {", ".join(f"{name} = d.{name} - g.{name}" for name in _AMOUNTS)}
    FROM gain_users AS g WHERE g.uid = $1 AND d.day = g.day AND d.policy = g.policy"""  # noqa: S608 (constants)
SUBTRACT_ARMS = """UPDATE arm_sums AS s SET users = s.users - 1, rewarded = s.rewarded - (a.n > 0)::integer,
        decisions = s.decisions - a.decisions, n = s.n - a.n, total = s.total - a.total,
        nn = s.nn - a.n * a.n, nt = s.nt - a.n * a.total, tt = s.tt - a.total * a.total
    FROM arm_users AS a WHERE a.uid = $1 AND s.split = a.split AND s.arm = a.arm AND s.metric = a.metric"""
"""Those of past days name nobody, and stay."""
FREE_NAMES = f"""DELETE FROM arm_sums AS s USING arm_users AS a
    WHERE a.uid = $1 AND s.split = a.split AND s.arm = a.arm AND s.metric = a.metric
        AND s.users = 0 AND s.metric NOT IN ('{REWARD}', '{LEFT_OUT}')
        AND NOT EXISTS (SELECT 1 FROM arm_sums AS more WHERE more.split = s.split AND more.metric = '{LEFT_OUT}')"""  # noqa: S608 (constants)
"""Nobody else brought it: the name goes, too. Where names were left out it keeps its place; see ``tables/arms.py``."""
