"""What the memory store knows of loops: the others that exist, and which policy was active in its own."""

from dataclasses import replace
from typing import Any

from bandstand.store.protocol import MovedError
from bandstand.store.tables.loops import LoopChange
from bandstand.store.tables.promotions import Promotion
from bandstand.testing.memory_events import MemoryEvents


class MemoryLoops:
    """The part of the memory store that is a :class:`bandstand.store.protocol.LoopLog`, and keeps promotions."""

    _events: MemoryEvents

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._loop_changes: list[LoopChange] = []
        self._erasure_notes: dict[str, str] = {}
        self._promotions: list[Promotion] = []

    async def log_promotion(self, promotion: Promotion) -> None:
        """Log a change of the active policy."""
        self._promotions.append(promotion)

    async def list_promotions(self) -> list[Promotion]:
        """Every change of the active policy, the oldest first."""
        return list(self._promotions)

    async def log_loop_change(self, change: LoopChange, *, after: int | None = None) -> LoopChange:
        """Log that a loop was made, changed or deleted, if ``after`` is the newest such change."""
        if after not in {None, max((each.seq for each in self._loop_changes), default=0)}:
            raise MovedError("another has changed the loops meanwhile")
        self._loop_changes.append(replace(change, seq=self._events.sequence.next(change.ts)))
        return self._loop_changes[-1]

    async def list_loop_changes(self) -> list[LoopChange]:
        """Every change of a loop, the oldest first."""
        return list(self._loop_changes)

    async def note_erasure(self, user_id: str, client: str) -> None:
        """Log that a user is being erased in every loop."""
        self._erasure_notes.setdefault(user_id, client)

    async def list_erasure_notes(self) -> list[tuple[str, str]]:
        """The users who are being erased, and the clients that asked for it."""
        return list(self._erasure_notes.items())

    async def delete_erasure_note(self, user_id: str) -> bool:
        """Forget that."""
        self._erasure_notes.pop(user_id, None)
        return True
