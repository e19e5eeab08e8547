"""Where the states of the other loops are: directories inside the default loop's, or schemas next to its schema."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from bandstand.errors import LoopRefusedError
from bandstand.service.loop_runtime import LoopPlaces
from bandstand.store.loop_directories import LoopDirectories

if TYPE_CHECKING:  # its driver is an extra
    from bandstand.store.postgres.loop_schemas import LoopSchemas


class DirectoryPlaces(LoopPlaces):
    """State directories, named as their loops.

    Args:
        state_dir: of the default loop.
    """

    are_shared = False

    def __init__(self, state_dir: Path) -> None:
        self._directories = LoopDirectories(state_dir)

    async def claim(self, name: str) -> str | None:
        """Nothing but the loop's own name.

        Raises:
            LoopRefusedError: there is a directory of that name.
        """
        if await asyncio.to_thread(self._directories.is_taken, name):
            message = "there is a state directory of that name which this ledger does not know; move it away"
            raise LoopRefusedError(message)
        return None

    async def discard(self, name: str, place: str | None) -> None:
        """Delete the directory of a loop; idempotent."""
        del place
        await asyncio.to_thread(self._directories.discard, name)

    async def sweep(self) -> None:
        """Finish what a process that died was deleting."""
        await asyncio.to_thread(self._directories.sweep)


class SchemaPlaces(LoopPlaces):
    """Schemas of a PostgreSQL, and for each a directory for what stays a process's own.

    Args:
        schemas: next to that of the default loop.
        state_dir: of the default loop.
    """

    are_shared = True

    def __init__(self, schemas: "LoopSchemas", state_dir: Path) -> None:
        self._schemas = schemas
        self._directories = LoopDirectories(state_dir)

    async def claim(self, name: str) -> str | None:
        """A schema that no loop ever had."""
        return self._schemas.build_name(name)

    async def discard(self, name: str, place: str | None) -> None:
        """Drop the schema of a loop, whichever process deleted it; idempotent."""
        await asyncio.to_thread(self._directories.discard, place or name)
        if place is not None:
            await self._schemas.drop(place)

    async def sweep(self) -> None:
        """Finish what a process that died was deleting."""
        await asyncio.to_thread(self._directories.sweep)
