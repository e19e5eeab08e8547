"""What was picked lately, and what it earned: the rows from which tables of items, sources and feature values are made.

Only the newest decisions are read, so that the work is the same in any ledger; and no sums are kept, so that nothing
has to be taken out again. What a request said is kept in memory for as long as its decision is among these: a look
parses only what is new since the last one.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic_core import from_json

from bandstand.store.records import LAST_SEQ
from bandstand.store.sqlite.packing import unpack_body
from bandstand.store.tables.gains import build_standing_sql

MAX_PICKS = 10_000
"""The newest decisions that are looked at."""

MAX_FEATURES = 40
"""Values of one candidate that are looked at."""

_MAX_DEPTH = 3
_MAX_TEXT = 60
_MAX_NUMBER = 1e300
_AT_ONCE = 500

Value = str | float
"""Of a feature: a number as it is, anything else in words."""

_PICKS = f"""SELECT d.seq, u.uid, d.ts, {build_standing_sql(str(LAST_SEQ))}
    FROM (SELECT seq, uid, ts FROM decisions ORDER BY seq DESC LIMIT ?) AS d
    LEFT JOIN subjects AS s ON s.seq = d.seq JOIN users AS u ON u.uid = coalesce(s.uid, d.uid)
    LEFT JOIN windows AS w ON w.decision = d.seq WHERE w.held IS NOT 1 ORDER BY d.seq DESC"""  # noqa: S608 (constants)
_BODIES = "SELECT seq, pick, body FROM decisions WHERE seq IN ({seqs})"


class PickedCandidate(NamedTuple):
    """What a request said of the candidate that was picked, and among how many it was."""

    tip_id: str
    offered: int
    source: str | None
    features: tuple[tuple[str, Value], ...]


class LoggedPick(NamedTuple):
    """A decision and its reward.

    Attributes:
        uid: the ledger's key of whom it was for.
        reward: that stands; ``None`` for none.
    """

    seq: int
    uid: int
    ts: float
    reward: float | None
    candidate: PickedCandidate


class PickReader:
    """Reads the newest decisions, newest first; those that were held back and never shown are left out.

    Args:
        size: how many.
    """

    def __init__(self, size: int = MAX_PICKS) -> None:
        self._size = size
        self._cache = PickCache()
        self._seen: tuple[sqlite3.Connection, int] | None = None
        self._picks: list[LoggedPick] = []

    def read(self, connection: sqlite3.Connection) -> list[LoggedPick]:
        """The decisions as they stand; where nothing was committed since, what the last look found."""
        seen = connection, connection.execute("PRAGMA data_version").fetchone()[0]
        if self._seen is None or self._seen[0] is not connection or self._seen[1] != seen[1]:
            self._picks = self._read(connection)
            self._seen = seen  # read before them: a commit in between has them read again
        return self._picks

    def _read(self, connection: sqlite3.Connection) -> list[LoggedPick]:
        rows = connection.execute(_PICKS, (self._size,)).fetchall()
        new = self._cache.list_new(rows)
        for start in range(0, len(new), _AT_ONCE):
            seqs = new[start : start + _AT_ONCE]
            self._cache.add(connection.execute(_BODIES.format(seqs=", ".join("?" * len(seqs))), seqs))
        return self._cache.build_picks(rows)


class PickCache:
    """What requests said of the candidates that were picked, whichever engine they come from."""

    def __init__(self) -> None:
        self._known: dict[int, PickedCandidate] = {}

    def list_new(self, rows: Iterable[tuple[Any, ...]]) -> list[int]:
        """Of rows that begin with a decision's number, those of which nothing is known."""
        return [seq for seq, *_ in rows if seq not in self._known]

    def add(self, requests: Iterable[tuple[int, int, bytes]]) -> None:
        """Read requests: a decision's number, the index of its pick, and its body as it is stored."""
        for seq, pick, body in requests:
            candidates = from_json(unpack_body(body))["candidates"]
            self._known[seq] = to_picked_candidate(candidates[pick], len(candidates))

    def build_picks(self, rows: Iterable[tuple[int, int, float, float | None]]) -> list[LoggedPick]:
        """Picks of rows, each the number, the user's key, the time and the reward; every other decision is forgotten.

        So nothing is kept of who is gone, and of nothing older. A row whose request has gone meanwhile is left out.
        """
        kept = [row for row in rows if row[0] in self._known]
        self._known = {seq: self._known[seq] for seq, *_ in kept}
        return [LoggedPick(seq, uid, ts, reward, self._known[seq]) for seq, uid, ts, reward in kept]


def to_picked_candidate(candidate: Mapping[str, Any], offered: int) -> PickedCandidate:
    """Read the picked candidate from its JSON; ``offered`` is how many candidates the request had."""
    features = tuple(_list_values("", candidate.get("features") or {}, _MAX_DEPTH))[:MAX_FEATURES]
    return PickedCandidate(candidate["id"], offered, candidate.get("source"), features)


def _list_values(path: str, value: object, depth: int) -> Iterator[tuple[str, Value]]:
    """The plain values inside a feature, each under its path; an element of a list is one of several of one path."""
    match value:
        case Mapping() if depth:
            for name, inner in value.items():
                yield from _list_values(f"{path}.{name}" if path else str(name), inner, depth - 1)
        case list() if depth:
            for inner in value:
                yield from _list_values(path, inner, depth - 1)
        case bool():
            yield path, "true" if value else "false"
        case int() | float():
            yield path, float(value) if abs(value) < _MAX_NUMBER else str(value)[:_MAX_TEXT]
        case str():
            yield path, value if len(value) <= _MAX_TEXT else f"{value[:_MAX_TEXT]}…"
        case None:
            yield path, "null"
