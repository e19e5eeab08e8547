"""Statements of rewards over time: windows, parts, and the metrics that parts bring."""

from typing import Any

from bandstand.store.postgres.schema import build_striped_upsert
from bandstand.store.records import Reward, RewardPart
from bandstand.store.tables.policies import PolicyRegistry
from bandstand.store.tables.windows import HELD, NOT_FIRST, PartInsert

_PART_COLUMNS = (*PartInsert._fields, "uid")
COUNTED_REASONS = frozenset({None, HELD, NOT_FIRST})
"""Why a part may be as it is, and joins the aggregate of its decision, now or once that is activated."""

ADD_PART = f"""INSERT INTO reward_parts ({", ".join(_PART_COLUMNS)})
    VALUES ({", ".join(f"${number}" for number in range(1, len(_PART_COLUMNS) + 1))})"""  # noqa: S608 (constants)
SETTLE_WINDOW = "UPDATE windows SET awaits = false WHERE decision = $1"
ACTIVATE_WINDOW = "UPDATE windows SET held = false, awaits = $2 WHERE decision = $1"
RELEASE_PARTS = f"""UPDATE reward_parts SET reason = NULL, taught = $2 WHERE decision = $1 AND reason = '{HELD}'
    RETURNING seq"""  # noqa: S608 (constants)

PART_FIELDS = f"u.user_id, {', '.join(f'p.{name}' for name in PartInsert._fields)}"
PARTS_OF_DECISION = f"""SELECT {PART_FIELDS} FROM reward_parts AS p JOIN users AS u ON u.uid = p.uid
    WHERE p.decision = $1 ORDER BY p.seq"""  # noqa: S608 (constants)
PART_BY_KEY = f"""SELECT {PART_FIELDS} FROM idempotency AS k JOIN reward_parts AS p ON p.seq = k.reward_seq
    JOIN users AS u ON u.uid = p.uid WHERE k.scope = $1 AND k.key = $2"""  # noqa: S608 (constants)
IS_PART = "SELECT EXISTS (SELECT 1 FROM reward_parts WHERE seq = $1)"


def build_metric_counts(source: str, sign: str, stripe: str) -> str:
    """What the parts of a query or CTE that count add to the sums of their metrics, or take away."""
    return build_striped_upsert(
        "metric_sums",
        f"""SELECT s.policy, s.metric, s.tip_id, {stripe}::smallint, {sign} * s.parts, {sign} * s.total,
            {sign} * s.squares FROM ({build_metric_sums(source)}) AS s""",  # noqa: S608 (constants)
    )


def build_metric_sums(source: str) -> str:
    """What the metrics of the parts of a query or CTE that count come to."""
    return f"""SELECT g.policy, m.key AS metric, g.tip_id, count(*) AS parts, sum(m.value::float8) AS total,
            sum(m.value::float8 * m.value::float8) AS squares
        FROM {source} AS g CROSS JOIN LATERAL json_each_text(g.metrics::json) AS m(key, value)
        WHERE g.metrics IS NOT NULL AND (g.reason IS NULL OR g.reason = '{NOT_FIRST}')
        GROUP BY 1, 2, 3"""  # noqa: S608 (constants)


COUNT_METRICS = build_metric_counts("(SELECT * FROM reward_parts WHERE seq = ANY ($1::bigint[]))", "1", "$2")
UNCOUNT_METRICS = build_metric_counts("(SELECT * FROM reward_parts WHERE uid = $1)", "-1", "$2")
LOAD_METRICS = """SELECT p.name, m.metric, m.tip_id, m.parts::bigint, m.total, m.squares
    FROM metric_sums AS m JOIN policies AS p ON p.id = m.policy WHERE m.parts <> 0
    ORDER BY p.name COLLATE "C", m.metric COLLATE "C", m.tip_id COLLATE "C" """


def to_part_reward(row: Any, registry: PolicyRegistry) -> Reward:
    """A part of the ledger as the reward that it was given as."""
    return Reward(
        user_id=row["user_id"],
        policy=registry.get_ref(row["policy"]),
        tip_id=row["tip_id"],
        value=row["value"] if row["taught"] is None else row["taught"],
        client=row["client"],
        ts=row["ts"],
        body_hash=row["body_hash"],
        x=None,
        decision_seq=row["decision"],
        applied=row["reason"] is None,
        reason=row["reason"],
        seq=row["seq"],
        part=RewardPart(row["value"], row["reason"], row["taught"], row["metrics"], row["formula"]),
    )
