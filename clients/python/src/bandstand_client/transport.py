"""HTTP over sockets, with one deadline over a whole call: resolving, connecting, TLS, every write and every read.

An HTTP library's timeouts are for single steps, so an answer that trickles in a byte at a time outlasts them all. Here
the timeout that goes down with a request is a :class:`~bandstand_client.deadline.Deadline`, and each step takes what is
left of it.
"""

import ipaddress
import select
import socket
import ssl
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from bandstand_client.deadline import compute_remaining

KEPT_ALIVE_S = 60.0  # the service hangs up after 75 s of silence; to reuse a connection just then would lose a call
_CHUNK = 65_536
_UNREACHABLE = (httpcore.ConnectError, httpcore.UnsupportedProtocol)

Address = tuple[socket.AddressFamily, tuple[Any, ...]]


class DeadlineTransport(httpx.BaseTransport):
    """A pool of connections for threads, whose calls end by their deadlines.

    Args:
        context: for TLS; None where the service is spoken to without.
        connections: how many there are at most.
    """

    def __init__(self, context: ssl.SSLContext | None = None, connections: int = 100) -> None:
        self._backend = _DeadlineBackend()
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=KEPT_ALIVE_S,
            network_backend=self._backend,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read the whole answer."""
        url = request.url
        try:
            answer = self._pool.handle_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
            try:
                content = answer.read()
            finally:
                answer.close()
        except httpcore.TimeoutException as error:
            raise httpx.ReadTimeout(str(error) or "no answer came in time") from None
        except _UNREACHABLE as error:
            raise httpx.ConnectError(str(error)) from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise httpx.ReadError(str(error)) from None
        return httpx.Response(answer.status, headers=answer.headers, content=content)

    def close(self) -> None:
        """Hang up."""
        self._pool.close()

    def abandon(self) -> None:
        """Let go of connections that belong to the process this one was forked from, without a word on them."""
        self._backend.close_sockets()


def build_context(scheme: str, verify: bool | ssl.SSLContext) -> ssl.SSLContext | None:
    """Build what TLS needs, where the service is spoken to by it: certificates are slow to load."""
    if scheme != "https":
        return None
    return verify if isinstance(verify, ssl.SSLContext) else httpx.create_ssl_context(verify=verify, trust_env=False)


class _DeadlineBackend(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        with _connecting():
            connection = _connect(host, port, timeout, local_address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for option in socket_options or ():
                connection.setsockopt(*option)
        self._sockets.add(connection)
        return _DeadlineStream(connection, self._sockets)

    def close_sockets(self) -> None:
        """Close the files of all connections; the peer sees nothing of it while another process holds them too."""
        for connection in list(self._sockets):
            connection.close()


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, connection: socket.socket, sockets: "weakref.WeakSet[socket.socket]") -> None:
        self._socket = connection
        self._sockets = sockets

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            self._allow(timeout)
            return self._socket.recv(max_bytes)
        except TimeoutError:
            raise httpcore.ReadTimeout("no answer came in time") from None
        except OSError as error:
            raise httpcore.ReadError(str(error)) from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            rest = memoryview(buffer)
            while rest:
                self._allow(timeout)
                rest = rest[self._socket.send(rest[:_CHUNK]) :]
        except TimeoutError:
            raise httpcore.WriteTimeout("the request was not taken in time") from None
        except OSError as error:
            raise httpcore.WriteError(str(error)) from None

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            with _connecting():
                self._allow(timeout)  # the handshake as a whole ends by it
                secured = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except BaseException:
            self.close()
            raise
        self._sockets.add(secured)
        return _DeadlineStream(secured, self._sockets)

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
        if info == "is_readable":
            return _is_readable(self._socket)
        return self._socket if info == "socket" else None

    def _allow(self, timeout: float | None) -> None:
        left = compute_remaining(timeout)
        if left is not None and left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


@contextmanager
def _connecting() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise httpcore.ConnectTimeout("no connection came about in time") from None
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from None


def _connect(host: str, port: int, timeout: float | None, local_address: str | None) -> socket.socket:
    """Connect to the first address that answers; all of them share the deadline."""
    refusal: OSError = OSError(f"{host} has no address")
    for family, address in _resolve(host, port, timeout):
        left = compute_remaining(timeout)
        if left is not None and left <= 0:
            raise TimeoutError
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(left)
            if local_address is not None:
                connection.bind((local_address, 0))
            connection.connect(address)
        except OSError as error:
            connection.close()
            refusal = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise refusal


def _resolve(host: str, port: int, timeout: float | None) -> list[Address]:
    """Look a name up in a thread of its own: the system's resolver knows no deadline."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        pass
    else:
        return [(socket.AF_INET if version == 4 else socket.AF_INET6, (host, port))]  # noqa: PLR2004 (IP's own number)
    found: list[Address] = []
    failed: list[OSError] = []

    def look_up() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend((family, address) for family, _, _, _, address in answers)
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=look_up, name="bandstand-resolver", daemon=True)
    thread.start()
    thread.join(compute_remaining(timeout))
    if failed:
        raise failed[0]
    if not found and thread.is_alive():
        raise TimeoutError
    return found


def _is_readable(connection: socket.socket) -> bool:
    """Whether a connection that waits has something to read, which can only be its end."""
    number = connection.fileno()
    if number < 0:
        return True
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(number, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([number], [], [], 0)[0])
