"""Users whom other processes reset and erase: a listener in this process is notified of them."""

from collections.abc import Collection
from typing import Any

from bandstand.store.learners.erasure import compute_tombstone
from bandstand.store.postgres.background import BackgroundTasks
from bandstand.store.postgres.connections import ConnectionPool
from bandstand.store.user_protocol import DepartureListener

_LOOK_BACK = 60_000 << 20
"""Numbers of a minute: what commits late has a lower number than what is there already."""
_RESETS = """SELECT m.seq, u.user_id, m.kind FROM marks AS m JOIN users AS u ON u.uid = m.uid
    WHERE m.kind IN ('reset', 'import') AND m.seq > $1"""
_ERASURES = "SELECT seq, user_hash FROM tombstones WHERE seq > $1"


class Departures:
    """Notifies one listener.

    Args:
        readers: connections that read.
    """

    def __init__(self, readers: ConnectionPool) -> None:
        self._readers = readers
        self._listener: DepartureListener | None = None
        self._after = 0  # the newest number so far
        self._told: set[int] = set()  # of the last minute's numbers
        self._background = BackgroundTasks()

    def subscribe(self, listener: DepartureListener) -> None:
        """Set the listener."""
        self._listener = listener

    async def begin(self, now: int) -> None:
        """Take note of who has gone already: nothing is kept of them here.

        Args:
            now: the event number that the clock would give.
        """
        self._after = now
        await self._find_departures()

    async def notify_departed(self, secret: bytes) -> None:
        """Notify of users who were reset or erased since the last call.

        Args:
            secret: the deployment's, which tombstones are made with.
        """
        resets, erasures = await self._find_departures()
        if self._listener is None:
            return
        for row in resets:
            if row["kind"] == "reset":
                self._listener.apply_reset(row["user_id"])
        if imported := [row for row in resets if row["kind"] == "import"]:
            users, newest = {row["user_id"] for row in imported}, max(row["seq"] for row in imported)
            self._background.start(_apply_imports(self._listener, users, newest))
        if erasures:
            self._notify_erasures(self._listener, erasures, self._listener.list_members(), secret)

    async def _find_departures(self) -> tuple[list[Any], list[Any]]:
        since = max(0, self._after - _LOOK_BACK)
        resets = [row for row in await self._readers.fetch(_RESETS, since) if row["seq"] not in self._told]
        erasures = [row for row in await self._readers.fetch(_ERASURES, since) if row["seq"] not in self._told]
        found = {row["seq"] for row in (*resets, *erasures)}
        self._after = max(self._after, *found, 0)
        self._told = {seq for seq in self._told if seq > since} | found
        return resets, erasures

    def _notify_erasures(
        self, listener: DepartureListener, erasures: list[Any], members: Collection[str], secret: bytes
    ) -> None:
        gone = {row["user_hash"] for row in erasures}
        for user_id in members:
            if compute_tombstone(secret, user_id) in gone:
                self._background.start(listener.apply_erasure(user_id))

    async def close(self) -> None:
        """Wait for what was begun."""
        await self._background.join()


async def _apply_imports(listener: DepartureListener, users: Collection[str], newest: int) -> None:
    await listener.apply_revocation(users, newest)
