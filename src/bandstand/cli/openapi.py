"""``bandstand openapi``: the description of this deployment's HTTP interface, its own schemas included."""

import json

import typer

from bandstand.settings import read_settings


def print_openapi() -> None:
    """Print the OpenAPI document of this deployment; it follows BANDSTAND_CONFIG, and no state is touched."""
    # Imported here, because the other commands need no web framework.
    from bandstand.app import create_app  # noqa: PLC0415

    typer.echo(json.dumps(create_app(read_settings()).openapi(), indent=2, ensure_ascii=False))
