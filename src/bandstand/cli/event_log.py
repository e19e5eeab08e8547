"""``bandstand log``: the decision log as Parquet files, one a day."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from bandstand.cli.report import AsJson, show_progress, show_result
from bandstand.cli.state.directory import LoopName, StateDir, StateLocation, resolve_location
from bandstand.errors import InvalidRequestError
from bandstand.store.event_files.day_reader import DirectoryDays
from bandstand.store.event_files.day_rows import DayReader
from bandstand.store.event_files.export import export_days, forget_erased
from bandstand.store.maintenance.offline import open_read_only

log = typer.Typer(
    name="log",
    help="Write the decision log as Parquet files, one for each day, and keep them in step with erasures.",
    epilog="Both work while a service runs. Parquet needs pyarrow: pip install 'bandstand[parquet]'.",
    no_args_is_help=True,
)


@log.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; made if it does not exist.")],
    day: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="This day alone, such as 2026-05-01 (UTC).", show_default=False),
    ] = None,
    keep_days: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Delete files of days that ended longer ago.", show_default=False),
    ] = None,
    state_dir: StateDir = None,
    loop: LoopName = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Write each day that is over and not in the folder yet, and remove erased users from those that are.

    Every file is written whole or not at all, so an export that was cut short continues where it was.
    """
    location = resolve_location(state_dir, loop, or_shared=True)
    with _open_days(location) as reader, show_progress("days") as steps:
        result = export_days(
            reader, folder, now=time.time(), only=_parse_day(day), keep_days=keep_days, tick=steps.advance
        )
    notes = []
    if result.behind_retention:
        notes.append(
            f"Of {result.behind_retention:,} users, retention had taken events of these days before they were written: "
            "the states that stand for them are in the files. Export more often than retention takes."
        )
    if result.first is None:
        notes.append("There is no day to write yet: none is over, or nothing was decided.")
    show_result("Exported", asdict(result) | {"folder": str(folder)}, as_json=as_json, notes=notes)


@log.command()
def forget(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Files that an export of this ledger wrote.")],
    state_dir: StateDir = None,
    loop: LoopName = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Remove users who were erased since from exported files; run it over every copy of them.

    The ledger remembers erased users by a keyed hash, and the files name users by that hash only, so no id is needed.
    """
    location = resolve_location(state_dir, loop, or_shared=True)
    if not folder.is_dir():
        raise InvalidRequestError(f"{folder}: is no folder")
    with _open_days(location) as reader, show_progress("files") as steps:
        result = forget_erased(reader, folder, steps.advance)
    show_result("Forgotten", asdict(result) | {"folder": str(folder)}, as_json=as_json)


@contextmanager
def _open_days(location: StateLocation) -> Iterator[DayReader]:
    if location.address is None:
        with open_read_only(location.directory, location.catalogue) as state:
            yield DirectoryDays(state)
        return
    from bandstand.store.event_files.shared_days import open_shared_days  # noqa: PLC0415 (its driver is an extra)

    with open_shared_days(location.address, location.catalogue) as reader:
        yield reader


def _parse_day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise InvalidRequestError("--day must be a date, such as 2026-05-01") from None
