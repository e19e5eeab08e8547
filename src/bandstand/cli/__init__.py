"""The ``bandstand`` command: one module for each command, errors as one line on stderr."""

from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from bandstand import __version__
from bandstand.cli import blas_threads  # noqa: F401 (before whatever imports numpy)
from bandstand.cli.lazy_group import LazyGroup
from bandstand.cli.streams import close_streams, prepare_streams, write_error_line
from bandstand.errors import BandstandError

EXIT_REFUSED = 2
"""The exit code of a command that would not start: a wrong setting, a state directory in use, an address taken."""

EXIT_FAILED = 1

command = typer.Typer(
    name="bandstand",
    cls=LazyGroup,
    help="A contextual-bandit service: picks among candidates, learns from rewards, loses nothing it acknowledged.",
    epilog="Every setting is an environment variable: see `bandstand settings`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks print local variables, and among those may be secrets
)


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
    """Run the command line; what does not work ends as one line on stderr, what Bandstand refuses with exit code 2."""
    prepare_streams()
    try:
        code = _run_command()
    except BandstandError as error:
        write_error_line(f"bandstand: {' '.join(error.detail.splitlines())}")
        code = EXIT_REFUSED
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # the reader of our output has had enough
            place = f"{error.filename!r}: " if error.filename else ""
            write_error_line(f"bandstand: {place}{error.strerror or type(error).__name__}")
        code = EXIT_FAILED
    finally:
        close_streams()
    raise SystemExit(code)


def _run_command() -> int:
    """The exit code of the command that the arguments name."""
    try:
        code = command(standalone_mode=False)
    except typer.Abort:
        write_error_line("bandstand: stopped")
        return EXIT_FAILED
    except TyperException as error:
        _show_usage_error(error)
        return int(getattr(error, "exit_code", EXIT_REFUSED))
    return code if isinstance(code, int) else 0


def _show_usage_error(error: Any) -> None:
    """Say in one line what is wrong with the arguments; without any, the help is what is wanted."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    context = getattr(error, "ctx", None)
    see = f" (see `{context.command_path} --help`)" if context is not None else ""
    write_error_line(f"bandstand: {' '.join(error.format_message().split())}{see}")
