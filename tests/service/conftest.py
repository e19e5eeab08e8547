"""Every use case is tried over both stores."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.service.given import Make, Service, in_memory, on_disk


@pytest.fixture(params=[in_memory, on_disk], ids=["memory", "embedded"])
def make(request: pytest.FixtureRequest) -> Make:
    chosen: Make = request.param
    return chosen


@pytest.fixture
async def service(make: Make, tmp_path: Path) -> AsyncIterator[Service]:
    service = Service(make(tmp_path))
    store = service.deployment.store
    await store.open()
    yield service
    await service.deployment.store.close()
    await store.close()  # a test may have put another in its place
