"""The standard streams of a command: open, in any locale, and never a reason to fail."""

import contextlib
import io
import os
import sys


def prepare_streams() -> None:
    """Make the three streams fit for use.

    A stream that the parent has closed is opened on the null device: otherwise its number would go to the next file
    that is opened, such as the ledger, and what is written to the stream would go there. What a locale cannot show is
    replaced.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number, which is this one
            setattr(sys, name, None)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115
        stream = getattr(sys, name)
        if name != "stdin" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def write_error_line(text: str) -> None:
    """Say one line on stderr, if it takes it."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 (what a command says)


def close_streams() -> None:
    """Discard what a full or closed stream has not taken, so that the interpreter does not fail over it at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
