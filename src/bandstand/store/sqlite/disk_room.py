"""Whether a disk still takes something."""

import contextlib
import os
from pathlib import Path

from bandstand.store.sqlite.errors import is_disk_full

_PROBE_BYTES = 64 * 1024
"""Room below which nothing is worth trying: a commit writes whole pages of 8 KiB, several of them."""


class DiskRoom:
    """Checks whether the disk of a folder has room.

    It costs a question to the kernel, and a small file after a refusal.

    Args:
        folder: where the ledger is.

    Attributes:
        was_full: what the newest commit met.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.was_full = False

    def is_full(self) -> bool:
        """Whether the next commit is likely to be refused.

        A quota does not show in the count of free blocks: after a refusal, only a write shows that there is room again.
        """
        try:
            disk = os.statvfs(self._folder)
            if disk.f_bavail * disk.f_frsize < _PROBE_BYTES:
                return True
            if self.was_full:
                self._try_to_write()
        except OSError as error:
            return is_disk_full(error)
        self.was_full = False
        return False

    def count_free(self) -> int | None:
        """How many bytes are left to us; ``None`` if the disk does not say."""
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return None
        return disk.f_bavail * disk.f_frsize

    def _try_to_write(self) -> None:
        path = self._folder / f"room.{os.getpid()}.tmp"
        try:
            with path.open("wb") as file:
                file.write(bytes(_PROBE_BYTES))
                file.flush()
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
