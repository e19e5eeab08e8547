"""Stores that move: embedded until they are opened again, and over PostgreSQL from then on.

``python -m tests.store.postgres.moving in|out DIRECTORY URL STEP`` moves a ledger, and is killed as that step begins.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from bandstand.store.maintenance.move import MoveResult, move
from bandstand.store.maintenance.move_out import move_out
from bandstand.store.maintenance.offline import open_owned
from bandstand.store.protocol import Store
from tests.store.given import CATALOGUE, Clock, MakeStore, make_embedded
from tests.store.postgres.shared import make_shared


async def move_directory(
    directory: Path, url: str, *, everybody: bool = True, step: Callable[[str], None] = lambda _: None
) -> MoveResult:
    """Move a closed directory."""
    with open_owned(directory, CATALOGUE, moving=True) as state:
        return await move(state, url, everybody=everybody, step=step)


class MovingStore:
    """One opening of a store that moves at its second."""

    def __init__(self, directory: Path, url: str, clock: Clock, openings: list[None]) -> None:
        self._directory = directory
        self._url = url
        make = make_shared(url) if openings else make_embedded(directory)
        openings.append(None)
        self._is_second = len(openings) == 2
        self._store: Any = cast("Callable[[Clock], Any]", make)(clock)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def open(self) -> None:
        if self._is_second:
            await move_directory(self._directory, self._url)
        await self._store.open()


def make_moving(directory: Path, url: str) -> MakeStore:
    """Make stores over one state that is moved when it is opened the second time."""
    openings: list[None] = []
    return lambda clock: cast("Store", MovingStore(directory, url, clock, openings))


def main(direction: str, directory: str, url: str, fatal: str) -> None:
    """Move, until killed."""

    def step(name: str) -> None:
        if name == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    if direction == "out":
        asyncio.run(move_out(url, Path(directory), CATALOGUE, everybody=True, step=step))
    else:
        asyncio.run(move_directory(Path(directory), url, step=step))


if __name__ == "__main__":
    main(*sys.argv[1:])
