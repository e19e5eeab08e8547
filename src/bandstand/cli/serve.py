"""``bandstand serve``: settings, an address to listen on, the app, and uvicorn around it until a signal ends it."""

import ipaddress
import socket
from typing import Annotated, NamedTuple

import typer

from bandstand import __version__
from bandstand.config.settings import Settings, read_settings
from bandstand.errors import ConfigurationError

_BACKLOG = 2048


class _Endpoint(NamedTuple):
    family: socket.AddressFamily
    address: tuple[str, int]


def _get_help(name: str) -> str:
    setting = Settings.model_fields[name]
    return f"{setting.description} Overrides {name.upper()}, whose default is {setting.default}."


def serve(
    host: Annotated[str | None, typer.Option(metavar="HOST", help=_get_help("host"))] = None,
    port: Annotated[str | None, typer.Option(metavar="PORT", help=_get_help("port"))] = None,
    state_dir: Annotated[str | None, typer.Option(metavar="PATH", help=_get_help("state_dir"))] = None,
) -> None:
    """Serve over HTTP until SIGTERM or SIGINT, then finish what runs, save and exit 0.

    `bandstand settings` lists the environment variables that set the rest.
    """
    settings = read_settings(host=host, port=port, state_dir=state_dir)
    endpoint = _resolve(settings)
    _reject_open_network(settings, endpoint)
    with _listen(endpoint) as listener:
        _run_server(settings, listener)


def _run_server(settings: Settings, listener: socket.socket) -> None:
    # Imported here, because the other commands need neither the web framework nor the server.
    from bandstand.api.asgi.logs import configure_logging  # noqa: PLC0415
    from bandstand.cli.server import run  # noqa: PLC0415
    from bandstand.wiring.app import create_app  # noqa: PLC0415

    host, port = listener.getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    greeting = f"bandstand {__version__} serves http://{address} with its state in {settings.state_dir}"
    configure_logging(settings.log_level)
    run(
        create_app(settings),
        listener,
        backlog=_BACKLOG,
        shutdown_seconds=settings.shutdown_seconds,
        on_started=lambda: typer.echo(greeting, err=True),
    )


def _resolve(settings: Settings) -> _Endpoint:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"HOST={settings.host!r} names no address of this machine ({error})") from None
    family, _, _, _, address = min(
        found
    )  # IPv4 sorts before IPv6: localhost is then 127.0.0.1, which every client tries
    return _Endpoint(family, (str(address[0]), int(address[1])))


def _reject_open_network(settings: Settings, endpoint: _Endpoint) -> None:
    if settings.api_keys or settings.allow_open or ipaddress.ip_address(endpoint.address[0]).is_loopback:
        return
    raise ConfigurationError(
        f"HOST={settings.host!r} is open to the network and API_KEYS is unset; "
        "set API_KEYS, or serve 127.0.0.1, or set ALLOW_OPEN=1 if something in front decides who may call"
    )


def _listen(endpoint: _Endpoint) -> socket.socket:
    host, port = endpoint.address
    try:
        return socket.create_server(endpoint.address, family=endpoint.family, backlog=_BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0].lower()
        raise ConfigurationError(f"HOST={host!r} PORT={port} cannot be listened on: {reason}") from None
