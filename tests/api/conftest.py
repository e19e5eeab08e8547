"""Fixtures of the tests of the wire."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from bandstand.api.asgi.logs import configure_logging
from tests.api.given import Service, run_service


@pytest.fixture(autouse=True)
def _logs_as_served() -> Iterator[None]:
    """Log as the command does; structlog's own default would write down every local variable."""
    handlers, level, config = logging.root.handlers, logging.root.level, structlog.get_config()
    configure_logging("info")
    yield
    structlog.configure(**config)
    logging.root.handlers = handlers
    logging.root.setLevel(level)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """A service without keys, with the settings that ship."""
    async with run_service(tmp_path / "state") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """The same, one for all tests of a module, for requests that leave no trace; theirs must be the module's loop."""
    async with run_service(tmp_path_factory.mktemp("shared")) as running:
        yield running


@pytest.fixture
async def v1(tmp_path: Path) -> AsyncIterator[Service]:
    """A service pinned to the contract's own policy."""
    async with run_service(tmp_path / "v1", active_policy="linucb-v1") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_v1(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """The same, one for all tests of a module that leave nothing behind which another counts."""
    async with run_service(tmp_path_factory.mktemp("shared-v1"), active_policy="linucb-v1") as running:
        yield running
