"""``bandstand serve``: settings, an address to listen on, the app, and uvicorn around it until a signal ends it."""

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import structlog
import typer

from bandstand import __version__
from bandstand.cli.streams import write_error_line
from bandstand.config.misspelt import find_misspelt_settings
from bandstand.config.settings import Settings, read_settings
from bandstand.errors import ConfigurationError

_BACKLOG = 2048
_PORT_TRIES = 20
_NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

log = structlog.get_logger("bandstand")


class _NoSuchAddressError(ConfigurationError):
    """This machine has no such address, or no such family of addresses."""


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
    serve_settings(read_settings(host=host, port=port, state_dir=state_dir))


def serve_settings(settings: Settings, *, on_started: Callable[[str], None] = lambda _: None) -> None:
    """Serve by these settings until a signal ends it.

    Args:
        settings: the configuration.
        on_started: called with the service's URL once it takes requests.

    Raises:
        ConfigurationError: a setting is wrong, or the address cannot be listened on.
    """
    endpoints = _resolve(settings)
    for endpoint in endpoints:
        _reject_open_network(settings, endpoint)
    with contextlib.ExitStack() as opened:
        listeners = [opened.enter_context(listener) for listener in _listen(endpoints)]
        _run_server(settings, listeners, on_started)


def _run_server(settings: Settings, listeners: Sequence[socket.socket], on_started: Callable[[str], None]) -> None:
    # Imported here, because the other commands need neither the web framework nor the server.
    from bandstand.api.asgi.logs import configure_logging  # noqa: PLC0415
    from bandstand.cli.server import run  # noqa: PLC0415
    from bandstand.wiring.app import create_app  # noqa: PLC0415

    host, port = listeners[0].getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    is_shared = settings.state_url is not None or settings.state_url_file is not None
    place = "the PostgreSQL of STATE_URL" if is_shared else settings.state_dir
    greeting = f"bandstand {__version__} serves http://{address} with its state in {place}"

    def greet() -> None:
        write_error_line(greeting)
        on_started(f"http://{address}")

    configure_logging(settings.log_level)
    for variable, setting in find_misspelt_settings():
        log.warning("a variable is no setting, but nearly one", variable=variable, did_you_mean=setting)
    run(
        create_app(settings),
        listeners,
        backlog=_BACKLOG,
        shutdown_seconds=settings.shutdown_seconds,
        on_started=greet,
    )


def _resolve(settings: Settings) -> list[_Endpoint]:
    """The addresses to listen on: one, or both loopbacks, since either may be what a client takes localhost for."""
    host = settings.host.removeprefix("[").removesuffix("]")
    if host.lower().rstrip(".") == "localhost":
        return [
            _Endpoint(socket.AF_INET, ("127.0.0.1", settings.port)),
            _Endpoint(socket.AF_INET6, ("::1", settings.port)),
        ]
    try:
        found = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"HOST={settings.host!r} names no address of this machine ({error})") from None
    family, _, _, _, address = min(found)  # IPv4 sorts before IPv6
    return [_Endpoint(family, (str(address[0]), int(address[1])))]


def _reject_open_network(settings: Settings, endpoint: _Endpoint) -> None:
    if settings.api_keys or settings.allow_open or ipaddress.ip_address(endpoint.address[0]).is_loopback:
        return
    raise ConfigurationError(
        f"HOST={settings.host!r} is open to the network and API_KEYS is unset; "
        "set API_KEYS, or serve 127.0.0.1, or set ALLOW_OPEN=1 if something in front decides who may call"
    )


def _listen(endpoints: list[_Endpoint]) -> list[socket.socket]:
    """Listen on all of them, on one port; a machine without IPv6 has one loopback."""
    for _ in range(_PORT_TRIES):
        first = _open_listener(endpoints[0])
        try:
            port = first.getsockname()[1]
            return [first, *(_open_listener(_Endpoint(each.family, (each.address[0], port))) for each in endpoints[1:])]
        except _NoSuchAddressError:
            return [first]
        except ConfigurationError:
            first.close()
            if endpoints[0].address[1]:
                raise  # the port was asked for; else another free one may be free on both
    raise ConfigurationError(f"HOST={endpoints[0].address[0]!r} PORT=0: no port is free on both loopbacks")


def _open_listener(endpoint: _Endpoint) -> socket.socket:
    host, port = endpoint.address
    try:
        return socket.create_server(
            endpoint.address,
            family=endpoint.family,
            backlog=_BACKLOG,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0].lower()
        kind = _NoSuchAddressError if error.errno in _NO_SUCH_ADDRESS else ConfigurationError
        raise kind(f"HOST={host!r} PORT={port} cannot be listened on: {reason}") from None
