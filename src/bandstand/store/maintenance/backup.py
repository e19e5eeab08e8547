"""Backup: a copy of the ledger as of one moment, taken while a service continues."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bandstand.errors import ConfigurationError, StorageUnavailableError
from bandstand.store.loop_directories import LoopDirectories
from bandstand.store.maintenance.offline import find_ledger
from bandstand.store.sqlite.errors import storage_errors
from bandstand.store.sqlite.schema import connect
from bandstand.store.sqlite.scrub import LedgerFile

_PAGES_PER_STEP = 1000
"""Pages a step: 8 MB between two signs of progress."""

Progress = Callable[[int, int], None]
"""Told how many of how many pages are copied."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds.

    Attributes:
        destination: where it is.
        bytes: size of the ledger's copy.
        users: users in it.
        populations: files of learned priors copied beside it.
        judge: files of the judge's own weights and calibrations copied beside it.
        loops: other loops that are in it too, and in these counts.
    """

    destination: Path
    bytes: int
    users: int
    populations: int
    judge: int
    loops: int = 0


def create_backup(state_dir: Path, destination: Path, progress: Progress = lambda _done, _of: None) -> Backup:
    """Copy the ledger, learned priors and the judge's own files into a new directory, sync them and check the copy.

    And those of every other loop, which is copied as of a later moment: nothing of one is in another.

    Documents are left out: they are checkpoints, and made again from the ledger.

    Raises:
        ConfigurationError: there is no ledger, or ``destination`` is not empty.
        StorageFullError, StorageUnavailableError: a disk refused, or the copy is damaged; what was copied is removed.
    """
    source = find_ledger(state_dir)
    with storage_errors(destination):
        if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
            raise ConfigurationError(f"{str(destination)!r} is not an empty directory; name a new one")
        destination.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = destination / "ledger.db.partial"
        try:
            _copy_ledger(source, partial, progress)
            _scrub_copy(partial)
            users = _check_copy(partial)
            _sync(partial)
            populations = _copy_files(state_dir / "population", destination, "*.json")
            judge = _copy_files(state_dir / "judge", destination, "*.json", "*.npz")
            others = _copy_loops(state_dir, destination, progress)
            partial.replace(destination / source.name)
            _sync(destination)
        except BaseException:
            for leftover in destination.iterdir():
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            raise
    return Backup(
        destination,
        (destination / source.name).stat().st_size + sum(each.bytes for each in others),
        users + sum(each.users for each in others),
        populations + sum(each.populations for each in others),
        judge,
        len(others),
    )


def _copy_loops(state_dir: Path, destination: Path, progress: Progress) -> list[Backup]:
    """Copy every other loop, after the ledger that knows of them."""
    source, target = LoopDirectories(state_dir), LoopDirectories(destination)
    copied = [create_backup(source.get_path(name), target.get_path(name), progress) for name in source.list_names()]
    if copied:
        _sync(copied[0].destination.parent)
    return copied


def _copy_ledger(source: Path, target: Path, progress: Progress) -> None:
    with closing(connect(source, read_only=True)) as origin, closing(sqlite3.connect(target)) as copy:
        # An open read transaction keeps the copy to one moment; without it every commit would start it over.
        origin.execute("BEGIN")
        origin.execute("SELECT count(*) FROM meta").fetchone()
        origin.backup(
            copy, pages=_PAGES_PER_STEP, progress=lambda _, remaining, total: progress(total - remaining, total)
        )


def _scrub_copy(path: Path) -> None:
    """Leave out what the pages hold outside of what is in use: the source's log may still name some of them."""
    file = LedgerFile(path)
    try:
        file.scrub_all()
    finally:
        file.close()


def _check_copy(path: Path) -> int:
    with closing(sqlite3.connect(path)) as copy:
        faults = [row[0] for row in copy.execute("PRAGMA quick_check") if row[0] != "ok"]
        if faults:
            raise StorageUnavailableError(f"the copy is damaged ({faults[0]}); check the ledger with `state verify`")
        return int(copy.execute("SELECT count(*) FROM users").fetchone()[0])


def _copy_files(source: Path, destination: Path, *patterns: str) -> int:
    target = destination / source.name
    files = sorted(file for pattern in patterns for file in source.glob(pattern))
    if files:
        target.mkdir()
    for file in files:
        shutil.copyfile(file, target / file.name)
        _sync(target / file.name)
    if files:
        _sync(target)
    return len(files)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
