"""A trace goes on into the service where the product uses opentelemetry, and nothing happens where it does not."""

import sys
from collections.abc import MutableMapping
from types import ModuleType

import httpx
import pytest
from bandstand_client import Bandstand
from client_support.programs import run_program

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def ask(headers: list[httpx.Headers]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        headers.append(request.headers)
        return httpx.Response(200, json={"ready": True})

    Bandstand("http://fake", transport=httpx.MockTransport(answer)).ready()


def test_what_the_propagators_inject_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def inject(carrier: MutableMapping[str, str]) -> None:
        carrier["traceparent"] = TRACE

    package, propagate = ModuleType("opentelemetry"), ModuleType("opentelemetry.propagate")
    package.propagate = propagate  # type: ignore[attr-defined]
    propagate.inject = inject  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "opentelemetry", package)
    monkeypatch.setitem(sys.modules, "opentelemetry.propagate", propagate)
    headers: list[httpx.Headers] = []
    ask(headers)
    assert headers[0]["traceparent"] == TRACE


def test_without_it_nothing_is_sent_and_nothing_is_imported() -> None:
    program = """
import sys, httpx
from bandstand_client import Bandstand
seen = []
def answer(request):
    seen.append(request.headers)
    return httpx.Response(200, json={"ready": True})
Bandstand("http://fake", transport=httpx.MockTransport(answer)).ready()
print("traceparent" in seen[0], "opentelemetry" in sys.modules)
"""
    assert run_program(program) == "False False"


def test_the_real_propagators_are_spoken_to() -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    span = trace.NonRecordingSpan(
        trace.SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, True, trace.TraceFlags(1))
    )
    headers: list[httpx.Headers] = []
    with trace.use_span(span):
        ask(headers)
    assert headers[0]["traceparent"] == TRACE
