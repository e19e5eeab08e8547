"""A commit that no longer waits for its standby can be read, and is acknowledged by nobody until a standby has it.

The server gives such a wait up where its administrator ends it, and where it starts again without the standby.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from bandstand.errors import StorageUnavailableError
from bandstand.store.postgres import connections
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.records import Decision, RewardWindow
from bandstand.testing.postgres_server import QUICK_SETTINGS
from tests.store.given import Subject
from tests.store.postgres.shared import make_shared, run_test_server
from tests.store.reward_checks import SUM

pytestmark = pytest.mark.slow

Ask = Callable[[Subject, Decision], Awaitable[Any]]

_OF_USER = "JOIN users USING (uid) WHERE user_id = $1"
ASKS: dict[str, tuple[Ask, str]] = {
    "a reward": (lambda subject, decision: subject.reward(decision), f"rewards {_OF_USER}"),
    "a reward with a key": (
        lambda subject, decision: subject.reward(decision, key=("a", "reward")),
        f"rewards {_OF_USER}",
    ),
    "a legacy reward": (
        lambda subject, decision: subject.reward_legacy(decision.user_id, key=("a", "legacy reward")),
        f"rewards {_OF_USER}",
    ),
    "a part": (
        lambda subject, decision: subject.reward(decision, settings=SUM, key=("a", "part")),
        f"reward_parts {_OF_USER}",
    ),
    "an activation": (
        lambda subject, decision: subject.store.activate(decision.decision_id, None, "tests"),
        f"windows {_OF_USER} AND NOT held",
    ),
    "a turn": (lambda subject, decision: subject.store.accept(subject.turn(decision)), f"judgements {_OF_USER}"),
    "a turn with a key": (
        lambda subject, decision: subject.store.accept(subject.turn(decision, key=("a", "turn"))),
        f"judgements {_OF_USER}",
    ),
    "a decision under an id of the caller's own": (
        lambda subject, decision: subject.decide(decision.user_id, own_id="mine"),
        f"decision_ids {_OF_USER}",
    ),
}
"""What is asked, and the rows of its user that say that it is there to be read."""


async def lose_standby(session: asyncpg.Connection) -> None:
    """Have every synced commit wait for a standby that never comes."""
    await session.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    await session.execute("SELECT pg_reload_conf()")
    while True:
        try:  # until the server has read it
            await session.execute("CREATE TABLE probe (); DROP TABLE probe", timeout=0.1)
        except TimeoutError:
            return


async def find_standby(session: asyncpg.Connection) -> None:
    """Have no commit wait for a standby any more, those that do neither."""
    await session.execute("ALTER SYSTEM RESET synchronous_standby_names")
    await session.execute("SELECT pg_reload_conf()")


async def give_up_waiting(session: asyncpg.Connection) -> None:
    """Let what waits for the standby be there all the same."""
    await session.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")


async def test_what_only_the_primary_has_is_acknowledged_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with run_test_server(QUICK_SETTINGS) as server:
        make = make_shared(server.build_url(), "strict")
        session = await asyncpg.connect(
            LedgerAddress.parse(server.build_url()).dsn, server_settings={"search_path": "bandstand"}
        )
        async with Subject(make) as first, Subject(make, seed=1) as second:
            held = RewardWindow(held=True)
            decisions = {
                name: await first.decide(name, window=held if name == "an activation" else None) for name in ASKS
            }
            for name in ASKS:
                await second.store.load_profile(name)
            await lose_standby(session)
            with monkeypatch.context() as patched:
                patched.setattr(connections, "_REQUEST_S", 0.3)
                patched.setattr(connections, "_STATEMENT_S", 0.2)
                for name, (ask, rows) in ASKS.items():
                    while not await session.fetchval(f"SELECT count(*) FROM {rows}", name):  # noqa: S608 (from above)
                        with pytest.raises(StorageUnavailableError):
                            await ask(first, decisions[name])
                        await give_up_waiting(session)
                    for subject in (second, first):
                        with pytest.raises(StorageUnavailableError):
                            await ask(subject, decisions[name])
            await find_standby(session)
            for name, (ask, rows) in ASKS.items():
                for subject in (second, first):
                    await ask(subject, decisions[name])
                assert await session.fetchval(f"SELECT count(*) FROM {rows}", name) == 1  # noqa: S608 (from above)
        await session.close()
