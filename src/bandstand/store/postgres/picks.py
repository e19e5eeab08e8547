"""What was picked lately in a shared ledger, and what it earned; see ``tables/picks.py``."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from pydantic_core import from_json

from bandstand.store.postgres.connections import ConnectionPool
from bandstand.store.postgres.reward_statements import REWARD_ORDER
from bandstand.store.records import LAST_SEQ
from bandstand.store.tables.gains import build_standing_sql
from bandstand.store.tables.picks import MAX_PICKS, LoggedPick, PickedCandidate, to_picked_candidate

_AT_ONCE: Final = 500
"""Candidates that are read by one statement."""
_PICKS = f"""SELECT d.seq, u.uid, d.ts, {build_standing_sql(str(LAST_SEQ), REWARD_ORDER)} AS reward
    FROM (SELECT seq, uid, ts FROM decisions WHERE seq < $1 ORDER BY seq DESC LIMIT $2) AS d
    LEFT JOIN subjects AS s ON s.seq = d.seq JOIN users AS u ON u.uid = coalesce(s.uid, d.uid)
    LEFT JOIN windows AS w ON w.decision = d.seq
    WHERE w.held IS NOT TRUE ORDER BY d.seq DESC"""  # noqa: S608 (constants)
_CANDIDATES = """SELECT seq, picked, octet_length(numbers) / 32 AS offered FROM decisions
    WHERE seq = ANY ($1::bigint[])"""


class SharedPickReader:
    """Reads the newest decisions, newest first; those that were held back and never shown are left out.

    Args:
        readers: connections to the ledger.
        size: how many.
    """

    def __init__(self, readers: ConnectionPool, size: int = MAX_PICKS) -> None:
        self._readers = readers
        self._size = size
        self._known: dict[int, PickedCandidate] = {}
        self._lock = asyncio.Lock()

    async def read(self) -> list[LoggedPick]:
        """The decisions as they stand."""
        async with self._lock:  # who comes second finds what the first has parsed
            rows = await self._readers.fetch(_PICKS, LAST_SEQ, self._size)
            known = {row["seq"]: self._known[row["seq"]] for row in rows if row["seq"] in self._known}
            new = [row["seq"] for row in rows if row["seq"] not in known]
            for start in range(0, len(new), _AT_ONCE):
                found = await self._readers.fetch(_CANDIDATES, new[start : start + _AT_ONCE])
                known.update(await asyncio.to_thread(_parse, found))
            self._known = known  # of nobody who is gone, and of nothing older
        return [
            LoggedPick(row["seq"], row["uid"], row["ts"], row["reward"], known[row["seq"]])
            for row in rows
            if row["seq"] in known  # its user may have been erased since
        ]


def _parse(rows: Sequence[Any]) -> dict[int, PickedCandidate]:
    return {row["seq"]: to_picked_candidate(from_json(row["picked"])["candidates"][0], row["offered"]) for row in rows}
