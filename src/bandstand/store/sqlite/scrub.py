"""The ledger's file below SQLite: what lies on its pages outside of what is in use is overwritten with zeros.

``secure_delete`` clears a cell that is deleted. But where SQLite shares out the cells of a full page, or of pages that
have become empty, among their neighbours, the bytes of those that moved stay behind in the page's unallocated space,
and nothing clears them once their row is deleted elsewhere. So every page that a checkpoint has moved into the file is
looked at before the log that names it begins again: then the file holds no such bytes but on pages that the log names.
``docs/adr/0055-erased-for-good.md`` has the reasons; https://sqlite.org/fileformat2.html the format.
"""

import os
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct

_HEADER_SIZES = {2: 12, 5: 12, 10: 8, 13: 8}
"""Of b-tree pages by their first byte: interior and leaf, of an index and of a table."""
_MAX_PAGES = 1 << 25
"""From there on (256 GB) an overflow page may begin like a b-tree page: such a file is left alone."""
_FILE_HEADER = 100
_LOG_HEADER, _FRAME_HEADER = 32, 24
_CELLS = Struct(">HHH")  # first freeblock, number of cells, where their content begins
_FREEBLOCK = Struct(">HH")  # the next one, and the size of this one

_fsync = getattr(os, "fdatasync", os.fsync)

_STRETCH = 64
"""Frames, or pages, that are read at once, and between two pauses: some 0.2 ms."""

Range = tuple[int, int]
"""Where something begins, and where it ends."""
Pause = Callable[[], object]
"""Called every now and then by what takes long, so that others have their turn."""


def find_unused(page: bytes, offset: int = 0) -> list[Range]:
    """What of a page is in no use: the space between cell pointers and cells, and the inside of freeblocks.

    Args:
        page: its bytes in the file.
        offset: where its header begins: on the first page, after the file's own.

    Returns:
        None of a page that is no b-tree page, or that is not as the format has it.
    """
    header_size = _HEADER_SIZES.get(page[offset])
    if header_size is None:
        return []
    freeblock, cells, content = _CELLS.unpack_from(page, offset + 1)
    content = content or 1 << 16
    pointers_end = offset + header_size + 2 * cells
    if not pointers_end <= content <= len(page):
        return []
    unused, before = [(pointers_end, content)], content - 1
    while freeblock:
        if not before < freeblock <= len(page) - _FREEBLOCK.size:
            return []
        following, size = _FREEBLOCK.unpack_from(page, freeblock)
        end = freeblock + size
        if not freeblock + _FREEBLOCK.size <= end <= len(page):
            return []
        unused.append((freeblock + _FREEBLOCK.size, end))
        before, freeblock = end - 1, following
    return unused


class LedgerFile:
    """The file of a ledger in WAL mode that this process owns, and what is known of its log.

    Its descriptor must not be closed before SQLite's: the process would lose SQLite's locks on the file with it.

    Args:
        path: the ledger's.

    Attributes:
        lock: held while the log is moved into the file and what was moved is scrubbed: nothing else may move pages
            then.
    """

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self._log = path.with_name(f"{path.name}-wal")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._scrubbed: tuple[bytes, int] = (b"", 0)  # which log it was, and how many of its frames are done

    def count_frames(self) -> int:
        """How many frames of the log have not been scrubbed."""
        salt, _, frames = self._read_log_header()
        return frames - (self._scrubbed[1] if salt == self._scrubbed[0] else 0)

    def measure_log(self) -> int:
        """How many bytes the log has, without those that are left of an earlier one that was longer."""
        _, page_size, frames = self._read_log_header()
        return frames * (_FRAME_HEADER + page_size)

    def scrub_log(self, moved: int | None = None, pause: Pause | None = None) -> None:
        """Scrub the pages that the log's first ``moved`` frames name, all of them if it is not said how many."""
        salt, page_size, frames = self._read_log_header()
        first = self._scrubbed[1] if salt == self._scrubbed[0] else 0
        last = frames if moved is None else min(moved, frames)
        if last <= first:
            return
        step = _FRAME_HEADER + page_size
        pages: set[int] = set()
        log = os.open(self._log, os.O_RDONLY)
        try:
            for _, frames_read in _read(log, range(first, last), step, _LOG_HEADER, pause):
                places = range(0, len(frames_read), step)
                pages.update(int.from_bytes(frames_read[place : place + 4], "big") for place in places)
        finally:
            os.close(log)
        self._scrub(pages, page_size, pause)
        if moved is not None:
            self._scrubbed = salt, last

    def scrub_pages(self, first: int, count: int) -> bool:
        """Scrub ``count`` pages of the file from the page ``first`` on; returns whether there are more."""
        page_size = int.from_bytes(os.pread(self._file, 2, 16), "big")
        page_size = 1 << 16 if page_size == 1 else page_size
        if not page_size:  # nothing was ever written
            return False
        self._scrub(range(first, first + count), page_size)
        return (first + count) * page_size <= os.fstat(self._file).st_size

    def scrub_all(self) -> None:
        """Scrub every page."""
        first, count = 1, 1024
        while self.scrub_pages(first, count):
            first += count

    def close(self) -> None:
        """Let the file go."""
        with self.lock:
            os.close(self._file)

    def _read_log_header(self) -> tuple[bytes, int, int]:
        """Which log it is, the size of its pages, and how many frames are in it."""
        with suppress(FileNotFoundError):
            log = os.open(self._log, os.O_RDONLY)
            try:
                header, size = os.pread(log, _LOG_HEADER, 0), os.fstat(log).st_size
                if len(header) == _LOG_HEADER:
                    salt, page_size = header[16:24], int.from_bytes(header[8:12], "big")
                    return salt, page_size, _count_frames(log, salt, size, _FRAME_HEADER + page_size)
            finally:
                os.close(log)
        return b"", 0, 0

    def _scrub(self, pages: Iterable[int], page_size: int, pause: Pause | None = None) -> None:
        last = os.fstat(self._file).st_size // page_size
        if last >= _MAX_PAGES:
            return
        zeros, changed = bytes(page_size), False
        numbers = sorted(number for number in pages if 1 <= number <= last)
        for start, neighbours in _read(self._file, numbers, page_size, -page_size, pause):
            for place in range(0, len(neighbours), page_size):
                page, at = neighbours[place : place + page_size], start + place
                for begin, end in find_unused(page, 0 if at else _FILE_HEADER):
                    if page[begin:end] != zeros[: end - begin]:
                        os.pwrite(self._file, zeros[: end - begin], at + begin)
                        changed = True
        if changed:
            _fsync(self._file)


def _read(
    descriptor: int, numbers: Iterable[int], size: int, offset: int, pause: Pause | None
) -> Iterator[tuple[int, bytes]]:
    """Read pieces of a file by their numbers, ascending: neighbours in one go, with a pause after every so many.

    Each read gives up the interpreter, and whoever asks for it back interrupts the loop.

    Args:
        descriptor: of the file.
        numbers: of the pieces.
        size: of each.
        offset: where the piece number 0 would be.
        pause: see :data:`Pause`.

    Returns:
        Where each stretch of neighbours is, and its bytes.
    """
    pieces = 0
    for first, end in _find_neighbours(numbers):
        start = offset + first * size
        yield start, os.pread(descriptor, (end - first) * size, start)
        pieces += end - first
        if pause is not None and pieces >= _STRETCH:
            pause()
            pieces = 0


def _find_neighbours(numbers: Iterable[int]) -> Iterator[Range]:
    """The stretches of ascending numbers that follow each other without a gap.

    >>> list(_find_neighbours([1, 2, 3, 7, 9, 10]))
    [(1, 4), (7, 8), (9, 11)]
    """
    first = end = -1
    for number in numbers:
        if number != end or end - first == _STRETCH:
            if first >= 0:
                yield first, end
            first = number
        end = number + 1
    if first >= 0:
        yield first, end


def _count_frames(log: int, salt: bytes, size: int, step: int) -> int:
    """How many frames begin a log's file that are this log's: those of an earlier one have another salt."""

    def is_earlier(number: int) -> int:
        return int(os.pread(log, len(salt), _LOG_HEADER + number * step + 8) != salt)

    return bisect_left(range((size - _LOG_HEADER) // step), 1, key=is_earlier)
