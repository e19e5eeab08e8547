"""A policy that forgets: live, after a restart and rebuilt from the ledger its sums have decayed alike."""

from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.policy_state import PolicyState
from bandstand.bandit.profile import Profile
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.records import Reward
from bandstand.store.tables.policies import to_policy_ref
from bandstand.testing.memory_store import MemoryStore
from tests.bandit.given import SHIPPED
from tests.store.given import DAY, QUICK, Clock, Subject, assert_same, documents_in

KEY = ("forgetful", "tips-v2")


def catalogue(half_life: float) -> Catalogue:
    definition = {"kind": "linucb", "schema": "tips-v2", "half_life": half_life}
    return Catalogue.parse(SHIPPED, {"policies": {"forgetful": definition}})


def store(state_dir: Path, clock: Clock, half_life: float) -> EmbeddedStore:
    return EmbeddedStore(state_dir, catalogue(half_life), options=QUICK, clock=clock)


def rewards(clock: Clock, half_life: float, count: int = 12) -> list[Reward]:
    """A day and a half between each two, in the legacy form; all from the same seed."""
    subject = Subject(lambda clock: MemoryStore(catalogue(half_life), clock=clock), seed=1)
    subject.clock = clock
    ref = to_policy_ref(catalogue(half_life).policies["forgetful"])
    events = []
    for number in range(count):
        clock.now += 1.5 * DAY
        events.append(structs.replace(subject.legacy("anna", (-1) ** number * 0.5), policy=ref))
    return events


def state_of(profile: Profile) -> PolicyState:
    return profile.policies[KEY]


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_a_reward_weighs_half_after_a_half_life(clock: Clock) -> None:
    memory = MemoryStore(catalogue(3.0), clock=clock)
    for reward in rewards(clock, 3.0):
        await memory.reward(reward)
    state = state_of(await memory.load_profile("anna"))
    assert state.ridge is not None
    assert state.ridge.weight == pytest.approx(sum(0.5 ** (age / 2) for age in range(12)))
    assert state.reward_count == state.ridge.count == 12


async def test_live_restarted_and_rebuilt_are_the_same(tmp_path: Path, clock: Clock) -> None:
    live = store(tmp_path, clock, 3.0)
    await live.open()
    memory = MemoryStore(catalogue(3.0), clock=clock)
    for reward in rewards(clock, 3.0):
        await live.reward(structs.replace(reward))
        await memory.reward(structs.replace(reward))
    before = await live.load_profile("anna")
    assert_same(await memory.load_profile("anna"), before)
    await live.close()

    restarted = store(tmp_path, clock, 3.0)
    await restarted.open()
    assert (await restarted.load_profile("anna")).to_json() == before.to_json()
    await restarted.close()

    for path in documents_in(tmp_path):
        path.unlink()
    rebuilt = store(tmp_path, clock, 3.0)
    await rebuilt.open()
    assert_same(before, await rebuilt.load_profile("anna"))
    assert state_of(await rebuilt.load_profile("anna")).as_of == state_of(before).as_of
    await rebuilt.close()


@pytest.mark.parametrize(("before", "after"), [(0.0, 3.0), (3.0, 0.0), (3.0, 30.0)])
async def test_a_changed_half_life_folds_the_ledger_again(
    tmp_path: Path, clock: Clock, before: float, after: float
) -> None:
    earlier = store(tmp_path, clock, before)
    await earlier.open()
    events = rewards(clock, before)
    for reward in events:
        await earlier.reward(structs.replace(reward))
    await earlier.close()

    expected = MemoryStore(catalogue(after), clock=clock)
    ref = to_policy_ref(catalogue(after).policies["forgetful"])
    for reward in events:
        await expected.reward(structs.replace(reward, policy=ref, seq=0))
    later = store(tmp_path, clock, after)
    await later.open()
    changed, fresh = state_of(await later.load_profile("anna")), state_of(await expected.load_profile("anna"))
    assert changed.half_life == fresh.half_life == after
    assert changed.ridge is not None
    assert fresh.ridge is not None
    np.testing.assert_allclose(changed.ridge.gram, fresh.ridge.gram, rtol=0, atol=1e-9)
    assert changed.ridge.weight == pytest.approx(fresh.ridge.weight)
    await later.close()
