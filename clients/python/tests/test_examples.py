"""Every public name has a docstring with an example, and the examples print what they show: on the fake, and served."""

import asyncio
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import bandstand_client
import httpx
import pytest
from bandstand_client import AsyncBandstand, Bandstand, answers, testing
from bandstand_client.testing import FakeBandstand
from client_support.doctests import run_examples
from client_support.server import Server

_PATIENT_S = 30.0


def find_public() -> dict[str, Any]:
    """Public names of the packages that products import, and the public methods of their classes."""
    found: dict[str, Any] = {}
    for package in (bandstand_client, answers, testing):
        for name in package.__all__:
            value = getattr(package, name)
            if inspect.isclass(value):
                found[f"{package.__name__}.{name}"] = value
                for attribute, member in find_members(value):
                    found[f"{package.__name__}.{name}.{attribute}"] = member
    return found


def find_members(kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that this package wrote."""
    for name in dir(kind):
        member = getattr(kind, name)
        function = member.fget if isinstance(member, property) else inspect.unwrap(member)
        ours = inspect.isfunction(function) and function.__module__.startswith("bandstand_client")
        if ours and not name.startswith("_"):
            yield name, member


PUBLIC = find_public()
MODULES = [each.name for each in pkgutil.walk_packages(bandstand_client.__path__, "bandstand_client.")]


def find_docstrings() -> dict[str, str]:
    """All docstrings with examples: of public names, and of functions that modules share."""
    found = {name: inspect.getdoc(value) or "" for name, value in PUBLIC.items()}
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == module_name:
                found[f"{module_name}.{name}"] = inspect.getdoc(value) or ""
    return {name: text for name, text in found.items() if ">>>" in text}


DOCSTRINGS = find_docstrings()


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_has_a_docstring_with_an_example(name: str) -> None:
    assert ">>> " in (inspect.getdoc(PUBLIC[name]) or "")


def build_names(client: Bandstand | AsyncBandstand, where: str) -> dict[str, Any]:
    """What an example may use without saying where it is from."""
    fake = FakeBandstand()
    names: dict[str, Any] = {"client": client, "fake": fake, "fake_client": fake.build_client()}
    names |= {"FakeBandstand": FakeBandstand, "httpx": httpx}
    names.update((name, getattr(bandstand_client, name)) for name in bandstand_client.__all__)
    names.update(vars(importlib.import_module(where.rpartition(".")[0])) if where in FUNCTIONS else {})
    return names


FUNCTIONS = {name for name in DOCSTRINGS if name not in PUBLIC}


def is_async(name: str) -> bool:
    """Whether an example is for the client of event loops."""
    return "await " in DOCSTRINGS[name] or "async with" in DOCSTRINGS[name] or ".AsyncBandstand." in name


@pytest.mark.parametrize("name", sorted(DOCSTRINGS))
def test_examples_hold_on_the_fake(name: str, runner: asyncio.Runner) -> None:
    fake = FakeBandstand()
    client = fake.build_async_client() if is_async(name) else fake.build_client()
    assert run_examples(DOCSTRINGS[name], build_names(client, name), runner, name)


@pytest.mark.parametrize("name", sorted(name for name in DOCSTRINGS if "client." in DOCSTRINGS[name]))
def test_examples_hold_on_the_service(name: str, runner: asyncio.Runner, server: Server) -> None:
    with Bandstand(server.url, score_deadline=_PATIENT_S, deadline=_PATIENT_S) as operator:
        operator.erase("ada")
    if is_async(name):
        client = AsyncBandstand(server.url, score_deadline=_PATIENT_S, deadline=_PATIENT_S)
        run_examples(DOCSTRINGS[name], build_names(client, name), runner, name)
        runner.run(client.aclose())
    else:
        with Bandstand(server.url, score_deadline=_PATIENT_S, deadline=_PATIENT_S) as product:
            run_examples(DOCSTRINGS[name], build_names(product, name), runner, name)
