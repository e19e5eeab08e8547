"""One service for all tests, and the four clients that the laws hold for."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import pytest
from bandstand_client import AsyncBandstand, Bandstand
from bandstand_client.testing import FakeBandstand
from client_support.blocking import Blocking
from client_support.server import Server, start_server

_NUMBERS = itertools.count(1)
_PATIENT_S = 30.0  # the machine may be busy, and these tests are about other things


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service, served."""
    with start_server(tmp_path_factory.mktemp("client") / "state") as started:
        yield started


@pytest.fixture
def user() -> str:
    """A user whom nobody met."""
    return f"user-{next(_NUMBERS)}"


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """An event loop."""
    with asyncio.Runner() as started:
        yield started


class Service(NamedTuple):
    """A service, served or faked, and how a client of it is made."""

    kind: Literal["fake", "served"]
    build: Callable[..., Any]


@pytest.fixture(params=["fake", "served", "fake async", "served async"])
def service(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Service]:
    """Each of the two services, by each of the two clients."""
    kind, _, is_async = request.param.partition(" ")
    fake = FakeBandstand()
    made: list[Any] = []

    def build(**options: Any) -> Any:
        options = {"score_deadline": _PATIENT_S, "deadline": _PATIENT_S, **options}
        client: Any
        if kind == "fake":
            client = fake.build_async_client(**options) if is_async else fake.build_client(**options)
        else:
            url = request.getfixturevalue("server").url
            client = AsyncBandstand(url, **options) if is_async else Bandstand(url, **options)
        made.append(client)
        return Blocking(client, runner) if is_async else client

    yield Service("fake" if kind == "fake" else "served", build)
    for client in made:
        if isinstance(client, AsyncBandstand):
            runner.run(client.aclose())
        else:
            client.close()


@pytest.fixture
def client(service: Service) -> Any:
    """A client of each."""
    return service.build()
