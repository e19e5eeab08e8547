"""``bandstand state move``: a state directory's ledger into a PostgreSQL."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bandstand.cli.report import AsJson, show_progress, show_result
from bandstand.cli.state.directory import resolve_location
from bandstand.config.settings import read_settings
from bandstand.errors import ConfigurationError, InvalidRequestError
from bandstand.store.maintenance.offline import open_owned
from bandstand.wiring.engine import read_state_url


def move(
    source: Annotated[Path, typer.Option("--from", metavar="DIR", help="The state directory of the stopped service.")],
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Of the database, as STATE_URL has it, which is taken where this is left out."
        ),
    ] = None,
    *,
    all_: Annotated[bool, typer.Option("--all", help="Compare every user on both sides, not 1,000.")] = False,
    as_json: AsJson = False,
) -> None:
    """Move a ledger into an empty schema of a PostgreSQL, compare both sides, and close the old one.

    The service must be stopped. Cut short, it is run again and begins anew; until all is compared, the old ledger is as
    it was. Nothing is deleted in the directory.
    """
    url = to if to is not None else read_state_url(read_settings())
    if not url:
        raise InvalidRequestError("name the database: --to URL, or STATE_URL")
    try:  # the driver is an extra
        from bandstand.store.maintenance import move as moving  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise ConfigurationError("moving needs the driver: pip install 'bandstand[postgres]'") from None
    location = resolve_location(str(source))
    with (
        open_owned(location.directory, location.catalogue, moving=True) as opened,
        show_progress("rows and users") as steps,
    ):

        def say(step: str) -> None:
            typer.echo(step, err=True)

        done = moving.move(opened, url, everybody=all_, step=say, tick=steps.advance)
        result = asyncio.run(done)
    notes = [
        f"Start the services with STATE_URL; on {source} none starts any more.",
        "The directory holds every word that it held: keep it as a backup, or delete it.",
    ]
    answer = asdict(result) | {"left_behind": list(result.left_behind)}
    if not as_json:
        answer["tables"] = {name: rows for name, rows in result.tables.items() if rows}
    show_result("Moved and compared", answer, as_json=as_json, notes=notes)
