"""Fixtures of the tests of the console."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.console.given import Person, visiting


@pytest.fixture
async def person(tmp_path: Path) -> AsyncIterator[Person]:
    """Somebody at the console of a service without keys."""
    async with visiting(tmp_path / "state") as visitor:
        yield visitor
