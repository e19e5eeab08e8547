"""Days of a ledger as files, and what becomes of files: users who are erased, and days that nobody keeps."""

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from bandstand.atomic_file import replace_file
from bandstand.errors import InvalidRequestError
from bandstand.store.event_files.day_rows import PAGE, DayReader, find_midnight
from bandstand.store.event_files.form import SUFFIX, Arrow, EventRow, FileHeader
from bandstand.store.maintenance.offline import Tick, no_tick
from bandstand.store.records import first_seq_at
from bandstand.store.sqlite.errors import storage_errors
from bandstand.times import CLOCK_SLACK_S

_PERSON: Final = b"eventlog"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What an export did.

    Attributes:
        days: that were written.
        events: in them.
        kept: days that were there already.
        first: the first day of the folder; None if it has none.
        last: the last.
        erased_events: of users erased since, which were taken out of files.
        dropped: files past their days, which were deleted.
        behind_retention: users of whom retention took events before anybody wrote them down; their states stand there.
    """

    days: int
    events: int
    kept: int
    first: str | None
    last: str | None
    erased_events: int
    dropped: int
    behind_retention: int


@dataclass(frozen=True, slots=True)
class ForgetResult:
    """What was taken out of files.

    Attributes:
        files: that were looked at.
        rewritten: of them, those that held something of a user who was erased.
        events: that went.
    """

    files: int
    rewritten: int
    events: int


def export_days(
    reader: DayReader,
    folder: Path,
    *,
    now: float,
    only: date | None = None,
    keep_days: int | None = None,
    tick: Tick = no_tick,
) -> ExportResult:
    """Write every closed day that the folder does not have yet, each whole or not at all.

    Args:
        reader: of the ledger.
        folder: where to; it is made.
        now: seconds since the epoch. A day is closed a minute after it ends.
        only: this day alone.
        keep_days: delete files of days that ended longer ago; None keeps all.
        tick: called for each day.

    Raises:
        InvalidRequestError: a file in the folder is another ledger's or none of ours, or the day is not closed.
        ConfigurationError: pyarrow is not installed.
        StorageFullError, StorageUnavailableError: the disk refused.
    """
    arrow, ledger = Arrow.load(), compute_ledger_id(reader.secret)
    end = datetime.fromtimestamp(now - CLOCK_SLACK_S, UTC).date()
    if only is not None and only >= end:
        raise InvalidRequestError(f"the day {only} is not over; the last closed one is {end - timedelta(days=1)}")
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files = list_days(arrow, folder, ledger)
    present = frozenset(files)
    first = min(present, default=None) or reader.find_first_day()
    oldest = None if keep_days is None else end - timedelta(days=keep_days)
    wanted = [] if first is None else _list_missing(first, end, present, oldest) if only is None else [only]
    baselines = reader.read_baselines()
    late = _count_late(baselines.rows, present, first_seq_at(find_midnight(wanted[0])) if wanted else None)
    events, written = 0, 0
    for day in wanted:
        if day not in present:
            pages = reader.read_day(day, baselines, is_first=not present and day == wanted[0] and only is None)
            header, files[day] = FileHeader(ledger, day.isoformat()), folder / f"{day}{SUFFIX}"
            events, written = events + write_file(arrow, files[day], header, pages), written + 1
        tick()
    forgotten = _forget_in_files(arrow, reader, files)
    old = [] if oldest is None else [day for day in files if day < oldest]
    with storage_errors(folder):
        for day in old:
            files.pop(day).unlink()
    days = sorted(files)
    return ExportResult(
        days=written,
        events=events,
        kept=len(present),
        first=days[0].isoformat() if days else None,
        last=days[-1].isoformat() if days else None,
        erased_events=forgotten.events,
        dropped=len(old),
        behind_retention=late,
    )


def forget_erased(reader: DayReader, folder: Path, tick: Tick = no_tick) -> ForgetResult:
    """Take users who were erased since out of a folder's files, each of which is written again whole.

    Raises:
        InvalidRequestError: a file in the folder is another ledger's or none of ours.
        ConfigurationError: pyarrow is not installed.
        StorageFullError, StorageUnavailableError: the disk refused.
    """
    arrow = Arrow.load()
    return _forget_in_files(arrow, reader, list_days(arrow, folder, compute_ledger_id(reader.secret)), tick)


def _forget_in_files(arrow: Arrow, reader: DayReader, files: Mapping[date, Path], tick: Tick = no_tick) -> ForgetResult:
    ledger = compute_ledger_id(reader.secret)
    erased = {user.hex(): seq for user, seq in reader.read_tombstones().items()}
    rewritten = events = 0
    for day, path in files.items():
        gone = 0 if not erased else _forget_in_file(arrow, path, FileHeader(ledger, day.isoformat()), erased)
        rewritten, events = rewritten + bool(gone), events + gone
        tick()
    return ForgetResult(len(files), rewritten, events)


def compute_ledger_id(secret: bytes) -> str:
    """A keyed hash by which the files of one ledger are told from those of others."""
    return hashlib.blake2b(b"", key=secret, digest_size=8, person=_PERSON).hexdigest()


def list_days(arrow: Arrow, folder: Path, ledger: str) -> dict[date, Path]:
    """The files of a folder by their day; files that another process is still writing are left out.

    Raises:
        InvalidRequestError: a file is another ledger's, none of ours, or damaged.
    """
    found: dict[date, Path] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with file_errors(arrow, path):
            header = arrow.read_header(path)
        if header is None:
            raise InvalidRequestError(f"{path}: is no file of events; give the export a folder of its own")
        if header.ledger != ledger:
            raise InvalidRequestError(f"{path}: is of another ledger")
        if header.date in found:
            raise InvalidRequestError(f"{path}: is the day {header.day}, as {found[header.date].name} is")
        found[header.date] = path
    return found


@contextmanager
def file_errors(arrow: Arrow, path: Path) -> Iterator[None]:
    """Turn what pyarrow says of a file into one line.

    Raises:
        InvalidRequestError: it is no Parquet file, or not all of one.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, arrow.core.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise InvalidRequestError(f"{path}: cannot be read: {reason}") from None


def write_file(arrow: Arrow, path: Path, header: FileHeader, pages: Iterator[list[EventRow]]) -> int:
    """Write a day: what stands there is all of it, and on the disk. Returns how many events it has."""
    schema = arrow.build_schema(header)
    tables = (arrow.build_table(rows, schema) for rows in pages if rows)
    return _write_tables(arrow, path, schema, tables)


def _write_tables(arrow: Arrow, path: Path, schema: Any, tables: Iterator[Any]) -> int:
    events = 0
    hidden = path.with_name(f".{path.name}.partial")  # from who reads the folder meanwhile
    with storage_errors(path), replace_file(path, temporary=hidden) as partial:
        partial.touch(mode=0o600)  # it is about people
        with arrow.parquet.ParquetWriter(partial, schema, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table)
                events += table.num_rows
        with partial.open("rb") as file:
            os.fsync(file.fileno())
    return events


def _list_missing(first: date, end: date, present: Collection[date], oldest: date | None) -> list[date]:
    begin = max(first, max(present) + timedelta(days=1)) if present else first
    begin = begin if oldest is None else max(begin, oldest)
    return [begin + timedelta(days=number) for number in range((end - begin).days)]


def _count_late(rows: list[EventRow], present: Collection[date], begin: int | None) -> int:
    """Of how many users retention took events of days that are only written now."""
    return 0 if not present or begin is None else sum(row.seq >= begin for row in rows)


def _forget_in_file(arrow: Arrow, path: Path, header: FileHeader, erased: Mapping[str, int]) -> int:
    """Returns how many events were removed; if none were, the file is not written."""
    find = _build_finder(arrow, erased)
    with file_errors(arrow, path), arrow.parquet.ParquetFile(path) as file:
        gone = sum(
            int(arrow.compute.sum(find(batch)).as_py() or 0)
            for batch in file.iter_batches(PAGE, columns=["user", "seq"], use_threads=False)
        )
        if gone:
            left = (
                arrow.core.Table.from_batches([batch]).filter(arrow.compute.invert(find(batch)))
                for batch in file.iter_batches(PAGE, use_threads=False)
            )
            _write_tables(arrow, path, arrow.build_schema(header), left)
    return gone


def _build_finder(arrow: Arrow, erased: Mapping[str, int]) -> Callable[[Any], Any]:
    """A function that marks the rows of a batch about users who were erased after them."""
    users = arrow.core.array(list(erased), arrow.core.string())
    last = arrow.core.array(list(erased.values()), arrow.core.int64())

    def find(batch: Any) -> Any:
        places = arrow.compute.index_in(batch.column("user"), value_set=users)
        after = arrow.compute.less_equal(batch.column("seq"), last.take(places))
        return arrow.compute.fill_null(after, fill_value=False)

    return find
