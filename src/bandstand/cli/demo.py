"""``bandstand demo``: a scratch deployment that simulated people use, to look at."""

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from bandstand.child_process import build_python_command
from bandstand.cli.serve import serve_settings
from bandstand.cli.streams import write_error_line
from bandstand.config.settings import read_settings
from bandstand.errors import BandstandError

_FOR_EVER = 10**9

_NO_DATABASE = {"state_url": "", "state_url_file": ""}
"""A demonstration keeps its state to itself, wherever the service of this environment does."""


def demo(
    port: Annotated[str | None, typer.Option(metavar="PORT", help="Overrides PORT, whose default is 8000.")] = None,
) -> None:
    """Serve a scratch deployment while simulated people use it, until Ctrl-C; then delete it all.

    Open /console in a browser: within a minute every page has something to show. If API_KEYS is set, the people use the
    key in BANDSTAND_API_KEY, which must be an admin's.
    """
    people: list[subprocess.Popen[bytes]] = []

    def start_people(url: str) -> None:
        """Start the simulated people when this service answers, and not another one that had the port before."""
        command = build_python_command("demo-users", "--url", url)
        people.append(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True))  # noqa: S603 (our own words)
        write_error_line(f"A demonstration: open {url}/console in a browser; Ctrl-C ends it and forgets it all.")

    with TemporaryDirectory(prefix="bandstand-demo-") as directory:
        try:
            settings = read_settings(
                host="127.0.0.1", port=port, state_dir=str(Path(directory) / "state"), **_NO_DATABASE
            )
            serve_settings(settings, on_started=start_people)
        finally:
            for each in people:
                each.kill()
                each.communicate()


def play_demo_users(
    url: Annotated[str, typer.Option(metavar="URL")],
    api_key: Annotated[str | None, typer.Option(metavar="SECRET", envvar="BANDSTAND_API_KEY")] = None,
) -> None:
    """Use a service as people would, until standard input ends or the service is gone."""
    from bandstand.simulate.demo import DemoUsers  # noqa: PLC0415 (the other commands need none of it)

    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        asyncio.run(DemoUsers(url, api_key).play(_FOR_EVER))
    except BandstandError as error:
        write_error_line(f"bandstand: the simulated people have left: {error.detail}")


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    signal.raise_signal(signal.SIGTERM)
