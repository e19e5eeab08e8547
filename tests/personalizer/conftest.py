"""Fixtures of the tests of Personalizer's wire."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.api.conftest import _logs_as_served
from tests.api.given import Service, run_service
from tests.personalizer.given import OPEN

__all__ = ["_logs_as_served"]


@pytest.fixture(scope="session")
def open_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The deployment's own file."""
    path = tmp_path_factory.mktemp("config") / "bandstand.toml"
    path.write_text(OPEN, encoding="utf-8")
    return path


@pytest.fixture
async def service(tmp_path: Path, open_config: Path) -> AsyncIterator[Service]:
    """A service without keys, whose policy reads any JSON."""
    async with run_service(tmp_path / "state", bandstand_config=open_config, active_policy="open-egreedy") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory, open_config: Path) -> AsyncIterator[Service]:
    """The same, one for all tests of a module; theirs must be the module's loop."""
    state = tmp_path_factory.mktemp("shared")
    async with run_service(state, bandstand_config=open_config, active_policy="open-egreedy") as running:
        yield running
