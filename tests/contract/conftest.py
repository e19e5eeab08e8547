"""Fixtures of the tests of the wire."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.given import Service, serving


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """A service without keys, with the settings that ship."""
    async with serving(tmp_path / "state") as running:
        yield running


@pytest.fixture
async def v1(tmp_path: Path) -> AsyncIterator[Service]:
    """A service pinned to the contract's own policy."""
    async with serving(tmp_path / "v1", active_policy="linucb-v1") as running:
        yield running
