"""The published clients of Azure Personalizer, unchanged, against the served process over real HTTP.

`make personalizer` installs them; without them, or without Node.js, these tests are skipped, and in CI they fail.
"""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.contract.server import Server, start_server
from tests.personalizer.given import LOOP
from tests.project.checkout import ROOT

pytestmark = pytest.mark.slow

CLIENTS = ROOT / ".venv-personalizer"
SCRIPTS = Path(__file__).parent / "sdk"
KEY, BOUND_KEY = "0ps-s3cret", "m3nu-s3cret"
UNKNOWN_KEY = [401, "401"]
_SECONDS = 180


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service whose default loop reads any JSON, another loop, a key for all loops and one that is bound to it."""
    folder = tmp_path_factory.mktemp("personalizer")
    config = folder / "bandstand.toml"
    config.write_text(
        _to_toml({"loops": {"menu": LOOP}, "schemas": LOOP["schemas"], "policies": LOOP["policies"]}), encoding="utf-8"
    )
    keys = f"ops:admin:{KEY},menu@menu:admin:{BOUND_KEY}"
    with start_server(folder / "state", BANDSTAND_CONFIG=str(config), API_KEYS=keys, ACTIVE_POLICY="menu") as running:
        yield running


def _to_toml(tables: dict[str, Any]) -> str:
    """Tables as TOML: JSON's values are TOML's too, but for objects."""

    def render(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{json.dumps(name)} = {render(each)}" for name, each in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(render, value)) + "]"
        return json.dumps(value)

    return "".join(f"{name} = {render(each)}\n" for name, each in tables.items())


def run_client(script: str, key: str, *endpoints: str) -> list[dict[str, Any]]:
    """What a script of one client met at each endpoint."""
    interpreter = CLIENTS / "bin" / "python" if script.endswith(".py") else shutil.which("node")
    if interpreter is None or not Path(interpreter).exists() or not (CLIENTS / ".installed").exists():
        missing = "Personalizer's clients are not installed: run `make personalizer`"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    done = subprocess.run(
        [str(interpreter), str(SCRIPTS / script), key, *endpoints],
        env={"PATH": os.environ["PATH"], "NODE_PATH": str(CLIENTS / "node_modules"), "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return list(json.loads(done.stdout))


def test_track_1_of_python(server: Server) -> None:
    base = f"http://127.0.0.1:{server.port}"
    prefixed = run_client("track1.py", KEY, f"{base}/loops/menu", f"{base}/loops/menu/")
    bound = run_client("track1.py", BOUND_KEY, base, f"{base}/")
    for met in (*prefixed, *bound):
        assert met["ranking"] == [["pasta", 0.0], ["ice cream", 1.0]]
        assert (met["event_id"], met["chosen"]) == ("ev 1/ä?é", "ice cream")
        assert met["plain"] in {"pasta", "ice cream"}
        assert met["401"][:2] == UNKNOWN_KEY
        assert met["400"][:2] == [400, "InvalidRankRequest"]
        assert "actions" in met["400"][2]
        assert met["400 reward"][0] == 400
        assert all(met[call] is None for call in ("reward", "activate", "unknown"))


def test_track_2_of_python(server: Server) -> None:
    base = f"http://127.0.0.1:{server.port}"
    for met in run_client("track2.py", KEY, f"{base}/loops/menu/", f"{base}/"):
        check_track_2(met)


def check_track_2(met: dict[str, Any]) -> None:
    assert (met["event_id"], met["slots"]) == ("ev 2/ä?é", ["s"])
    assert (met["wait"], met["exploration"]) == ("PT10M", 0.1)
    assert met["policy"] == met["policy again"] == "p"
    assert met["reset"].startswith("--cb_explore_adf --epsilon 0.2 ")
    assert all(met[call] is None for call in ("reward", "activate", "reward slots", "activate slots"))
    evaluation = met["evaluation"]
    assert (evaluation["status"], evaluation["applied"]) == ("Succeeded", "OptimalPolicyApplied")
    assert evaluation["sources"] == ["Online", "Baseline", "Random", "Custom"]
    assert evaluation["online"]["ipsEstimatorDenominator"] >= 2
    assert evaluation["listed"] == ["mine"]
    assert evaluation["gone"] == [404, "EvaluationNotFound"]
    assert (met["logs"], met["model properties"]) == (["from", "to"], ["creationTime", "lastModifiedTime"])
    assert met["model"] is None
    assert all(1 <= hours <= 2 for hours in evaluation["hours"])
    assert {"x", "time^x"} <= set(evaluation["features"])
    assert evaluation["importances"] == ["which"]
    assert met["401"] == UNKNOWN_KEY
    assert met["400"] == [400, "InvalidRankRequest"]
    assert met["400 policy"] == [400, "InvalidPolicyConfiguration"]


def test_track_1_of_javascript(server: Server) -> None:
    """It loses all of a path in its endpoint: a bound key is how it names a loop."""
    base = f"http://127.0.0.1:{server.port}"
    for met in run_client("track1.js", BOUND_KEY, base, f"{base}/"):
        assert met["ranking"] == [["pasta", 0.0], ["ice cream", 1.0]]
        assert (met["event_id"], met["chosen"]) == ("ev 3/ä?é", "ice cream")
        assert met["401"] == UNKNOWN_KEY
        assert met["400"] == [400, "InvalidRankRequest"]


def test_track_2_of_javascript(server: Server) -> None:
    (met,) = run_client("track2.js", KEY, f"http://127.0.0.1:{server.port}/loops/menu")
    assert met["rank"] == ["201", "ev 4/ä?é"]
    assert met["statuses"] == ["204", "204", "201", "204", "204", "200", "200", "200"]
    assert met["slots"] == ["s"]
    assert met["evaluation"] == {
        "created": "201",
        "location": True,
        "status": "completed",
        "sources": ["Online", "Baseline", "Random", "Custom"],
        "applied": "204",
        "after": "optimalPolicyApplied",
        "deleted": "204",
    }
    assert met["401"] == ["401", "401"]
    assert met["400"] == ["400", "InvalidRankRequest"]


# ── a service that is busy ────────────────────────────────────────────────────────────────────────────────────────────


class BusyThenServed(BaseHTTPRequestHandler):
    """Answers the first two rewards with 503, once the service has had the second: its answer was lost on the way."""

    protocol_version = "HTTP/1.1"
    port: ClassVar[int]
    seen: ClassVar[list[str | None]]

    def do_POST(self) -> None:
        from http.client import HTTPConnection  # noqa: PLC0415 (of the proxy alone)

        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        is_reward = self.path.split("?")[0].endswith("/reward")
        if is_reward:
            self.seen.append(self.headers.get("x-ms-client-request-id"))
        status, content = 503, b""
        if not is_reward or len(self.seen) > 1:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=_SECONDS)
            connection.request("POST", self.path, body, dict(self.headers))
            answer = connection.getresponse()
            status, content = answer.status, answer.read()
            connection.close()
        if is_reward and len(self.seen) < 3:
            status, content = 503, b""
        self.send_response(status)
        for name, value in (("content-type", "application/json"), ("content-length", str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_reward_that_is_sent_again_counts_once(server: Server) -> None:
    BusyThenServed.port, BusyThenServed.seen = server.port, []
    with ThreadingHTTPServer(("127.0.0.1", 0), BusyThenServed) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            (met,) = run_client("retries.py", KEY, f"http://127.0.0.1:{proxy.server_port}/loops/menu")
        finally:
            proxy.shutdown()
    assert met == {"reward": None}
    assert len(BusyThenServed.seen) == 3
    assert len(set(BusyThenServed.seen)) == 1, "the client says that it is one request"
