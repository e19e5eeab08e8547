"""The page shows what happens: its programs run, and print what they are shown to."""

import asyncio
import contextlib
import io
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import bandstand_client
import pytest
from bandstand_client import testing
from client_support.proxy import Plan, start_proxy
from client_support.server import Server, find_port

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "client.md"
README = Path(__file__).parents[1] / "README.md"
_BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_PATIENT_S = "30.0"
_KEY = "s3cret"


class Overloaded(BaseHTTPRequestHandler):
    """Answers as the service does when too much is waiting."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = b'{"type": "urn:bandstand:problem:overloaded", "status": 503, "detail": "Too much is waiting."}'
        self.send_response(503)
        self.send_header("retry-after", "1")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Say nothing."""


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A service that the page may kill."""
    server = Server(tmp_path / "state", API_KEYS=f"shop:admin:{_KEY}")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def overloaded() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Overloaded) as stub:
        Thread(target=stub.serve_forever, daemon=True).start()
        yield stub.server_address[1]
        stub.shutdown()


def find_programs(page: Path) -> list[tuple[str, str]]:
    """The programs of a page, each with what it prints."""
    return [(found[1], found[2] or "") for found in _BLOCK.finditer(page.read_text("utf-8"))]


@pytest.mark.skipif(not PAGE.exists(), reason="the page is not beside the client")
def test_the_page_prints_what_it_shows(
    own_server: Server, overloaded: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def restart() -> None:
        own_server.kill()
        own_server.start(wait=False)

    names: dict[str, Any] = {name: getattr(bandstand_client, name) for name in bandstand_client.__all__}
    names |= {"FakeBandstand": testing.FakeBandstand, "asyncio": asyncio, "restart_service": restart}
    programs = find_programs(PAGE)
    assert len(programs) == 13
    with start_proxy(own_server.port) as slow, contextlib.ExitStack() as clients:
        slow.plan = Plan(0, "stall")
        ports = {8000: own_server.port, 8001: find_port(), 8002: slow.port, 8003: overloaded}
        for program, shown in programs:
            text = re.sub(r"localhost:(\d+)", lambda found: f"127.0.0.1:{ports[int(found[1])]}", program)
            # On a busy machine the service takes longer than a product would wait; that is not what is shown here.
            text = text.replace('"s3cret")', f'"s3cret", score_deadline={_PATIENT_S}, deadline={_PATIENT_S})')
            text = text.replace("score_deadline=0.1", "score_deadline=5.0")
            printed = io.StringIO()
            with redirect_stdout(printed):
                exec(text, names)  # noqa: S102 (our own page)
            for value in list(names.values()):
                if isinstance(value, (bandstand_client.Bandstand, bandstand_client.Outbox)):
                    clients.callback(value.close)
            assert _ID.sub("…", printed.getvalue()) == shown, program


@pytest.mark.skipif(not PAGE.exists(), reason="the page is not beside the client")
def test_the_page_names_every_call() -> None:
    text = PAGE.read_text("utf-8")
    table = text[text.index("| calls |") : text.index("Answers are frozen")]
    named = set(re.findall(r"`(\w+)`", table))
    own = {"close", "send", "send_reward", "send_turn", "reset_after_fork", "counts", "breaker"}
    assert named == {name for name in dir(bandstand_client.Bandstand) if not name.startswith("_")} - own


def test_the_readme_s_program_runs(own_server: Server) -> None:
    ((program, _),) = find_programs(README)
    text = program.replace("127.0.0.1:8000", f"127.0.0.1:{own_server.port}")
    text = text.replace('"s3cret")', f'"s3cret", score_deadline={_PATIENT_S}, deadline={_PATIENT_S})')
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(text, names)  # noqa: S102 (our own page)
    names["client"].close()
    assert printed.getvalue().strip() in {"tea", "coffee"}
