"""A TCP proxy that answers as a bad network does: it cuts answers off, holds them back, and lets them trickle."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

Behaviour = Literal["cut", "stall", "trickle"]


@dataclass
class Plan:
    """What becomes of an answer: after ``passed`` bytes of it the connection is cut, or nothing comes any more, or the
    rest comes byte after byte. None passes all of it.
    """

    passed: int | None = None
    then: Behaviour = "cut"


class Proxy:
    """Passes connections on to a port, and answers back by a plan.

    Attributes:
        plan: for the answers that are still to come.
        answer: all bytes that came back through the connection that spoke last, where they were passed whole.
        connections: every connection that a client made.
    """

    def __init__(self, target: int) -> None:
        self.plan = Plan()
        self.answer = b""
        self.released = threading.Event()
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.connections: list[socket.socket] = []
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Hang up on everybody."""
        self.released.set()
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """End the connections that there are, as a restart does."""
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = socket.create_connection(("127.0.0.1", self._target))
            self.connections.append(client)
            self._open += [client, upstream]
            threading.Thread(target=_copy, args=(client, upstream), daemon=True).start()
            threading.Thread(target=self._answer, args=(upstream, client), daemon=True).start()

    def _answer(self, upstream: socket.socket, client: socket.socket) -> None:
        sent, whole = 0, b""
        with suppress(OSError):
            while data := upstream.recv(65_536):
                plan = self.plan
                if plan.passed is None:
                    whole += data
                    self.answer = whole  # before it is passed on: who has the answer may then ask for it here
                    client.sendall(data)
                    continue
                passing = data[: max(0, plan.passed - sent)]
                rest = data[len(passing) :]
                client.sendall(passing)
                sent += len(passing)
                if rest and plan.then == "cut":
                    break
                if rest and plan.then == "stall":
                    self.released.wait()
                    break
                for index in range(len(rest)):
                    client.sendall(rest[index : index + 1])
                    if self.released.wait(0.02):
                        return
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@contextmanager
def start_proxy(target: int) -> Iterator[Proxy]:
    """A proxy to a port."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
