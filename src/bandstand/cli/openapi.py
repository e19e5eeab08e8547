"""``bandstand openapi``: the description of this deployment's HTTP interface, its own schemas included."""

import asyncio
import json
from typing import Any

import typer

from bandstand.config.settings import read_settings


def print_openapi() -> None:
    """Print the OpenAPI document that this deployment serves; it follows BANDSTAND_CONFIG, and no state is touched."""
    # Imported here, because the other commands need no web framework.
    from bandstand.wiring.app import create_app  # noqa: PLC0415

    settings = read_settings().model_copy(update={"api_keys": ()})  # whoever runs this may read what it describes
    typer.echo(json.dumps(asyncio.run(_fetch_openapi(create_app(settings))), indent=2, ensure_ascii=False))


async def _fetch_openapi(app: Any) -> Any:
    import httpx  # noqa: PLC0415 - as above

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        return (await client.get("/openapi.json")).raise_for_status().json()
