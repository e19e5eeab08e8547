"""Rows of the shared ledger as an embedded one keeps them: which of them go, and in which order their events are.

A directory folds a user's events by their event numbers, the shared ledger by those that were given under the user's
lock. Where the two disagree, events get the next free number: those of rewards, revocations, resets and imports are
nobody's to quote.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bandstand.store.postgres.evaluation_runs import EVALUATION_RUNS

_HAS_DECISION = "EXISTS (SELECT 1 FROM decisions AS d WHERE d.seq = coalesce(r.decision_seq, r.linked_seq))"
IS_READABLE = f"(r.features IS NOT NULL OR {_HAS_DECISION})"
"""SQL: a reward ``r`` whose features an embedded ledger finds, which keeps them with the decision alone."""
_OF_DECISION = "WHERE EXISTS (SELECT 1 FROM decisions AS d WHERE d.seq = t.{key})"
_WHERE: Mapping[str, str] = {
    "rewards": f"AS r WHERE {IS_READABLE}",
    "revocations": f"AS t WHERE EXISTS (SELECT 1 FROM rewards AS r WHERE r.seq = t.reward_seq AND {IS_READABLE})",  # noqa: S608 (constants)
    "reward_parts": f"AS t {_OF_DECISION.format(key='decision')}",
    "reactions": f"""AS t WHERE EXISTS (SELECT 1 FROM rewards AS r WHERE r.seq = t.seq AND {IS_READABLE})
        OR EXISTS (SELECT 1 FROM reward_parts AS p JOIN decisions AS d ON d.seq = p.decision WHERE p.seq = t.seq)""",  # noqa: S608 (constants)
    **{
        table: f"AS t {_OF_DECISION.format(key=key)}"
        for table, key in {
            "subjects": "seq",
            "decision_ids": "seq",
            "windows": "decision",
            "lineage": "decision",
            "shadows": "decision",
        }.items()
    },
}
_SEQ_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "rewards": ("seq",),
    "reward_parts": ("seq",),
    "reactions": ("seq",),
    "marks": ("seq",),
    "revocations": ("seq", "reward_seq"),
    "idempotency": ("reward_seq",),
    "judgements": ("reward_seq",),
    "conclusions": ("reward_seq",),
}
"""Columns that hold numbers of events whose order matters."""
_COPIED = (
    *("users", "policies", "schemas", "decisions", "subjects", "decision_ids", "rewards", "windows", "reward_parts"),
    *("reactions", "idempotency", "revocations", "marks", "tombstones", "enrolments", "prompts", "generations"),
    *("generated_tips", "lineage", "shadows", "judgements", "turns", "verdicts", "conclusions", "judge_spending"),
    *("rollups", "draws", "arrivals", "prompt_totals", "metric_sums", "enrolled", "judgement_totals", "shadow_sums"),
    *("gain_days", "gain_users", "arm_users", "arm_sums", "arm_days"),
)
RETURNED_TABLES = _COPIED
"""What is copied as rows, in this order."""
MACHINERY = frozenset(
    {
        *("meta", "deployment", "slots", "leases", "processes", "delays", "followers"),
        *("claims", "checkpoints", "baselines", "pulls", EVALUATION_RUNS),
    }
)
"""Tables that a directory has no use for, or that are made of others."""


def build_select(table: str, columns: Iterable[str]) -> str:
    """The rows of a table that a directory takes, with the columns that it has."""
    prefix = "r." if table == "rewards" else "t." if table in _WHERE else ""
    return f"SELECT {', '.join(f'{prefix}{name}' for name in columns)} FROM {table} {_WHERE.get(table, '')}"  # noqa: S608 (constants)


class RowConverter:
    """Rows of one table, as SQLite keeps their values.

    Args:
        table: which.
        columns: names and declared types, in the order of the rows' values.
        moved: new numbers by old ones.
    """

    def __init__(self, table: str, columns: Mapping[str, str], moved: Mapping[int, int]) -> None:
        seqs = _SEQ_COLUMNS.get(table, ()) if moved else ()
        self._moved = moved
        self._document = [*columns].index("document") if table == "marks" else None
        self._kinds = tuple("SEQ" if name in seqs else kind for name, kind in columns.items())

    def convert(self, row: Iterable[Any]) -> tuple[Any, ...]:
        """One row."""
        values = tuple(self._to_value(kind, value) for kind, value in zip(self._kinds, row, strict=True))
        return values if self._document is None else self._forget_place(values, self._document)

    @staticmethod
    def _forget_place(values: tuple[Any, ...], place: int) -> tuple[Any, ...]:
        """A mark without the schema of a loop: in a directory each is where its name says."""
        if values[place] is None or '"place"' not in values[place]:
            return values
        document = json.loads(values[place])
        if not isinstance(document, dict) or "loop" not in document:
            return values
        document.pop("place", None)
        return *values[:place], json.dumps(document), *values[place + 1 :]

    def _to_value(self, kind: str, value: Any) -> Any:
        if value is None:
            return None
        match kind:
            case "SEQ":
                return self._moved.get(value, value)
            case "INTEGER":
                return int(value)
            case "REAL":
                return float(value)
        return value


@dataclass(frozen=True, slots=True)
class NumberedEvent:
    """An event of a user that may move their state.

    Attributes:
        n: its place among them.
        seq: its event number.
        is_reset: decisions from before it count no more.
    """

    n: int
    seq: int
    is_reset: bool = False


def order_events(
    events: Iterable[NumberedEvent], decisions: Collection[tuple[int, int]], taken: Collection[int]
) -> tuple[dict[int, int], int]:
    """Number a user's events so that they are in order, and resets between the decisions that they stand between.

    Args:
        events: all of them.
        decisions: the event number of each decision, and the version of the user that it was made from.
        taken: numbers that others have.

    Returns:
        The new numbers by the old ones where these differ, and how many resets have no such place: they are put after
        the decisions from before them.
    """
    moved: dict[int, int] = {}
    misplaced = last = 0
    for event in sorted(events, key=lambda each: each.n):
        after, before = last, None
        if event.is_reset:
            after = max([last, *(seq for seq, version in decisions if version < event.n)])
            before = min((seq for seq, version in decisions if version >= event.n), default=None)
        seq = event.seq
        if seq <= after or (before is not None and seq >= before):
            seq = after + 1
            while seq in taken:
                seq += 1
            misplaced += before is not None and seq >= before
        if seq != event.seq:
            moved[event.seq] = seq
        last = seq
    return moved, misplaced
