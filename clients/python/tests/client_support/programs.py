"""Programs in processes of their own, which import the client that is tested here."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import bandstand_client

SOURCE = Path(bandstand_client.__file__).parents[1]


def build_environment() -> dict[str, str]:
    """The environment in which a program finds the client."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }


def run_program(text: str, *words: str) -> str:
    """Run a program; what it printed.

    Raises:
        AssertionError: it failed.
    """
    command = [sys.executable, "-c", textwrap.dedent(text), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=build_environment())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
