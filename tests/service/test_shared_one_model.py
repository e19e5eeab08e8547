"""One model for everybody over PostgreSQL: several processes teach it, and whoever is erased was never there."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

import pytest

from bandstand.bandit.loop_definition import EVERYBODY, LoopDefinition
from bandstand.bandit.profile import Profile
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.errors import UnknownDecisionError
from bandstand.service import users
from bandstand.service.history import load_history, load_receipt
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.console_queries import SharedConsoleQueries
from bandstand.store.postgres.ledger import SharedStoreOptions
from bandstand.store.postgres.store import SharedStore
from bandstand.store.records import LAST_SEQ
from bandstand.store.tables.shown import DecisionSearch
from tests.service.given import Service
from tests.service.one_model import ONE_MODEL, load_model, require_equal, teach
from tests.store.given import CATALOGUE, DAY
from tests.store.postgres.shared import keep_sessions, run_law_server

OPTIONS = SharedStoreOptions(has_one_model=True, retention_days=90.0, settle_seconds=0.0, may_lead=False)


class Open(Protocol):
    """Starts a process over a schema of that name."""

    async def __call__(self, name: str, definition: LoopDefinition = ONE_MODEL) -> Service: ...


SEQS_OF_ANNA = "SELECT s.seq FROM subjects AS s JOIN users AS u ON u.uid = s.uid WHERE u.user_id = 'anna'"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_law_server() as found:
        yield found


@pytest.fixture
async def open_service(url: str) -> AsyncIterator[Open]:
    """Starts a process over a schema of that name."""
    opened: list[Service] = []
    async with keep_sessions():

        async def start(name: str, definition: LoopDefinition = ONE_MODEL) -> Service:
            address = LedgerAddress.parse(url.replace("schema=bandstand", f"schema={name}"))
            service = Service(
                lambda clock: SharedStore(address, CATALOGUE, options=OPTIONS, clock=clock),
                definition=definition,
                shadow_policies=("thompson-v1",),
            )
            await service.deployment.store.open()
            await service.deployment.start()
            opened.append(service)
            return service

        yield start
        for service in opened:
            await service.deployment.store.close()


def get_store(service: Service) -> SharedStore:
    store = service.deployment.store
    assert isinstance(store, SharedStore)
    return store


async def run_query(service: Service, query: str, *values: Any) -> list[Any]:
    """Ask the ledger, past what is in memory."""
    return await get_store(service).ledger.writers.fetch(query, *values)


async def count_left(service: Service, uids: list[int], decisions: list[int]) -> dict[str, int]:
    """Rows that name somebody or hang on their decisions, by table and column."""
    query = """SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()
        AND column_name IN ('uid', 'decision', 'decision_seq', 'linked_seq', 'seq')"""
    found = {}
    for table, column in await run_query(service, query):
        wanted = uids if column == "uid" else decisions
        count = f"SELECT count(*) FROM {table} WHERE {column} = ANY ($1::bigint[])"  # noqa: S608 (names of the ledger)
        found[f"{table}.{column}"] = (await run_query(service, count, wanted))[0][0]
    return {name: count for name, count in found.items() if count}


async def find_uid(service: Service, user_id: str) -> int:
    return int((await run_query(service, "SELECT uid FROM users WHERE user_id = $1", user_id))[0][0])


async def load_from_the_beginning(service: Service) -> Profile:
    """The model as its events make it, and no state of anybody's."""
    await run_query(service, "DELETE FROM checkpoints")
    get_store(service).ledger.users.drop(EVERYBODY)
    return await load_model(service)


async def test_processes_teach_one_model_and_each_person_is_known_apart(open_service: Open) -> None:
    one, other = await open_service("one"), await open_service("one")
    ids: dict[str, list[str]] = {"anna": [], "berta": []}
    for number in range(1, 9):
        for user, own in ids.items():
            other.clock.now = one.clock.now
            own.append(await teach(one, user, number))
            one, other = other, one
    for service in (one, other):
        model = await load_model(service)
        assert model.policies["linucb-v2", "tips-v2"].reward_count == 14
        assert model.policies["thompson-v1", "tips-v2"].reward_count == 14, "who is in the shadow has one model too"
        for user, own in ids.items():
            assert [each.decision_id for each in (await load_history(service.deployment, user)).history] == own
            assert (await load_receipt(service.deployment, own[0])).user_id == user
            found = await SharedConsoleQueries(get_store(service).ledger).search_decisions(
                DecisionSearch(user_id=user), before=LAST_SEQ, limit=20
            )
            assert {each.user_id for each in found.decisions} == {user}
            assert len(found.decisions) == 8
    numbers = await run_query(one, "SELECT n FROM rewards ORDER BY n")
    assert [n for (n,) in numbers] == list(range(1, 15)), "each has a number of its own, whoever took it"
    with pytest.raises(UnknownDecisionError):
        await one.reward({"user_id": "berta", "decision_id": ids["anna"][4], "reward": 1.0})
    again = {"user_id": "anna", "decision_id": ids["anna"][3], "reward": 4 / 100}
    assert (await other.reward(again)).repeated


@pytest.mark.parametrize("last", ["anna", "berta"])
async def test_who_is_erased_by_one_was_never_there_for_any(open_service: Open, last: str) -> None:
    one, other = await open_service(f"with_{last}"), await open_service(f"with_{last}")
    without = await open_service(f"without_{last}")
    order = [user for _ in range(9) for user in ("anna", "berta", "carla")] + [last]
    own: list[str] = []
    for number, user in enumerate(order):
        other.clock.now = one.clock.now
        decision_id = await teach(one, user, number)
        if user == "anna":
            own.append(decision_id)
        else:
            without.clock.now = one.clock.now - 1
            await teach(without, user, number)
        one, other = other, one
    uid = await find_uid(one, "anna")
    decisions = [row[0] for row in await run_query(one, "SELECT seq FROM subjects WHERE uid = $1", uid)]
    assert len(decisions) == len(own)
    for service in (one, other):
        await get_store(service).ledger.users.write_checkpoints()
        await get_store(service).follow_gains()
    receipt = await users.erase(one.deployment, "anna", "ops")
    taught = [each for each in own if int(each.rpartition("-")[2]) % 5]
    assert (receipt.erased["decisions"], receipt.erased["rewards"]) == (len(own), len(taught))
    assert await count_left(one, [uid], decisions) == {}
    for decision_id in own:
        for service in (one, other):
            with pytest.raises(UnknownDecisionError):
                await service.reward({"decision_id": decision_id, "reward": 1.0})
    expected = await load_model(without)
    for number in (97, 98, 99):  # the first of them by the process that has yet to hear of it
        one, other = other, one
        one.clock.now = max(one.clock.now, other.clock.now)
        without.clock.now = one.clock.now
        await teach(one, "berta", number)
        await teach(without, "berta", number)
        expected = await load_model(without)
        require_equal(await load_model(one), expected)
        require_equal(await load_model(other), expected)
    require_equal(await load_from_the_beginning(one), expected)
    await one.reopen()
    require_equal(await load_model(one), expected)


async def test_silence_teaches_the_one_model_and_goes_with_whom_it_was_of(open_service: Open) -> None:
    definition = replace(ONE_MODEL, rewards=RewardSettings(window=60.0, default_reward=-0.5))
    one, other = await open_service("silent", definition), await open_service("silent", definition)
    for number in (5, 10):  # those that nothing is said of
        for user in ("anna", "berta"):
            await teach(one, user, number)
    one.clock.now += 61
    other.clock.now = one.clock.now
    closed = await get_store(other).close_windows()
    assert (closed.looked_at, len(closed.taught)) == (4, 4)
    for service in (one, other):
        assert (await load_model(service)).policies["linucb-v2", "tips-v2"].reward_count == 4
    await users.erase(one.deployment, "anna", "ops")
    for service in (one, other):
        assert (await load_model(service)).policies["linucb-v2", "tips-v2"].reward_count == 2
    require_equal(await load_from_the_beginning(one), await load_model(other))


@pytest.mark.slow
async def test_decisions_and_rewards_beside_an_erasure_leave_nothing_of_whom_it_is(open_service: Open) -> None:
    services = [await open_service("racing"), await open_service("racing")]

    async def act(service: Service, user_id: str, first: int) -> None:
        for number in range(first, first + 10):
            with suppress(UnknownDecisionError):  # erased between the two
                await teach(service, user_id, number)

    acting = [
        asyncio.ensure_future(act(service, user_id, place * 10))
        for place, (service, user_id) in enumerate(
            (service, user_id) for user_id in ("anna", "berta", "cleo") for service in services
        )
    ]
    left: list[tuple[int, list[int]]] = []
    while not all(each.done() for each in acting):
        await asyncio.sleep(0)
        if made := [row[0] for row in await run_query(services[0], SEQS_OF_ANNA)]:
            left.append((await find_uid(services[0], "anna"), made))
            await users.erase(services[len(left) % 2].deployment, "anna", "ops")
    await asyncio.gather(*acting)
    await users.erase(services[0].deployment, "anna", "ops")
    assert await count_left(services[0], [uid for uid, _ in left], [seq for _, made in left for seq in made]) == {}
    assert left
    owner = await find_uid(services[0], EVERYBODY)
    orphans = """SELECT count(*) FROM rewards AS r WHERE uid <> $1
        OR NOT EXISTS (SELECT 1 FROM decisions AS d WHERE d.seq = r.decision_seq)"""
    assert (await run_query(services[0], orphans, owner))[0][0] == 0
    for table in ("subjects", "claims", "shadows", "decision_ids"):
        column = {"claims": "decision_seq", "shadows": "decision"}.get(table, "seq")
        loose = f"SELECT count(*) FROM {table} AS t WHERE NOT EXISTS (SELECT 1 FROM decisions AS d WHERE d.seq = t.{column})"  # noqa: S608, E501 (names of the ledger)
        assert (await run_query(services[0], loose))[0][0] == 0, table
    expected = await load_model(services[1])
    assert expected.policies["linucb-v2", "tips-v2"].reward_count == 32
    require_equal(await load_model(services[0]), expected)
    require_equal(await load_from_the_beginning(services[0]), expected)


async def test_what_retention_took_into_a_baseline_stays_and_the_rest_goes(open_service: Open) -> None:
    service = await open_service("kept")
    for number in range(1, 9):
        await teach(service, "anna", number)
        await teach(service, "berta", number)
    service.clock.now += 91 * DAY
    later = [await teach(service, "anna", number) for number in range(11, 15)]
    store = get_store(service)
    await store.upkeep.try_to_lead()
    await store.upkeep.apply_retention()
    await users.erase(service.deployment, "anna", "ops")
    for _ in range(2):
        model = (await load_model(service)).policies["linucb-v2", "tips-v2"]
        assert (model.pulls, model.reward_count) == (16, 14), "what is in a baseline is in one sum with the others"
        await service.reopen()
    assert await service.deployment.store.find_decision(later[0]) is None
    assert (await run_query(service, "SELECT count(*) FROM subjects"))[0][0] == 0
    await service.deployment.store.reset(EVERYBODY, "ops")
    await teach(service, "berta", 16)
    model = (await load_from_the_beginning(service)).policies["linucb-v2", "tips-v2"]
    assert (model.pulls, model.reward_count) == (1, 1)
