"""The ``bandstand`` command: one module for each command, errors as one line on stderr."""

from typing import Annotated

import typer

from bandstand import __version__
from bandstand.cli.demo import demo, play_demo_users
from bandstand.cli.evaluate.commands import evaluate, evaluate_run
from bandstand.cli.judge.commands import judge
from bandstand.cli.openapi import print_openapi
from bandstand.cli.serve import serve
from bandstand.cli.settings import print_settings
from bandstand.cli.simulate.commands import simulate
from bandstand.cli.state.commands import state
from bandstand.errors import BandstandError

EXIT_REFUSED = 2
"""The exit code of a command that would not start: a wrong setting, a state directory in use, an address taken."""

command = typer.Typer(
    name="bandstand",
    help="A contextual-bandit service: picks among candidates, learns from rewards, loses nothing it acknowledged.",
    epilog="Every setting is an environment variable: see `bandstand settings`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks print local variables, and among those may be secrets
)
command.command()(serve)
command.command()(demo)
command.command("demo-users", hidden=True)(play_demo_users)
command.command()(simulate)
command.command()(evaluate)
command.command("evaluate-run", hidden=True)(evaluate_run)
command.command("settings")(print_settings)
command.command("openapi")(print_openapi)
command.add_typer(judge)
command.add_typer(state)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the flag's value
    if wanted:
        typer.echo(f"bandstand {__version__}")
        raise typer.Exit


@command.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; anything Bandstand refuses ends as one line on stderr and exit code 2."""
    try:
        command()
    except BandstandError as error:
        typer.echo(f"bandstand: {' '.join(error.detail.splitlines())}", err=True)
        raise SystemExit(EXIT_REFUSED) from None
