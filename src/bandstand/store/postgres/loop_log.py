"""What the ledger says of loops: who made, changed or deleted which; and erasures that go over all of them."""

import json

from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.tables.event_rows import MarkInsert
from bandstand.store.tables.loops import LoopChange, build_loop_row, build_note_row, parse_loop_change

_ADD_MARK = (
    "INSERT INTO marks (seq, uid, kind, ts, client, document) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"
)
_CHANGES = "SELECT seq, ts, client, document FROM marks WHERE uid IS NULL AND kind = 'loop' ORDER BY seq"
_NOTES = "SELECT document, client FROM marks WHERE uid IS NULL AND kind = 'loop-erasure' ORDER BY seq"
_DELETE_NOTE = "DELETE FROM marks WHERE uid IS NULL AND kind = 'loop-erasure' AND document = $1"


class SharedLoops:
    """What a shared ledger holds of loops, as :class:`bandstand.store.protocol.LoopLog` has it."""

    def __init__(self, ledger: SharedLedger) -> None:
        self._ledger = ledger

    async def log_loop_change(self, change: LoopChange) -> None:
        """Log that a loop was made, changed or deleted, synced."""
        await self._add(build_loop_row(self._ledger.next_seq(change.ts), change))

    async def list_loop_changes(self) -> list[LoopChange]:
        """Every change of a loop, the oldest first."""
        return [parse_loop_change(*row) for row in await self._ledger.readers.fetch(_CHANGES)]

    async def note_erasure(self, user_id: str, client: str) -> None:
        """Log, synced, that a user is being erased in every loop."""
        ts = self._ledger.clock()
        await self._add(build_note_row(self._ledger.next_seq(ts), ts, user_id, client))

    async def list_erasure_notes(self) -> list[tuple[str, str]]:
        """The users of whom that is so, and who asked for it."""
        rows = await self._ledger.readers.fetch(_NOTES)
        return [(json.loads(row["document"]), row["client"]) for row in rows]

    async def delete_erasure_note(self, user_id: str) -> bool:
        """Forget that; False, for the database's own log still has it."""

        async def delete(channel: Channel, _: int) -> None:
            await channel.session.execute(_DELETE_NOTE, json.dumps(user_id))

        await self._ledger.writers.transact(delete)
        return False

    async def _add(self, row: MarkInsert) -> None:
        async def add(channel: Channel, _: int) -> None:
            await channel.session.execute(_ADD_MARK, *row)

        await self._ledger.writers.transact(add)
