"""Promotions and experiments in the ledger: who decided, and when, which policy un-named requests mean."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bandstand.store.tables.event_rows import INSERT_ONE_MARK, MarkInsert

Action = Literal["promote", "demote"]

_KINDS: dict[Action, str] = {"promote": "promotion", "demote": "demotion"}
_ACTIONS: dict[str, Action] = {kind: action for action, kind in _KINDS.items()}
_EXPERIMENT = "experiment"
_PROMOTIONS = (
    "SELECT kind, ts, client, document FROM marks WHERE uid IS NULL AND kind IN ('promotion', 'demotion') ORDER BY seq"
)
_NEWEST_EXPERIMENT = (
    "SELECT seq, ts, document FROM marks WHERE uid IS NULL AND kind = 'experiment' ORDER BY seq DESC LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class Promotion:
    """One change of the active policy.

    Attributes:
        action: ``promote``, or ``demote``, which goes back.
        policy: what is active from then on; ``None`` for the one that is when none was ever promoted.
        instead_of: what was active before.
        ts: seconds since the epoch.
        client: name of the API key.
    """

    action: Action
    policy: str | None
    instead_of: str
    ts: float
    client: str


@dataclass(frozen=True, slots=True)
class ExperimentStart:
    """The beginning of an experiment: its event number and its time."""

    seq: int
    ts: float


def log_promotion(connection: sqlite3.Connection, *, seq: int, promotion: Promotion) -> None:
    """Write down a promotion or a demotion."""
    connection.execute(INSERT_ONE_MARK, build_promotion_row(seq, promotion))


def build_promotion_row(seq: int, promotion: Promotion) -> MarkInsert:
    """A promotion or a demotion as its mark."""
    document = json.dumps({"policy": promotion.policy, "instead_of": promotion.instead_of})
    return MarkInsert(seq, None, _KINDS[promotion.action], promotion.ts, promotion.client, document)


def list_promotions(connection: sqlite3.Connection) -> list[Promotion]:
    """Every promotion and demotion, the oldest first."""
    return [parse_promotion(*row) for row in connection.execute(_PROMOTIONS)]


def parse_promotion(kind: str, ts: float, client: str, document: str) -> Promotion:
    """The promotion or demotion of a mark."""
    entry = json.loads(document)
    return Promotion(_ACTIONS[kind], entry["policy"], entry["instead_of"], ts, client)


def find_running_experiment(connection: sqlite3.Connection, definition: str | None) -> ExperimentStart | None:
    """The beginning of the experiment of that definition, where it is the newest and has not ended."""
    row = connection.execute(_NEWEST_EXPERIMENT).fetchone()
    return None if row is None or definition is None or row[2] != definition else ExperimentStart(row[0], row[1])


def is_experiment_running(connection: sqlite3.Connection) -> bool:
    """Whether an experiment has begun and not ended."""
    row = connection.execute(_NEWEST_EXPERIMENT).fetchone()
    return row is not None and row[2] is not None


def log_experiment(connection: sqlite3.Connection, *, seq: int, ts: float, definition: str | None) -> None:
    """Write down that an experiment begins, and with it that any other ends; or, without a definition, only that."""
    connection.execute(INSERT_ONE_MARK, MarkInsert(seq, None, _EXPERIMENT, ts, "settings", definition))


def count_enrolled(connection: sqlite3.Connection, experiment: int) -> Mapping[str, int]:
    """How many users each arm has decided for since the experiment began."""
    return dict(connection.execute("SELECT arm, users FROM enrolled WHERE experiment = ?", (experiment,)))
