"""Stores over one PostgreSQL for the laws: one store, or two that take turns with every call."""

import asyncio
import inspect
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import asyncpg
import pytest

from bandstand.bandit.profile import Profile
from bandstand.store.ids import format_id, get_nonce
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.connections import ConnectionPool
from bandstand.store.postgres.ledger import SharedStoreOptions
from bandstand.store.postgres.store import SharedStore
from bandstand.store.protocol import Store
from bandstand.store.records import AcceptedReward, Decision, Reward, StoreStatus, UnreadReward
from bandstand.testing.postgres_server import QUICK_SETTINGS, PostgresServer, find_programs, run_server
from tests.store.given import CATALOGUE, Clock, MakeStore, Subject
from tests.store.postgres.shared_checks import SharedSubjects

_KEPT = ("meta", "delays", "policies", "schemas")
"""Tables that hold nothing of what happened."""


@contextmanager
def run_test_server(settings: dict[str, str] | None = None, *, network: str | None = None) -> Iterator[PostgresServer]:
    """A server for the block, in a network namespace if one is named.

    Where there is none to run the test is skipped, and in CI it fails.
    """
    if find_programs() is None:
        assert not os.environ.get("CI"), "CI must have PostgreSQL: make databases"
        pytest.skip("PostgreSQL is not installed: make databases")
    with run_server(settings, network=network) as server:
        yield server


@contextmanager
def run_law_server() -> Iterator[str]:
    """A quick server for laws; the URL of a ledger on it."""
    with run_test_server(QUICK_SETTINGS) as server:
        yield server.build_url()


class KeptSession:
    """A connection that whoever closes it leaves to the next, with all the statements that it has planned."""

    def __init__(self, session: Any, kept: list[Any]) -> None:
        self.is_sound = False
        """Whether it is none the worse for what it is ended for."""
        self._session = session
        self._kept = kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def close(self, **_: Any) -> None:
        self._kept.append(self._session)

    def terminate(self) -> None:
        if self.is_sound:
            self._kept.append(self._session)
        else:
            self._session.terminate()


@asynccontextmanager
async def keep_sessions() -> AsyncIterator[None]:
    """Hand the connections of stores on from one to the next for the block, which is of one loop."""
    connect, kept = ConnectionPool.connect, defaultdict[str, list[Any]](list)

    async def take(pool: ConnectionPool) -> Any:
        alike = kept[f"{pool._address.dsn} {pool._build_settings()}"]  # noqa: SLF001 (what a session is made of)
        while alike:
            session = alike.pop()
            if not session.is_closed():
                return KeptSession(session, alike)
        return KeptSession(await connect(pool), alike)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ConnectionPool, "connect", take)
        yield
    for session in (each for alike in kept.values() for each in alike):
        await session.close()


async def empty_ledger(url: str, schema: str = "bandstand") -> None:
    """Let a ledger forget everything that happened, if it is there."""
    session = await asyncpg.connect(LedgerAddress.parse(url).dsn)
    try:
        tables = [
            row[0]
            for row in await session.fetch(
                """SELECT tablename FROM pg_tables WHERE schemaname = $1 AND tablename <> ALL ($2::text[])
                AND tablename NOT IN ('slots', 'deployment', 'followers', 'decisions_rest')""",
                schema,
                list(_KEPT),
            )
        ]
        if not tables:
            return
        await session.execute(f"SET search_path TO {schema}")
        statements = [f"DELETE FROM {table}" for table in tables]  # noqa: S608 (names from the catalogue)
        statements += ["UPDATE slots SET holder = NULL, until = NULL, last_seq = 0"]
        statements += ["UPDATE deployment SET epoch = epoch + 1, shadow_set = 0"]
        statements += ["UPDATE followers SET seq = 0"]
        await session.execute(";".join(statements))
    finally:
        await session.close()


def make_shared(url: str, durability: str = "full", *, may_lead: bool = False) -> MakeStore:
    """Make stores over one ledger."""
    options = SharedStoreOptions(
        durability=durability, retention_days=90.0, turn_retention_days=30.0, settle_seconds=0.0, may_lead=may_lead
    )
    return lambda clock: SharedStore(LedgerAddress.parse(url), CATALOGUE, options=options, clock=clock)


class AlternatingStore:
    """Two stores over one ledger, as two processes have them: every call goes to the other one.

    A decision is numbered by the store that is to log it, after its user was loaded there.
    """

    def __init__(self, first: SharedStore, second: SharedStore) -> None:
        self._stores = (first, second)
        self._turn = 0

    def _take_turn(self) -> SharedStore:
        self._turn = 1 - self._turn
        return self._stores[self._turn]

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._stores[0], name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def call(*arguments: Any, **named: Any) -> Any:
            return await getattr(self._take_turn(), name)(*arguments, **named)

        return call

    @property
    def both(self) -> tuple[SharedStore, SharedStore]:
        """The two."""
        return self._stores

    @property
    def secret(self) -> bytes:
        return self._stores[0].secret

    async def open(self) -> None:
        for store in self._stores:
            await store.open()

    async def close(self) -> None:
        for store in self._stores:
            await store.close()

    def status(self) -> StoreStatus:
        status = self._stores[self._turn].status()
        status.warm_users = max(store.status().warm_users for store in self._stores)
        return status

    def get_cached_profile(self, user_id: str) -> Profile | None:
        return self._stores[self._turn].get_cached_profile(user_id)

    def next_seq(self, ts: float) -> int:
        return self._stores[self._turn].next_seq(ts)

    def decide(self, decision: Decision) -> Awaitable[Decision]:
        return self._decide(decision)

    async def _decide(self, decision: Decision) -> Decision:
        store = self._take_turn()
        await store.load_profile(decision.user_id)
        decision.seq = store.next_seq(decision.ts)
        if not decision.own_id:
            decision.decision_id = format_id(decision.seq, get_nonce(decision.decision_id))
        return await store.decide(decision)

    async def decide_together(self, decisions: Sequence[Decision]) -> bool:
        store = self._take_turn()
        await store.load_profile(decisions[0].user_id)
        for each in decisions:
            each.seq = store.next_seq(each.ts)
        return await store.decide_together(decisions)

    def reward(self, reward: Reward, decision: Decision | None = None) -> Awaitable[AcceptedReward]:
        return self._reward(reward)

    async def _reward(self, reward: Reward) -> AcceptedReward:
        store = self._take_turn()
        if reward.decision_id is not None and store.get_cached_decision(reward.decision_id) is None:
            decision = await self._stores[1 - self._turn].find_receipt(reward.decision_id)
            is_its = decision is not None and decision.policy == reward.policy
            if is_its and (accepted := await _reward_unread(store, reward)) is not None:
                return accepted
            await store.find_decision(reward.decision_id)
        return await store.reward(reward)

    async def load_shadows(self, *arguments: Any) -> Any:
        await self._settle_shadows()
        return await self._take_turn().load_shadows(*arguments)

    async def load_shadow_sums(self) -> Any:
        await self._settle_shadows()
        return await self._take_turn().load_shadow_sums()

    def log_shadows(self, *arguments: Any) -> None:
        self._take_turn().log_shadows(*arguments)

    async def _settle_shadows(self) -> None:
        for store in self._stores:
            await store._deployment.close()  # noqa: SLF001 (nobody else waits for what a process has yet to log)


async def _reward_unread(store: SharedStore, reward: Reward) -> AcceptedReward | None:
    """Log a reward as the service does, whose process has not read the decision."""
    plain = reward.source == "client" and reward.weight == 1.0 and reward.applied
    if reward.settings is not None or reward.part is not None or not plain:
        return None
    return await store.reward_unread(
        UnreadReward(
            decision_id=reward.decision_id or "",
            value=reward.value,
            client=reward.client,
            ts=reward.ts,
            body_hash=reward.body_hash,
            user_id=reward.user_id,
            tip_id=reward.tip_id,
            idempotency=reward.idempotency,
            reaction=reward.reaction,
        )
    )


def make_alternating(url: str, durability: str = "full", *, may_lead: bool = False) -> MakeStore:
    """Make pairs of stores over one ledger."""
    shared = make_shared(url, durability, may_lead=may_lead)
    make: Callable[[Clock], SharedStore] = cast("Callable[[Clock], SharedStore]", shared)
    return lambda clock: cast("Store", AlternatingStore(make(clock), make(clock)))


async def check_shared_law(
    url: str, law: Callable[[SharedSubjects], Awaitable[Any]], direct: str | None = None
) -> None:
    """Hold a law of two stores over an emptied ledger; ``direct`` is its URL past a pooler, where one is between."""
    direct = direct or url
    await empty_ledger(direct)
    session = await asyncpg.connect(LedgerAddress.parse(direct).dsn, server_settings={"search_path": "bandstand"})
    try:
        subjects = SharedSubjects(lambda seed: Subject(make_shared(url), seed), session)
        async with subjects.first, subjects.second:
            await law(subjects)
    finally:
        await session.close()


async def wait_for_waiter(session: Any) -> None:
    """Wait until some session waits for a lock of another's."""
    waiters = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    while not await session.fetchval(waiters):  # noqa: ASYNC110 (only the server knows)
        await asyncio.sleep(0.01)
