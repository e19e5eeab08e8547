"""No environment variable makes the framework tell others whom a service serves."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.contract.server import connect_to, start_server

USER = "ada-lovelace-c4n4ry"
TELEMETRY_ON = {
    "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
    "ANTHROPIC_OPEN_TELEMETRY": "true",
    "OTEL_METRIC_EXPORT_INTERVAL": "100",
    "OTEL_BSP_SCHEDULE_DELAY": "100",
    "OTEL_BLRP_SCHEDULE_DELAY": "100",
}
FRAMEWORK_ALONE = f"""
from fastapi import FastAPI
from fastapi.testclient import TestClient
app = FastAPI()
app.get("/stats/{{user_id}}")(lambda user_id: user_id)
with TestClient(app) as client:
    client.get("/stats/{USER}?prefix={USER}")
"""


class Collector:
    """An OTLP endpoint on loopback that keeps every byte it is sent."""

    def __init__(self, url: str) -> None:
        self.received: list[bytes] = []
        self.settings = TELEMETRY_ON | {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}


@contextmanager
def run_collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it so)
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield collector
        server.shutdown()
        thread.join()


def test_the_framework_by_itself_would_export_the_user() -> None:
    with run_collector() as collector:
        words = [sys.executable, "-c", FRAMEWORK_ALONE]
        subprocess.run(words, env=os.environ | collector.settings, check=True, timeout=120)
    assert USER.encode() in b"".join(collector.received)


async def test_a_service_in_the_same_environment_exports_nothing(tmp_path: Path) -> None:
    candidates = [{"id": "tip", "content": USER, "source": "task", "features": {}}]
    with run_collector() as collector, start_server(tmp_path, **collector.settings) as server:
        async with connect_to(server.port) as connection:
            assert (await connection.send_request("POST", "/score", {"user_id": USER, "candidates": candidates}))[
                0
            ] == 200
            assert (await connection.send_request("GET", f"/stats/{USER}"))[0] == 200
            assert (await connection.send_request("GET", f"/features?user_id={USER}&wrong={USER}"))[0] in {200, 422}
        assert server.terminate() == 0
    assert collector.received == []
