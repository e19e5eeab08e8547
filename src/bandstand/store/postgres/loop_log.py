"""What the ledger says of loops: who made, changed or deleted which; and erasures that go over all of them."""

import json
from dataclasses import replace

from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.deployment_log import IS_MARKED, LOCK_DEPLOYMENT, RAISE_EPOCH
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.protocol import LoopLog, MovedError
from bandstand.store.tables.event_rows import MarkInsert
from bandstand.store.tables.loops import LoopChange, build_loop_row, build_note_row, parse_loop_change

_ADD_MARK = (
    "INSERT INTO marks (seq, uid, kind, ts, client, document) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"
)
_NEWEST_CHANGE = "SELECT coalesce(max(seq), 0) FROM marks WHERE uid IS NULL AND kind = 'loop'"
_CHANGES = "SELECT seq, ts, client, document FROM marks WHERE uid IS NULL AND kind = 'loop' ORDER BY seq"
_NOTES = "SELECT document, client FROM marks WHERE uid IS NULL AND kind = 'loop-erasure' ORDER BY seq"
_DELETE_NOTE = "DELETE FROM marks WHERE uid IS NULL AND kind = 'loop-erasure' AND document = $1"


class SharedLoops(LoopLog):
    """What a shared ledger holds of loops, as :class:`bandstand.store.protocol.LoopLog` has it."""

    def __init__(self, ledger: SharedLedger) -> None:
        self._ledger = ledger

    async def log_loop_change(self, change: LoopChange, *, after: int | None = None) -> LoopChange:
        """Log the change of a loop, if ``after`` is the newest such change, and notify every process.

        Raises:
            MovedError: another process has logged one since.
        """
        ledger, kept = self._ledger, list[LoopChange]()

        async def write(channel: Channel, tries: int) -> LoopChange:
            session = channel.session
            await session.fetchrow(LOCK_DEPLOYMENT)
            if tries and kept and await session.fetchval(IS_MARKED, kept[-1].seq):
                return kept[-1]  # it is done, and its answer was lost
            newest = await session.fetchval(_NEWEST_CHANGE)
            if after not in {None, newest}:
                raise MovedError("another process has changed the loops meanwhile")
            ledger.observe_seq(newest)
            kept.append(replace(change, seq=ledger.next_seq(change.ts)))
            await session.execute(_ADD_MARK, *build_loop_row(kept[-1].seq, change))
            await session.execute(RAISE_EPOCH)
            return kept[-1]

        logged = await ledger.writers.transact(write)
        await ledger.reload()
        return logged

    async def list_loop_changes(self) -> list[LoopChange]:
        """Every change of a loop, the oldest first."""
        return [parse_loop_change(*row) for row in await self._ledger.readers.fetch(_CHANGES)]

    async def note_erasure(self, user_id: str, client: str) -> None:
        """Log, synced, that a user is being erased in every loop."""
        ts = self._ledger.clock()
        await self._add(build_note_row(self._ledger.next_seq(ts), ts, user_id, client))

    async def list_erasure_notes(self) -> list[tuple[str, str]]:
        """The users who are being erased, and the clients that asked for it."""
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
