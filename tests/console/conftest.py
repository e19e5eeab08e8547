"""Fixtures of the tests of the console."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.console.given import Person, visit_console


@pytest.fixture
async def person(tmp_path: Path) -> AsyncIterator[Person]:
    """Somebody at the console of a service without keys."""
    async with visit_console(tmp_path / "state") as visitor:
        yield visitor
