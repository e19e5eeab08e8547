"""Files that commands read: named by a path, or standard input as ``-``."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

STANDARD_INPUT = Path("-")


class LogInput(NamedTuple):
    """What a command reads.

    Attributes:
        path: where it can be read, as often as one likes.
        name: what messages call it.
    """

    path: Path
    name: str


@contextmanager
def open_log(source: Path) -> Iterator[LogInput]:
    """Write standard input to a temporary file, if that is what is named; it is removed afterwards."""
    if source != STANDARD_INPUT:
        yield LogInput(source, str(source))
        return
    with tempfile.NamedTemporaryFile(prefix="bandstand-") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield LogInput(Path(file.name), "standard input")
