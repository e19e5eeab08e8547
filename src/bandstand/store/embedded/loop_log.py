"""The other loops, which are in the default loop's ledger; and erasures that cover all loops."""

from dataclasses import replace
from functools import partial

from bandstand.store.embedded.state_directory import StateDirectory
from bandstand.store.protocol import LoopLog
from bandstand.store.tables import loops
from bandstand.store.tables.loops import LoopChange


class EmbeddedLoops(LoopLog):
    """What a state directory holds of loops, as :class:`bandstand.store.protocol.LoopLog` has it."""

    def __init__(self, directory: StateDirectory) -> None:
        self._directory = directory

    async def log_loop_change(self, change: LoopChange, *, after: int | None = None) -> LoopChange:
        """Log that a loop was made, changed or deleted, synced."""
        del after  # there is no other process that could have logged one since
        seq = self._directory.next_seq(change.ts)
        await self._directory.run_exclusively(partial(loops.log_loop_change, seq=seq, change=change))
        return replace(change, seq=seq)

    async def list_loop_changes(self) -> list[LoopChange]:
        """Every change of a loop, the oldest first."""
        return await self._directory.read(loops.list_loop_changes)

    async def note_erasure(self, user_id: str, client: str) -> None:
        """Log, synced, that a user is being erased in every loop."""
        directory = self._directory
        ts = directory.clock()
        seq = directory.next_seq(ts)
        await directory.run_exclusively(partial(loops.note_erasure, seq=seq, ts=ts, user_id=user_id, client=client))

    async def list_erasure_notes(self) -> list[tuple[str, str]]:
        """The users who are being erased, and the clients that asked for it."""
        return await self._directory.read(loops.list_erasure_notes)

    async def delete_erasure_note(self, user_id: str) -> bool:
        """Forget that, in the write-ahead log too; False where readers keep it there for now."""
        await self._directory.run_exclusively(partial(loops.delete_erasure_note, user_id=user_id))
        return await self._directory.empty_log()
