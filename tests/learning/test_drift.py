"""Drift: found once a day, written down, and everybody folded again; live, after a restart and in a rebuild alike."""

from pathlib import Path

import numpy as np
from msgspec import structs

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.memory import Memory
from bandstand.bandit.policy_state import PolicyState
from bandstand.learning.drift import DriftWatcher
from bandstand.learning.population import PopulationPriorRefresher
from bandstand.service.context import ServiceContext
from bandstand.service.loop import DriftFinding, load_loop_health
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.protocol import Store
from bandstand.store.records import Reward
from bandstand.store.tables.memories import MemoryChange
from bandstand.store.tables.policies import to_policy_ref
from bandstand.testing.memory_store import MemoryStore
from tests.bandit.given import SHIPPED
from tests.store.given import DAY, QUICK, Clock, Subject, assert_same

CATALOGUE = Catalogue.parse(
    SHIPPED, {"policies": {"keen": {"kind": "linucb", "schema": "tips-v2", "half_life": "auto", "prior": "standard"}}}
)
POLICY = CATALOGUE.policies["keen"]
KEY = ("keen", "tips-v2")
USERS, DAYS, TURN = 8, 12, 9


def rewards(clock: Clock) -> list[Reward]:
    """Three a day of every user, who like what is urgent until they do not: on day 9 their rewards turn round."""
    subject = Subject(lambda clock: MemoryStore(CATALOGUE, clock=clock), seed=1)
    subject.clock, rng, begun = clock, np.random.default_rng(3), clock.now
    priority, events = POLICY.schema.labels.index("priority"), []
    for day in range(DAYS):
        for part in range(3):
            clock.now = begun + (day + part / 3) * DAY
            for user in range(USERS):
                event = structs.replace(subject.legacy(f"user-{user}", 0.0), policy=to_policy_ref(POLICY))
                assert event.x is not None
                liked = float(event.x[priority]) * (2.0 if day < TURN else -2.0)
                events.append(structs.replace(event, value=float(np.clip(liked + 0.05 * rng.normal(), -1.0, 1.0))))
    clock.now = begun + DAYS * DAY
    return events


async def watch(store: Store, clock: Clock) -> DriftWatcher:
    population = PopulationPriorRefresher(CATALOGUE, store, clock=clock)
    await population.open()
    watcher = DriftWatcher(CATALOGUE, store, population, clock=clock)
    await watcher.check_policy(POLICY)
    await population.close()
    return watcher


def state_of(store_profile: object) -> PolicyState:
    return store_profile.policies[KEY]  # type: ignore[attr-defined,no-any-return]  # a Profile


async def test_a_change_is_found_written_down_and_folded_again(tmp_path: Path) -> None:
    clock = Clock()
    events = rewards(clock)
    stores: list[Store] = [
        MemoryStore(CATALOGUE, clock=clock),
        EmbeddedStore(tmp_path, CATALOGUE, options=QUICK, clock=clock),
    ]
    found = []
    for store in stores:
        await store.open()
        for event in events:
            await store.reward(structs.replace(event))
        watcher = await watch(store, clock)
        (status,) = watcher.list_statuses()
        assert status.change is not None
        assert status.memory.since > events[0].ts
        found.append(status.memory)
        state = state_of(await store.load_profile("user-1"))
        assert state.ridge is not None
        assert state.since == status.memory.since
        assert state.ridge.count < state.reward_count == DAYS * 3
        assert await watcher.check_policy(POLICY) is None, "not twice in a day"
    assert found[0] == found[1]
    memory, embedded = stores
    assert_same(await memory.load_profile("user-1"), await embedded.load_profile("user-1"))
    before = await embedded.load_profile("user-2")
    await embedded.close()

    again = EmbeddedStore(tmp_path, CATALOGUE, options=QUICK, clock=clock)
    await again.open()
    assert_same(before, await again.load_profile("user-2"))
    assert [change.memory for change in await again.list_memory_changes()] == [found[1]]
    await again.close()


async def test_where_nothing_was_taught_nothing_changes() -> None:
    clock = Clock()
    store = MemoryStore(CATALOGUE, clock=clock)
    watcher = await watch(store, clock)
    (status,) = watcher.list_statuses()
    assert (status.memory, status.change) == (Memory(), None)
    assert await store.list_memory_changes() == []


async def test_the_loops_health_says_the_day_on_which_a_change_was_found() -> None:
    clock = Clock()
    clock.now = 20_000.5 * DAY  # 2024-10-04
    store = MemoryStore(CATALOGUE, clock=clock)
    await store.open()
    deployment = ServiceContext(CATALOGUE, store, clock=clock)
    assert (await load_loop_health(deployment)).drift == []
    await store.set_memory(MemoryChange(POLICY.name, clock.now - DAY, Memory(since=clock.now - 3 * DAY), 4.5))
    await deployment.drift.open()
    [found] = (await load_loop_health(deployment)).drift
    await deployment.drift.close()
    assert found == DriftFinding(policy=POLICY.name, day="2024-10-03", half_life_days=None, since="2024-10-01")
