"""What importing the client brings along, and what it does not."""

import json

from client_support.programs import run_program

SLOW = {"asyncio", "anyio", "httpcore", "sqlite3", "opentelemetry"}


def find_imported(program: str) -> set[str]:
    """The modules that a program has loaded at its end."""
    text = f"{program}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    return set(json.loads(run_program(text)))


def test_the_import_brings_nothing_slow_that_httpx_does_not() -> None:
    extra = find_imported("import bandstand_client") - find_imported("import httpx")
    assert not extra & SLOW
    assert not {name for name in extra if name.startswith("bandstand_client.answers.")}


def test_a_score_needs_no_answers_of_operators() -> None:
    program = """
from bandstand_client import Bandstand
import httpx
client = Bandstand("http://fake", transport=httpx.MockTransport(lambda request: httpx.Response(500)))
client.score("ada", ["tea"])
"""
    assert "bandstand_client.answers" not in find_imported(program)


def test_lazy_names_are_there_and_others_are_not() -> None:
    import bandstand_client  # noqa: PLC0415 (after the processes above)
    from bandstand_client import answers  # noqa: PLC0415 (the same)

    for package in (bandstand_client, answers):
        assert all(getattr(package, name) for name in package.__all__)
        assert not hasattr(package, "no_such_name")
