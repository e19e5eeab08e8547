"""``bandstand serve``: settings, an address to listen on, the app, and uvicorn around it until a signal ends it."""

import contextlib
import errno
import gc
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
_WORKERS_HELP = "Processes that serve the port; more than one need STATE_URL."
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
    workers: Annotated[int, typer.Option(metavar="N", min=1, help=_WORKERS_HELP)] = 1,
) -> int:
    """Serve over HTTP until SIGTERM or SIGINT, then finish what runs, save and exit 0.

    `bandstand settings` lists the environment variables that set the rest.
    """
    return serve_settings(read_settings(host=host, port=port, state_dir=state_dir), workers=workers)


def serve_settings(settings: Settings, *, workers: int = 1, on_started: Callable[[str], None] = lambda _: None) -> int:
    """Serve by these settings until a signal ends it; the exit code.

    Args:
        settings: the configuration.
        workers: how many processes serve; more than one are children of this one.
        on_started: called with the service's URL once it takes requests.

    Raises:
        ConfigurationError: a setting is wrong, or the address cannot be listened on.
    """
    if workers > 1 and not _is_shared(settings):
        raise ConfigurationError(
            f"--workers {workers} needs STATE_URL: a state directory belongs to one process, a PostgreSQL to any number"
        )
    endpoints = _resolve(settings)
    for endpoint in endpoints:
        _reject_open_network(settings, endpoint)
    with contextlib.ExitStack() as opened:
        listeners = [opened.enter_context(listener) for listener in _listen(endpoints)]
        # What start-up makes stays, and the collector would walk over it again and again: a tenth of the time it takes.
        # The server starts it again.
        gc.disable()
        opened.callback(gc.enable)
        return _run_server(settings, listeners, workers, on_started)


def _is_shared(settings: Settings) -> bool:
    return settings.state_url is not None or settings.state_url_file is not None


def _run_server(
    settings: Settings, listeners: Sequence[socket.socket], workers: int, on_started: Callable[[str], None]
) -> int:
    # Imported here, because the other commands need neither the web framework nor the server.
    from bandstand.api.asgi.logs import configure_logging  # noqa: PLC0415
    from bandstand.cli.server import run  # noqa: PLC0415
    from bandstand.cli.workers import WorkerGroup  # noqa: PLC0415
    from bandstand.wiring.app import create_app  # noqa: PLC0415

    host, port = listeners[0].getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    place = "the PostgreSQL of STATE_URL" if _is_shared(settings) else settings.state_dir
    crew = f", {workers} workers" if workers > 1 else ""
    greeting = f"bandstand {__version__} serves http://{address} with its state in {place}{crew}"

    def greet() -> None:
        write_error_line(greeting)
        on_started(f"http://{address}")

    def serve_on(taken: Sequence[socket.socket], on_serving: Callable[[], None]) -> None:
        run(
            create_app(settings),
            taken,
            backlog=_BACKLOG,
            shutdown_seconds=settings.shutdown_seconds,
            on_started=on_serving,
        )

    configure_logging(settings.log_level)
    for variable, setting in find_misspelt_settings():
        log.warning("a variable is no setting, but nearly one", variable=variable, did_you_mean=setting)
    if workers == 1:
        serve_on(listeners, greet)
        return 0
    bound = [_Endpoint(listener.family, listener.getsockname()[:2]) for listener in listeners]
    for listener in listeners:
        listener.close()
    with contextlib.ExitStack() as opened:
        for endpoint in bound:  # the port stays ours, whoever of the workers is there
            opened.enter_context(_bind_together(endpoint))
        return WorkerGroup(
            workers,
            lambda on_serving: serve_on([_bind_together(endpoint) for endpoint in bound], on_serving),
            on_started=greet,
        ).run()


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
    try:
        return socket.create_server(
            endpoint.address, family=endpoint.family, backlog=_BACKLOG, dualstack_ipv6=_is_dual(endpoint)
        )
    except OSError as error:
        raise _build_refusal(endpoint, error) from None


def _bind_together(endpoint: _Endpoint) -> socket.socket:
    """A socket of a port that several processes have, each one of its own; it does not listen yet.

    Linux shares the connections between those that listen, and a process that is gone is no longer among them.
    """
    taken = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if endpoint.family == socket.AF_INET6:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not _is_dual(endpoint))
        taken.bind(endpoint.address)
    except OSError as error:
        taken.close()
        raise _build_refusal(endpoint, error) from None
    return taken


def _is_dual(endpoint: _Endpoint) -> bool:
    """Whether it means every address of both families."""
    return endpoint.address[0] == "::" and socket.has_dualstack_ipv6()


def _build_refusal(endpoint: _Endpoint, error: OSError) -> ConfigurationError:
    host, port = endpoint.address
    reason = (error.strerror or str(error)).partition(" (while")[0].lower()
    kind = _NoSuchAddressError if error.errno in _NO_SUCH_ADDRESS else ConfigurationError
    return kind(f"HOST={host!r} PORT={port} cannot be listened on: {reason}")
