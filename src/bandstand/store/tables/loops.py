"""Loops in the ledger of the default one: who made, changed or deleted which, and when; before and after.

And the erasures over all loops that are under way: each loop has a ledger of its own, and no commit covers two.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bandstand.bandit.loop_definition import CHANGEABLE, DEFAULT_LOOP, LoopDefinition
from bandstand.store.tables.event_rows import INSERT_ONE_MARK, MarkInsert

LoopAction = Literal["create", "change", "delete"]

_NOTE = "loop-erasure"
_SELECT = "SELECT seq, ts, client, document FROM marks WHERE uid IS NULL AND kind = 'loop' ORDER BY seq"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopChange:
    """A loop that is another, or there, or gone, from then on.

    Attributes:
        name: of the loop.
        before: its definition until then; ``None`` if there was none.
        after: its definition since; ``None`` if it is gone.
        ts: seconds since the epoch.
        client: name of the API key; ``settings`` for the configuration file.
        seq: event number; 0 until it is logged.
        place: of one that was made, what holds its state, if that is not named as the loop.
        own: of the default loop, the fields that are since as ``after`` has them, whatever the settings say; ``None``
            for those that could be changed when nobody noted which.
    """

    name: str
    action: LoopAction
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    ts: float
    client: str
    seq: int = 0
    place: str | None = None
    own: Sequence[str] | None = None


def fold_default_loop(said: LoopDefinition, changes: Iterable[LoopChange]) -> LoopDefinition:
    """What the default loop is: as it was changed while it was served, and in all else as the settings say.

    Args:
        said: what the settings say.
        changes: of loops, the oldest first.
    """
    known = [change for change in changes if change.name == DEFAULT_LOOP]
    if not known:
        return said
    own = CHANGEABLE if known[-1].own is None else known[-1].own
    return said.take_fields(own, LoopDefinition.parse(DEFAULT_LOOP, known[-1].after))


def log_loop_change(connection: sqlite3.Connection, *, seq: int, change: LoopChange) -> None:
    """Write a change down."""
    connection.execute(INSERT_ONE_MARK, build_loop_row(seq, change))


def build_loop_row(seq: int, change: LoopChange) -> MarkInsert:
    """A change as its mark."""
    document: dict[str, Any] = {"loop": change.name, "action": change.action}
    document |= {"before": change.before, "after": change.after}
    if change.place is not None:
        document["place"] = change.place
    if change.own is not None:
        document["own"] = list(change.own)
    return MarkInsert(seq, None, "loop", change.ts, change.client, json.dumps(document))


def list_loop_changes(connection: sqlite3.Connection) -> list[LoopChange]:
    """Every change of a loop, the oldest first."""
    return [parse_loop_change(*row) for row in connection.execute(_SELECT)]


def parse_loop_change(seq: int, ts: float, client: str, document: str) -> LoopChange:
    """The change of a mark."""
    entry = json.loads(document)
    return LoopChange(
        name=entry["loop"],
        action=entry["action"],
        before=entry["before"],
        after=entry["after"],
        ts=float(ts),
        client=client,
        seq=seq,
        place=entry.get("place"),
        own=entry.get("own"),
    )


def note_erasure(connection: sqlite3.Connection, *, seq: int, ts: float, user_id: str, client: str) -> None:
    """Write down that a user is being erased in every loop."""
    connection.execute(INSERT_ONE_MARK, build_note_row(seq, ts, user_id, client))


def build_note_row(seq: int, ts: float, user_id: str, client: str) -> MarkInsert:
    """That a user is being erased in every loop, as a mark."""
    return MarkInsert(seq, None, _NOTE, ts, client, json.dumps(user_id))


def list_erasure_notes(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Users whose erasure over all loops is under way, and the clients that asked for it."""
    query = "SELECT document, client FROM marks WHERE uid IS NULL AND kind = ? ORDER BY seq"
    return [(json.loads(document), client) for document, client in connection.execute(query, (_NOTE,))]


def delete_erasure_note(connection: sqlite3.Connection, user_id: str) -> None:
    """Forget that a user was being erased."""
    query = "DELETE FROM marks WHERE uid IS NULL AND kind = ? AND document = ?"
    connection.execute(query, (_NOTE, json.dumps(user_id)))
