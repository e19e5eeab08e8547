"""What the tests that move a ledger share: its history, made once, and a server."""

from collections.abc import Iterator

import pytest
import pytest_asyncio

from tests.store.maintenance.moved_history import History
from tests.store.postgres.shared import run_law_server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """A closed state directory with a history; tests work on copies."""
    made = History(tmp_path_factory.mktemp("moved") / "state")
    await made.make()
    return made


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """The URL of a ledger on a server; what an earlier test left there stands until a test drops it."""
    with run_law_server() as url:
        yield url
