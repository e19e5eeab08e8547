"""The store of many processes keeps every promise of the protocol itself."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from bandstand.errors import ConfigurationError, StorageUnavailableError
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.connections import Channel, ConnectionPool, Work
from bandstand.store.postgres.group_lane import GroupLane
from bandstand.store.postgres.store import SharedStore
from bandstand.store.protocol import Store
from tests.store.given import CATALOGUE, Subject, assert_same
from tests.store.postgres.shared import make_shared, run_law_server

T = TypeVar("T")


def test_no_promise_of_the_protocol_is_left_to_the_protocol() -> None:
    promised = {name for name in dir(Store) if not name.startswith("_")}
    own = [vars(each) for each in SharedStore.__mro__ if not getattr(each, "_is_protocol", False)]
    assert promised - {"secret"} <= set().union(*own), "what cannot be kept is to be refused in a sentence"


@pytest.mark.parametrize("host", ["/nonexistent", "127.0.0.1:1"])
async def test_a_database_that_is_not_there_ends_the_start_with_a_sentence_without_its_secrets(host: str) -> None:
    place = f"@{host}/ledger" if ":" in host else f"@/ledger?host={host}"
    store = SharedStore(LedgerAddress.parse(f"postgresql://someone:s3cret{place}"), CATALOGUE)
    with pytest.raises(ConfigurationError, match="cannot be reached") as refused:
        await store.open()
    assert "s3cret" not in refused.value.detail
    assert refused.value.__cause__ is None
    assert store.status().state == "failed"
    await store.close()


class _EndlessPool(ConnectionPool):
    """A pool that reaches no database, and so has a channel for everybody."""

    def __init__(self) -> None:
        super().__init__(LedgerAddress.parse("postgresql://nowhere/ledger"), 1, durable=False)

    async def run(self, work: Work[T], **_: bool) -> T:
        return await work(Channel(None, 0), 0)


async def test_what_comes_as_a_group_has_just_been_sent_is_sent_too() -> None:
    sent: list[int] = []

    async def send(_: Channel, events: list[int], tries: int) -> list[int]:
        sent.extend(events)
        return events

    lane = GroupLane(_EndlessPool(), send, workers=1, max_pending=10, observe=lambda *_: None, on_error=lambda _: None)
    first = lane.submit(0)
    first.add_done_callback(lambda _: following.append(lane.submit(1)))
    following: list[asyncio.Future[int]] = []
    async with asyncio.timeout(60):
        assert await first == 0
        for number in range(2, 50):  # whichever turn of the loop the lane's task ends in
            await asyncio.sleep(0)
            assert await lane.submit(number) == number
        assert await following[0] == 1
    assert sorted(sent) == list(range(50))
    await lane.close()


async def test_events_of_one_key_wait_for_their_group_and_hold_up_nobody_else() -> None:
    groups: list[list[int]] = []
    gates = [asyncio.Event() for _ in range(3)]

    async def send(_: Channel, events: list[int], tries: int) -> list[int]:
        groups.append(events)
        await gates[len(groups) - 1].wait()
        if events == [1]:
            raise ValueError
        return events

    lane = GroupLane(
        _EndlessPool(),
        send,
        workers=2,
        max_pending=10,
        observe=lambda *_: None,
        on_error=lambda _: None,
        get_key=lambda number: number % 2,
    )

    async def submit(*numbers: int) -> list[asyncio.Future[int]]:
        futures = [lane.submit(number) for number in numbers]
        for _ in range(3):  # the task begins, gathers its neighbours, and sends
            await asyncio.sleep(0)
        return futures

    (odd,) = await submit(1)
    later = await submit(3, 5, 2, 7)
    assert groups == [[1], [2]]
    later += await submit(4, 9)
    assert groups == [[1], [2]]
    gates[0].set()
    async with asyncio.timeout(60):
        with pytest.raises(StorageUnavailableError):
            await odd
        await submit()
        assert groups == [[1], [2], [3, 5, 7, 9]], "though the one before failed, and in the order that they came in"
        for gate in gates[1:]:
            gate.set()
        gates.append(gates[-1])
        assert await asyncio.gather(*later) == [3, 5, 2, 7, 4, 9]
    assert groups[3:] == [[4]]
    await lane.close()


class HeldReads:
    """Answers of a ledger that are given out when they are let go."""

    def __init__(self, pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_holding = False
        self._run = pool.run
        self._gates: list[asyncio.Event] = []
        monkeypatch.setattr(pool, "run", self._hold)

    async def hold(self, read: Coroutine[Any, Any, T]) -> tuple[asyncio.Task[T], asyncio.Event]:
        """Begin to read, up to the answer; returns what is read, once the gate is opened."""
        self.is_holding, known = True, len(self._gates)
        task = asyncio.ensure_future(read)
        async with asyncio.timeout(60):
            while len(self._gates) == known:  # noqa: ASYNC110 (a database answers)
                await asyncio.sleep(0.001)
        self.is_holding = False
        return task, self._gates[-1]

    async def _hold(self, work: Work[Any], *, is_long: bool = False) -> Any:
        found = await self._run(work, is_long=is_long)
        if self.is_holding:
            self._gates.append(gate := asyncio.Event())
            await gate.wait()
        return found


async def test_no_event_is_passed_over_by_a_read_that_an_older_one_overtakes(monkeypatch: pytest.MonkeyPatch) -> None:
    with run_law_server() as url:
        async with Subject(make_shared(url)) as subject, Subject(make_shared(url), 2) as other:
            store = subject.store
            assert isinstance(store, SharedStore)
            users, reads = store.ledger.users, HeldReads(store.ledger.readers, monkeypatch)
            await other.reward(await other.decide("ada"), 0.5)
            older, let_older = await reads.hold(store.load_profile("ada"))
            await other.reward(await other.decide("ada"), 0.5)
            await store.load_profile("ada")
            await other.reward(await other.decide("ada"), 0.5)
            newer, let_newer = await reads.hold(store.load_profile("ada"))
            users.drop("ada")
            let_older.set()
            await older
            let_newer.set()
            assert_same(await newer, await other.store.load_profile("ada"))
