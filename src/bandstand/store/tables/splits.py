"""Splits in the ledger: experiments, holdouts and steps of launches, and which arm of which a decision belongs to."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from bandstand.bandit.experiment import Arm, Experiment, Split
from bandstand.bandit.holdout import Holdout, HoldoutSplit
from bandstand.store.records import LAST_SEQ
from bandstand.store.tables.event_rows import INSERT_ONE_MARK, MarkInsert

HOLDOUT = "holdout"
BANDIT_ARM, CONTROL_ARM = "bandit", "control"

SPLIT_KINDS = ("experiment", HOLDOUT, "launch")
"""Kinds of the marks that begin and end them."""
_MARKS = f"""SELECT seq, kind, document FROM marks WHERE uid IS NULL AND kind IN ({", ".join("?" * len(SPLIT_KINDS))})
    ORDER BY seq"""  # noqa: S608 (constants)
_NEWEST_HOLDOUT = "SELECT seq, ts, document FROM marks WHERE uid IS NULL AND kind = 'holdout' ORDER BY seq DESC LIMIT 1"


class HoldoutStart(NamedTuple):
    """The beginning of a holdout: its event number and its time."""

    seq: int
    ts: float


@dataclass(frozen=True, slots=True)
class LoggedSplit:
    """A split, and the events between which it held.

    Attributes:
        seq: number of the event that began it.
        until: number of the one that ended it.
        assign: between whom the users are divided.
    """

    seq: int
    until: int
    assign: Split | HoldoutSplit

    def find_arm(self, user_id: str, policy: str) -> str | None:
        """The arm in which the user is; ``None`` if the decision was another policy's, which the request named."""
        if isinstance(self.assign, HoldoutSplit):
            is_control = self.assign.is_control(user_id)
            if (policy == self.assign.holdout.policy) != is_control:
                return None
            return CONTROL_ARM if is_control else BANDIT_ARM
        return policy if self.assign.assign_policy(user_id) == policy else None


class SplitLog:
    """Every split that there was in a ledger.

    Args:
        marks: number, kind and document of what began or ended a split, in order.
        secret: of the deployment.
    """

    def __init__(self, marks: Iterable[tuple[int, str, str | None]], secret: bytes) -> None:
        splits, newest = list[LoggedSplit](), dict[str, tuple[int, str | None]]()
        for seq, kind, document in marks:
            if kind in newest:
                _add(splits, *newest[kind], seq, kind, secret)
            newest[kind] = (seq, document)
        for kind, (seq, document) in newest.items():
            _add(splits, seq, document, LAST_SEQ, kind, secret)
        self._holdouts = [each for each in splits if isinstance(each.assign, HoldoutSplit)]
        self._others = [each for each in splits if not isinstance(each.assign, HoldoutSplit)]

    def is_any_after(self, seq: int) -> bool:
        """Whether a split held after the event ``seq``."""
        return any(each.until > seq for each in (*self._holdouts, *self._others))

    def find_arms(self, user_id: str, policy: str, seq: int) -> Iterator[tuple[int, str]]:
        """The splits, each with its arm, that the decision ``seq`` belongs to; who is held out is in no other."""
        for each in self._holdouts:
            if each.seq < seq < each.until:
                arm = each.find_arm(user_id, policy)
                if arm is not None:
                    yield each.seq, arm
                if arm != BANDIT_ARM:
                    return
        for each in self._others:
            if each.seq < seq < each.until and (arm := each.find_arm(user_id, policy)) is not None:
                yield each.seq, arm


def read_splits(connection: sqlite3.Connection, secret: bytes) -> SplitLog:
    """Every split that there was in a ledger."""
    return SplitLog(connection.execute(_MARKS, SPLIT_KINDS), secret)


def find_running_holdout(connection: sqlite3.Connection, definition: str | None) -> HoldoutStart | None:
    """The beginning of the holdout of that definition, where it is the newest and has not ended."""
    row = connection.execute(_NEWEST_HOLDOUT).fetchone()
    return None if row is None or definition is None or row[2] != definition else HoldoutStart(row[0], row[1])


def is_holdout_running(connection: sqlite3.Connection) -> bool:
    """Whether a holdout has begun and not ended."""
    row = connection.execute(_NEWEST_HOLDOUT).fetchone()
    return row is not None and row[2] is not None


def log_holdout(connection: sqlite3.Connection, *, seq: int, ts: float, definition: str | None) -> None:
    """Write down that a holdout begins, and with it that any other ends; or, without a definition, only that."""
    connection.execute(INSERT_ONE_MARK, MarkInsert(seq, None, HOLDOUT, ts, "settings", definition))


def _add(splits: list[LoggedSplit], seq: int, document: str | None, until: int, kind: str, secret: bytes) -> None:
    if document is not None and (assign := _read_split(kind, document, secret)) is not None:
        splits.append(LoggedSplit(seq, until, assign))


@lru_cache(maxsize=64)
def _read_split(kind: str, document: str, secret: bytes) -> Split | HoldoutSplit | None:
    if kind == HOLDOUT:
        return HoldoutSplit(Holdout.from_json(document), secret)
    entry = json.loads(document)
    arms = entry.get("arms")
    if not arms:  # a launch that ended
        return None
    return Split(Experiment(str(entry["name"]), tuple(Arm(*each) for each in arms)), secret)
