"""The composition's balancer, as HAProxy runs it: where calls go, and which of them it sends a second time."""

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from tests.api.given import TWO
from tests.contract.server import Server, start_server
from tests.contract.test_proxies import connect_through, run_proxy
from tests.project.checkout import ROOT, tool
from tests.store.postgres.shared import run_law_server

CONFIGURATION = (ROOT / "deploy" / "haproxy.cfg").read_text(encoding="utf-8")
USERS = [f"user-{number}" for number in range(24)]


@contextmanager
def run_balancer(one: int, two: int) -> Iterator[httpx.Client]:
    """A client of the balancer before the services on these ports."""
    environment = {
        "BANDSTAND_LISTEN": "unix@{socket}",
        "BANDSTAND_ONE": f"127.0.0.1:{one}",
        "BANDSTAND_TWO": f"127.0.0.1:{two}",
    }
    literal = CONFIGURATION.replace("{", "{{").replace("}", "}}")
    with (
        run_proxy(tool("haproxy"), "-db", "-f", configuration=literal, environment=environment) as folder,
        connect_through(folder) as client,
    ):
        yield client


class Stand:
    """What stands in for a service: ready until it is not, and either answering or hanging up on every call.

    Attributes:
        is_ready: whether it says so.
        looks: how often it was asked.
        port: where it listens, on loopback.
        calls: what it was sent, by the user that the header names.
    """

    def __init__(self, *, hangs_up: bool) -> None:
        calls = self.calls = list[str]()
        self.is_ready, self.looks, stand = True, 0, self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", "0")))
                if self.path != "/ready":
                    calls.append(str(self.headers["x-bandstand-user"]))
                if self.path != "/ready" and hangs_up:
                    self.close_connection = True
                    return
                stand.looks += self.path == "/ready"
                self.send_response(200 if self.path != "/ready" or stand.is_ready else 503)
                self.send_header("content-length", "0")
                self.end_headers()

            do_POST = do_GET  # noqa: N815 (the same)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


DECISION = {"decision_id": "mine", "candidates": TWO}
REPEATED: tuple[tuple[str, str, object, dict[str, str]], ...] = (
    ("GET", "/stats", None, {}),
    ("POST", "/score", DECISION, {}),
    ("POST", "/reward", {"reward": 1}, {"idempotency-key": "mine"}),
)
NOT_REPEATED: tuple[tuple[str, str, object, dict[str, str]], ...] = (
    ("POST", "/score", {"candidates": TWO}, {}),
    ("POST", "/score", {"candidates": TWO, "decision_id": None}, {}),
    ("POST", "/score", {"candidates": TWO, "context": {"decision_id": "mine"}}, {}),
    ("POST", "/reward", {"decision_id": "mine", "reward": 1}, {}),
    ("POST", "/turns", DECISION, {"idempotency-key": "mine"}),
)


def send_for_all(client: httpx.Client, call: tuple[str, str, object, dict[str, str]]) -> list[str]:
    """The users who got an answer to a call, sent once for each of them.

    Where none came, HAProxy answers 502, or hangs up as the service did if that connection had been used before.
    """
    method, path, body, headers = call
    answered = []
    for user in USERS:
        try:
            response = client.request(method, path, json=body, headers={**headers, "x-bandstand-user": user})
        except httpx.RemoteProtocolError:
            continue
        assert response.status_code in {200, 502}
        answered += [user] * (response.status_code == 200)
    return answered


@pytest.mark.slow
def test_what_got_no_answer_is_sent_again_only_where_that_does_nothing_twice() -> None:
    with (
        Stand(hangs_up=True) as silent,
        Stand(hangs_up=False) as answering,
        run_balancer(silent.port, answering.port) as client,
    ):
        for call in REPEATED:
            silent.calls.clear()
            answering.calls.clear()
            assert send_for_all(client, call) == answering.calls == USERS, call
            assert silent.calls, "some were the other's first"
        for call in NOT_REPEATED:
            silent.calls.clear()
            answering.calls.clear()
            assert send_for_all(client, call) == answering.calls, call
            assert silent.calls, call
            assert sorted([*silent.calls, *answering.calls]) == sorted(USERS), "each was sent once"


@pytest.mark.slow
def test_calls_go_to_services_that_are_not_ready_where_none_is() -> None:
    with Stand(hangs_up=False) as one, Stand(hangs_up=False) as two, run_balancer(one.port, two.port) as client:
        one.is_ready = two.is_ready = False
        one.looks = two.looks = 0
        while min(one.looks, two.looks) < 4:
            assert send_for_all(client, REPEATED[0]) == USERS
        one.calls.clear()
        two.calls.clear()
        assert send_for_all(client, REPEATED[0]) == USERS
        assert one.calls
        assert two.calls
        two.is_ready = True
        while one.calls:
            one.calls.clear()
            assert send_for_all(client, REPEATED[0]) == USERS


def count_calls(server: Server) -> int:
    """How many decisions were asked of a service, and rewards sent to it."""
    pattern = r'^bandstand_request_seconds_count\{method="POST",route="/(?:score|reward)",status="200"\} (\S+)$'
    counts: list[str] = re.findall(pattern, httpx.get(f"{server.url}/metrics").text, re.MULTILINE)
    return sum(int(float(count)) for count in counts)


def decide(client: httpx.Client, user: str, decision_id: str) -> None:
    """Score and reward once, as a program does that repeats nothing by itself."""
    scored = client.post("/score", json={"user_id": user, "decision_id": decision_id, "candidates": TWO})
    assert scored.status_code == 200, scored.text
    headers = {"x-bandstand-user": user, "idempotency-key": decision_id}
    rewarded = client.post("/reward", json={"decision_id": decision_id, "reward": 0.5}, headers=headers)
    assert rewarded.status_code == 200, rewarded.text


@pytest.mark.slow
def test_a_user_is_one_service_s_until_that_is_killed_which_no_caller_sees(tmp_path: Path) -> None:
    with ExitStack() as opened:
        url = opened.enter_context(run_law_server())
        one, two = (opened.enter_context(start_server(tmp_path / name, STATE_URL=url)) for name in ("one", "two"))
        client = opened.enter_context(run_balancer(one.port, two.port))
        by_one = dict.fromkeys(USERS, 0)
        for number in range(2):
            for user in USERS:
                before = count_calls(one)
                decide(client, user, f"{user}-{number}")
                by_one[user] += count_calls(one) - before
        assert set(by_one.values()) == {0, 4}, "a user's decisions and rewards are all its, or none is"
        assert count_calls(one) + count_calls(two) == 4 * len(USERS), "none was sent twice"
        one.kill()
        for user in USERS:
            decide(client, user, f"{user}-killed")
        assert two.terminate() == 0
        assert client.get("/ready").status_code == 503
