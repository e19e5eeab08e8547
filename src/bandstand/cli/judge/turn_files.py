"""Files of turns, in any supported form, and messages about records that are no turns."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from bandstand.cli.log_input import open_log
from bandstand.errors import FieldError, InvalidRequestError
from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.files.json_table import JsonTable
from bandstand.evaluate.files.log_table import open_table
from bandstand.evaluate.files.table import open_text, read_start
from bandstand.judge.training.transcripts import SourceRecord, parse_json_lines

_MAX_NAMED = 20
"""Most faults that are told apart on stderr, and most of the lines that each is named with."""

_ARRAY_START_BYTES = 256


@contextmanager
def open_records(file: Path) -> Iterator[Iterator[SourceRecord]]:
    """Read the records of a file, a folder or standard input; a line that is no JSON is a fault of its own.

    Raises:
        InvalidRequestError: it cannot be read; names it.
    """
    with open_log(file) as log:
        try:
            yield _read_records(log.path)
        except EvaluationError as error:
            raise InvalidRequestError(f"{log.name!r}: {error.detail}") from None


def report_faults(file: Path, bad: Sequence[FieldError]) -> None:
    """Say on stderr what was skipped: each fault once, with the lines that have it."""
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for at, reason in bad:
        lines[reason].append(at)
    for reason, places in list(lines.items())[:_MAX_NAMED]:
        more = len(places) - _MAX_NAMED
        named = ", ".join(places[:_MAX_NAMED]) + (f" and {more:,} more" if more > 0 else "")
        typer.echo(f"{file}, {named}: {reason}; skipped", err=True)
    if len(lines) > _MAX_NAMED:
        rest = sum(len(places) for places in list(lines.values())[_MAX_NAMED:])
        typer.echo(f"{file}: {rest:,} more lines skipped", err=True)


def describe_other_form(file: Path, bad: Sequence[FieldError]) -> str:
    """Say in one line why a file holds no turn."""
    if not bad:
        return f"{str(file)!r} holds no labelled turns"
    at, reason = bad[0]
    alike = sum(message == reason for _, message in bad)
    others = f" (and {alike - 1:,} more alike)" if alike > 1 else ""
    return f"{str(file)!r} holds no labelled turns; {at}{others}: {reason}"


def _read_records(path: Path) -> Iterator[SourceRecord]:
    table = open_table(path)
    if isinstance(table, JsonTable) and not _is_array(path):
        with open_text(path) as lines:
            yield from parse_json_lines(lines)
        return
    for number, value in table.read_records():
        yield SourceRecord(number, table.format_location(number), value)


def _is_array(path: Path) -> bool:
    try:
        return read_start(path, _ARRAY_START_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    except (OSError, EOFError):
        return False  # its reader says why
