"""``bandstand state move``: a state directory's ledger into a PostgreSQL, or back."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bandstand.bandit.loop_definition import DEFAULT_LOOP, LoopDefinition
from bandstand.cli.report import AsJson, show_progress, show_result
from bandstand.cli.state.directory import StateLocation, resolve_location
from bandstand.config.loops import load_loop_catalogue
from bandstand.config.settings import read_settings
from bandstand.config.state_url import read_state_url
from bandstand.errors import ConfigurationError, InvalidRequestError
from bandstand.store.loop_directories import LoopDirectories
from bandstand.store.maintenance.offline import OpenedDirectory, open_owned

if TYPE_CHECKING:
    from bandstand.store.maintenance.move_out import LoopReturn

_SCHEMES = ("postgresql://", "postgres://")
_KEPT = "The directory holds every word that it held: keep it as a backup, or delete it."
_OUT_NOTES = [
    "Start one service with STATE_DIR set to it, and without STATE_URL; on the database none starts any more.",
    "The database holds every word that it held: drop the schema when you need no backup of it.",
]


def move(
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="DIR|URL",
            help="The state directory of the stopped service, or the database; STATE_URL if left out.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URL|DIR",
            help="The database, as a URL like STATE_URL, which is used if this is left out; or a new state directory.",
        ),
    ] = None,
    *,
    all_: Annotated[bool, typer.Option("--all", help="Compare every user on both sides, not 1,000.")] = False,
    as_json: AsJson = False,
) -> None:
    """Move a ledger into an empty schema of a PostgreSQL, or back into a directory; compare, then close the old one.

    Services must be stopped. If it is cut short, run the command again: it begins from the start. Until all is
    compared, the old ledger stays as it was; nothing is deleted there.
    """
    is_url = {name: value is not None and value.startswith(_SCHEMES) for name, value in (("from", source), ("to", to))}
    url = source if is_url["from"] else to if is_url["to"] else read_state_url(read_settings())
    directory = to if to is not None and not is_url["to"] else source if source and not is_url["from"] else None
    if not url or directory is None or (source and to and is_url["from"] == is_url["to"]):
        raise InvalidRequestError(
            "name a directory and a database: --from DIR --to URL moves in, --from URL --to DIR out; STATE_URL stands "
            "in for the URL"
        )
    is_out = directory == to
    try:  # the driver is an extra
        from bandstand.store.maintenance import move as moving  # noqa: PLC0415
        from bandstand.store.maintenance.move_out import move_out  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise ConfigurationError("moving needs the driver: pip install 'bandstand[postgres]'") from None
    location = resolve_location(directory)

    def say(step: str) -> None:
        typer.echo(step, err=True)

    with show_progress("rows and users") as steps:
        if is_out:
            result = asyncio.run(
                move_out(
                    url,
                    location.directory,
                    location.catalogue,
                    loops=list_returning_loops(url, location),
                    everybody=all_,
                    step=say,
                    tick=steps.advance,
                )
            )
        else:
            with open_all(location) as (opened, loops):
                moved = moving.move(opened, url, loops=loops, everybody=all_, step=say, tick=steps.advance)
                result = asyncio.run(moved)
    started = f"Start the services with STATE_URL; on {directory} none starts any more."
    notes = _OUT_NOTES if is_out else [started, _KEPT]
    answer = asdict(result) | {"left_behind": list(result.left_behind)}
    if not as_json:
        answer["tables"] = {name: rows for name, rows in result.tables.items() if rows}
    show_result("Moved and compared", answer, as_json=as_json, notes=notes)


@contextmanager
def open_all(location: StateLocation) -> Iterator[tuple[OpenedDirectory, dict[str, OpenedDirectory]]]:
    """Own the directory, and those of its other loops by their names."""
    with ExitStack() as opened:
        default = opened.enter_context(open_owned(location.directory, location.catalogue, moving=True))
        places = {
            name: resolve_location(str(location.directory), name)
            for name in LoopDirectories(location.directory).list_names()
        }
        loops = {
            name: opened.enter_context(open_owned(place.directory, place.catalogue, moving=True))
            for name, place in places.items()
        }
        yield default, loops


def list_returning_loops(url: str, location: StateLocation) -> "dict[str, LoopReturn]":
    """The loops beside the default one that the shared ledger has."""
    from bandstand.store.maintenance.move_out import LoopReturn  # noqa: PLC0415 (its driver is an extra)
    from bandstand.store.postgres.address import LedgerAddress  # noqa: PLC0415 (the same)
    from bandstand.store.postgres.event_reader import open_shared_log  # noqa: PLC0415 (the same)

    settings, found = read_settings(state_dir=str(location.directory)), dict[str, LoopReturn]()
    with open_shared_log(LedgerAddress.parse(url), location.catalogue) as log:
        changes = log.list_loop_changes()
    for change in changes:
        if change.name == DEFAULT_LOOP:
            continue
        if change.after is None:
            found.pop(change.name, None)
            continue
        definition = LoopDefinition.parse(change.name, change.after)
        place = change.place or found[change.name].place
        found[change.name] = LoopReturn(definition, load_loop_catalogue(settings, definition), place)
    return found
