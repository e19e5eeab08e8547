"""Whatever is sent, nothing fails and nothing hangs; the full number of requests is sent to a process of its own."""

import asyncio
import http.client
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.api.fuzz import Sent, Stranger
from tests.api.given import Service, read_ok
from tests.contract.server import start_server

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text(encoding="utf-8"))
IN_SHORT = 800
IN_FULL = int(os.environ.get("FUZZ_REQUESTS", "20000"))
HANGS_AFTER_S = 60.0


def check(sent: Sent, status: int, body: bytes) -> Any:
    """Hold an answer to the little that is true of all."""
    assert 200 <= status < 500, (sent, status, body[:500])
    try:
        answer: Any = json.loads(body) if body[:1] in b"{[" and body else None
    except ValueError:
        return None  # of a page, or of metrics
    if status >= 400:
        assert answer["status"] == status, (sent, body[:500])
    return answer


async def test_a_stranger_meets_no_failure(service: Service) -> None:
    stranger = Stranger(DOCUMENT, seed=1)
    statuses: dict[int, int] = {}
    for _ in range(IN_SHORT):
        sent = stranger.make()
        async with asyncio.timeout(HANGS_AFTER_S):
            answer = await service.raw(sent.method, sent.target, headers=sent.headers, body=[sent.body])
        stranger.note(check(sent, answer.status, answer.body))
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
    assert statuses[200] > IN_SHORT / 5, statuses
    assert statuses[422] > IN_SHORT / 10, statuses
    assert read_ok(await service.get("/health"))["ok"] is True
    assert read_ok(await service.get("/stats"))["decisions"] > 0


@pytest.mark.slow
@pytest.mark.longest
def test_twenty_thousand_requests_of_strangers_meet_no_failure(tmp_path: Path) -> None:
    with start_server(tmp_path / "state", DURABILITY="process") as server:
        stranger = Stranger(DOCUMENT, seed=2)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=HANGS_AFTER_S)
        for _ in range(IN_FULL):
            sent = stranger.make()
            status, body = exchange(connection, sent)
            stranger.note(check(sent, status, body))
        status, body = exchange(connection, Sent("GET", b"/health", [], b""))
        assert (status, json.loads(body)["ok"]) == (200, True)
        connection.close()


def exchange(connection: http.client.HTTPConnection, sent: Sent) -> tuple[int, bytes]:
    connection.putrequest(sent.method, sent.target.decode("ascii"), skip_accept_encoding=True)
    for name, value in sent.headers:
        connection.putheader(name.decode(), value)
    connection.putheader("content-length", str(len(sent.body)))
    connection.endheaders(sent.body)
    response = connection.getresponse()
    return response.status, response.read()
