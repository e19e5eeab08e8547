"""The output of a command: a table for a person, one JSON object for a machine, progress on a terminal."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_WIDEST = 1000
"""Characters in a row of a table: what is looked at by programs too is not cut off at a terminal's width."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


def show_result(title: str, result: Mapping[str, Any], *, as_json: bool, notes: list[str] | None = None) -> None:
    """Print a result on stdout, and under its table what a person should know about it."""
    if as_json:
        typer.echo(json.dumps(result))
        return
    table = Table.grid(padding=(0, 2))
    for name, value in result.items():
        table.add_row(Text(name.replace("_", " "), style="dim"), Text(_format_value(value)))
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(title, style="bold"))
    console.print(table)
    for note in notes or []:
        console.print(Text(note))


def show_rows(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout, a row a line however wide the terminal is."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False, soft_wrap=True, width=_WIDEST).print(table)


def _format_value(value: object) -> str:
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_format_value(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return "\n".join(_format_value(part) for part in value)
    return str(value)


@contextmanager
def show_progress(label: str, total: int | None = None) -> Iterator["ProgressTracker"]:
    """Show on stderr how far a long command is, where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        yield ProgressTracker(bar, bar.add_task(label, total=total))


class ProgressTracker:
    """How far a command is."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def advance(self) -> None:
        """One more is done."""
        self._bar.advance(self._task)

    def update(self, done: int, total: int) -> None:
        """Show how many of the steps are done."""
        self._bar.update(self._task, completed=done, total=total)
