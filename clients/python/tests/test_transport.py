"""Deadlines down to the byte, over real sockets."""

import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from bandstand_client import Bandstand, DeadlineError, Retry, UnreachableError
from bandstand_client.deadline import Deadline, compute_remaining
from bandstand_client.transport import DeadlineTransport
from client_support.proxy import Plan, start_proxy
from client_support.server import Server

TWO = ["tea", "coffee"]
_NEVER_S = 0.15


@pytest.fixture
def deaf() -> Iterator[str]:
    """The address of something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_deadline_is_what_is_left_of_it() -> None:
    deadline = Deadline(60.0)
    assert float(deadline) == 60.0
    assert 0 < deadline.compute_remaining() <= 60.0
    assert Deadline(-1.0).compute_remaining() < 0
    assert compute_remaining(3.0) == 3.0
    assert compute_remaining(None) is None


def test_silence_ends_by_the_deadline(deaf: str) -> None:
    with Bandstand(deaf, score_deadline=_NEVER_S) as client:
        decision = client.score("ada", TWO)
    assert (decision.pick, decision.fallback) == ("tea", "deadline")


def test_an_answer_that_trickles_ends_by_the_deadline(server: Server) -> None:
    """Each byte comes well within any timeout of a single read; the whole would take seconds."""
    with start_proxy(server.port) as proxy:
        proxy.plan = Plan(10, "trickle")
        with Bandstand(proxy.url, score_deadline=_NEVER_S) as client:
            decision = client.score("ada", TWO)
            assert decision.fallback == "deadline"
        # What httpx would do by itself: every byte begins its timeout anew.
        with httpx.Client(trust_env=False, timeout=60.0) as plain:
            assert plain.get(f"{proxy.url}/ready").status_code == 200


def test_a_body_that_is_not_taken_ends_by_the_deadline(deaf: str) -> None:
    huge = [{"id": str(number), "content": "x" * 100_000} for number in range(100)]
    with Bandstand(deaf, score_deadline=_NEVER_S) as client:
        assert client.score("ada", huge).fallback == "deadline"


def test_a_name_that_is_looked_up_for_ever_ends_by_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def look_up(*_: Any, **__: Any) -> Any:
        released.wait(60.0)
        raise OSError("nobody knows")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    try:
        with Bandstand("http://slow.invalid", score_deadline=_NEVER_S) as client:
            assert client.score("ada", TWO).fallback == "deadline"
    finally:
        released.set()


def test_a_name_that_nobody_has_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with Bandstand("http://no.invalid", retry=Retry(tries=1)) as client, pytest.raises(UnreachableError, match="known"):
        client.health()


def test_all_addresses_of_a_name_are_tried(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: Any, **__: Any) -> Any:
        places = [("127.0.0.1", 9), ("127.0.0.1", server.port)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with (
        Bandstand("http://127.0.0.1.nip.invalid:80", deadline=30.0) as client,
        pytest.raises(Exception, match="host-refused"),
    ):
        client.policies()  # reached: without keys the service answers to loopback names alone


def test_a_handshake_ends_by_the_deadline(deaf: str) -> None:
    context = ssl.create_default_context()
    client = Bandstand(deaf.replace("http://", "https://"), deadline=_NEVER_S, verify=context)
    with client, pytest.raises(DeadlineError):
        client.health()


def test_a_connection_is_used_again_and_one_that_was_closed_is_not(server: Server) -> None:
    with start_proxy(server.port) as proxy, Bandstand(proxy.url, deadline=30.0) as client:
        for _ in range(5):
            client.health()
        assert len(proxy.connections) == 1
        proxy.hang_up()
        assert client.health().ok
        assert client.counts.retries == 0
        assert len(proxy.connections) == 2


def test_a_full_pool_waits_no_longer_than_the_deadline(deaf: str) -> None:
    transport = DeadlineTransport(connections=1)
    blocker = Bandstand(deaf, transport=transport, score_deadline=2.0)
    thread = threading.Thread(target=lambda: blocker.score("ada", TWO), daemon=True)
    thread.start()
    client = Bandstand(deaf, transport=transport, score_deadline=_NEVER_S)
    assert client.score("ada", TWO).fallback == "deadline"
    thread.join()
    transport.close()


def test_a_client_works_after_it_was_closed(server: Server) -> None:
    client = Bandstand(server.url, deadline=30.0)
    assert client.health().ok
    client.close()
    assert client.health().ok
    client.close()
