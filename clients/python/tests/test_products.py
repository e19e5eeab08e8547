"""The example products: each runs against the service, and goes on without it."""

import importlib.util
import io
import json
import os
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bandstand_client import Bandstand
from client_support.programs import run_program
from client_support.server import Server, find_port

EXAMPLES = Path(__file__).parents[3] / "examples" / "client"
TIPS = {"Drink a cup of tea.", "Send the tax return.", "Water the plants."}
pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="the examples are not beside the client")


def load(name: str) -> ModuleType:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_fastapi_product(server: Server, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi")
    testclient = pytest.importorskip("starlette.testclient")
    product = load("fastapi_product")
    monkeypatch.setenv("BANDSTAND_URL", server.url)
    with testclient.TestClient(product.app) as browser:
        browser.app.state.client._core.score_deadline_s = 30.0  # noqa: SLF001 (a busy machine is not what is tested)
        shown = browser.get("/", params={"user": user}).json()
        assert shown["tip"] in TIPS
        assert browser.post("/done", params={"decision": shown["decision"], "seconds": 45}).json() == {"kept": True}
    with Bandstand(server.url, deadline=30.0) as operator:
        assert operator.stats(user).cumulative_reward == 1.0

    monkeypatch.setenv("BANDSTAND_URL", f"http://127.0.0.1:{find_port()}")
    with testclient.TestClient(product.app) as browser:
        shown = browser.get("/", params={"user": user}).json()
        assert shown["tip"] == "Drink a cup of tea."
        assert shown["decision"].startswith("fallback-")
        assert browser.post("/done", params={"decision": shown["decision"], "seconds": 45}).json() == {"kept": True}


DJANGO = """
import os, sys, json, importlib.util
os.environ.update(BANDSTAND_URL=sys.argv[1], OUTBOX=sys.argv[2])
sys.path.insert(0, sys.argv[3])
import django_product as product
product.client._core.score_deadline_s = 30.0
from django.test import Client
browser = Client()
shown = browser.get("/", {"user": sys.argv[4]}).json()
kept = browser.post(f"/done?decision={shown['decision']}&seconds=45").json()
product.outbox.close(60.0)
print(json.dumps([shown["tip"], shown["decision"], kept, product.outbox.counts.delivered]))
"""


def test_the_django_product(server: Server, user: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("django") is None:
        pytest.skip("Django is not installed here; the test of a bare installation runs this with it")
    tip, _, kept, delivered = json.loads(
        run_program(DJANGO, server.url, str(tmp_path / "rewards.db"), str(EXAMPLES), user)
    )
    assert tip in TIPS
    assert (kept, delivered) == ({"kept": True}, 1)
    with Bandstand(server.url, deadline=30.0) as operator:
        assert operator.stats(user).cumulative_reward == 1.0
    gone = f"http://127.0.0.1:{find_port()}"
    shown = json.loads(run_program(DJANGO, gone, str(tmp_path / "other.db"), str(EXAMPLES), user))
    assert shown[0] == "Drink a cup of tea."
    assert shown[1].startswith("fallback-")


def test_the_notebook_prints_what_it_shows(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANDSTAND_URL", server.url)
    names: dict[str, Any] = {}
    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text("utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) == 5
    for cell in cells:
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec("".join(cell["source"]), names)  # noqa: S102 (our own notebook)
        shown = "".join(line for output in cell["outputs"] for line in output["text"])
        assert printed.getvalue() == shown
    assert os.environ["BANDSTAND_URL"] == server.url
