"""Replay equals live: whatever happened, the ledger alone makes the same state again."""

import asyncio
from dataclasses import astuple
from pathlib import Path
from random import Random

import numpy as np
import pytest

from bandstand.bandit.aggregation import AGGREGATIONS
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.records import Decision, Reward, RewardWindow
from bandstand.testing.memory_store import MemoryStore
from tests.store.given import CATALOGUE, DAY, QUICK, Clock, Subject, assert_same, documents_in, make_embedded

USERS = ["anna", "berta", "../carla", "d" * 256, "\U0001f98a", "emil"]
POLICIES = ["linucb-v1", "egreedy-v1", "linucb-v2"]
EVENTS = ["decide"] * 8 + ["reward"] * 6 + ["teach"] * 3 + ["revoke"] * 2 + ["reset", "erase", "reopen", "wait"]
EVENTS += ["part"] * 6 + ["activate"] * 2 + ["close"] * 2
SETTINGS = [RewardSettings(aggregation=aggregation, minimum=-2.0, maximum=2.0) for aggregation in AGGREGATIONS]

EVICTING = StoreOptions(sync=False, checkpoint_seconds=0.002, max_warm_users=2, retention_days=0)
TRIMMING = StoreOptions(sync=False, checkpoint_seconds=0.002, max_warm_users=3, retention_days=5)


async def play_history(subject: Subject, events: int) -> None:  # noqa: C901 (one case for each kind of event)
    """A random history, the same for the same seed: decisions, rewards of both forms, resets, erasures, stops."""
    random = subject.random
    open_decisions: list[Decision] = []
    taught: list[Reward] = []
    for number in range(events):
        user_id, policy = random.choice(USERS), random.choice(POLICIES)
        value = random.uniform(-1, 1)
        match random.choice(EVENTS):
            case "decide":
                own_id = f"own-{number}" if random.random() < 0.2 else None
                exploring, window = random.random() < 0.3, random_window(subject)
                open_decisions.append(
                    await subject.decide(user_id, policy, own_id=own_id, exploring=exploring, window=window)
                )
            case "reward" if open_decisions:
                taught.append((await subject.reward(one_of(open_decisions, random), value)).reward)
            case "part" if open_decisions:
                decision, settings = random.choice(open_decisions), random.choice(SETTINGS)
                key = ("part", str(random.randrange(200)))
                tries = range(random.randint(1, 2))  # a retry, now and then
                taught += [(await subject.reward(decision, value, key=key, settings=settings)).reward for _ in tries]
            case "activate" if open_decisions:
                await subject.store.activate(random.choice(open_decisions).decision_id, SETTINGS[2], "tests")
            case "close":
                await subject.store.close_windows(3)
            case "teach":
                key = ("route", str(random.randrange(40)))
                taught.append((await subject.reward_legacy(user_id, value, policy=policy, key=key)).reward)
            case "revoke" if taught:
                await take_back(subject, random.sample(taught, min(len(taught), 3)))
            case "reset":
                await subject.store.reset(user_id, "tests")
            case "erase":
                await subject.store.erase(user_id, "tests")
                open_decisions = [decision for decision in open_decisions if decision.user_id != user_id]
            case "reopen":
                await subject.reopen()
            case "wait":
                await let_time_pass(subject)
                open_decisions = [decision for decision in open_decisions if decision.ts > subject.clock.now - 4 * DAY]


def random_window(subject: Subject) -> RewardWindow | None:
    """None, or one that ends within half a day or never; a third of them are of decisions that are held back."""
    random = subject.random
    if random.random() < 0.5:
        return None
    due = subject.clock.now + random.uniform(0, DAY / 2) if random.random() < 0.7 else None
    return RewardWindow(random.random() < 0.3, due, random.uniform(-1, 1) if random.random() < 0.8 else None)


def one_of(decisions: list[Decision], random: Random) -> Decision:
    """Any of them; most are rewarded but once."""
    decision = random.choice(decisions)
    if random.random() < 0.7:
        decisions.remove(decision)
    return decision


async def take_back(subject: Subject, rewards: list[Reward]) -> None:
    """Revoke those that no store's retention has taken."""
    recent = [reward.seq for reward in rewards if reward.ts > subject.clock.now - 4 * DAY]
    await subject.store.revoke(recent, cause="test", client="tests")


async def let_time_pass(subject: Subject) -> None:
    """Some hours by the store's clock, and a moment for its upkeep."""
    subject.clock.now += subject.random.uniform(0, DAY / 2)
    await asyncio.sleep(0.003)
    if isinstance(subject.store, EmbeddedStore):
        await subject.store.apply_retention()


async def assert_replayed(subject: Subject, state_dir: Path) -> None:
    """The live states equal those made of checkpoint and ledger, and those made of the ledger alone."""
    live = {user_id: (await subject.store.load_profile(user_id)).copy() for user_id in USERS}
    await subject.reopen()
    for user_id, profile in live.items():
        assert_same(profile, await subject.store.load_profile(user_id))
    await subject.store.close()
    for path in documents_in(state_dir):
        path.unlink()
    await subject.reopen()
    for user_id, profile in live.items():
        assert_same(profile, await subject.store.load_profile(user_id))
    assert subject.store.status().quarantined == 0


@pytest.mark.parametrize("options", [QUICK, EVICTING, TRIMMING], ids=["warm", "evicting", "trimming"])
async def test_a_random_history_is_replayed_to_the_same_state(tmp_path: Path, options: StoreOptions) -> None:
    async with Subject(make_embedded(tmp_path, options)) as subject:
        for _ in range(3):
            await play_history(subject, 120)
            await assert_replayed(subject, tmp_path)


@pytest.mark.parametrize("options", [QUICK, EVICTING, TRIMMING], ids=["warm", "evicting", "trimming"])
async def test_disk_and_memory_come_to_the_same_state(tmp_path: Path, options: StoreOptions) -> None:
    kept: list[MemoryStore] = []

    def make_memory(clock: Clock) -> MemoryStore:
        if not kept:
            kept.append(MemoryStore(CATALOGUE, clock=clock))
        return kept[0]

    async with Subject(make_memory) as memory, Subject(make_embedded(tmp_path, options)) as disk:
        await play_history(memory, 400)
        await play_history(disk, 400)
        assert (await memory.store.list_users("", 0, 100)).users == (await disk.store.list_users("", 0, 100)).users
        expected_totals, found_totals = await memory.store.load_policy_totals(), await disk.store.load_policy_totals()
        assert expected_totals.keys() == found_totals.keys()
        for name, totals in expected_totals.items():
            assert astuple(found_totals[name]) == pytest.approx(astuple(totals))
        for user_id in USERS:
            expected, found = await memory.store.load_profile(user_id), await disk.store.load_profile(user_id)
            found = found.copy()
            found.reset_seq = expected.reset_seq  # numbers differ: an erasure and a baseline take one on disk
            assert_same(expected, found)


async def test_concurrent_histories_are_replayed_to_the_same_state(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path, EVICTING)) as subject:
        for _ in range(6):
            decisions = await asyncio.gather(
                *(subject.decide(subject.random.choice(USERS), subject.random.choice(POLICIES)) for _ in range(60))
            )
            events = [subject.reward(decision, 0.5) for decision in decisions[:40]]
            events += [subject.reward_legacy(decision.user_id, -0.5) for decision in decisions[:20]]
            resets = [subject.store.reset(subject.random.choice(USERS), "tests") for _ in range(2)]
            await asyncio.gather(*events, *resets)
            await assert_replayed(subject, tmp_path)


async def test_a_replayed_state_decides_alike(tmp_path: Path) -> None:
    policy = CATALOGUE.policies["linucb-v2"]
    async with Subject(make_embedded(tmp_path)) as subject:
        for _ in range(50):
            await subject.reward_legacy("anna", subject.random.uniform(-1, 1))
        live = (await subject.state("anna")).get_posterior(policy.prior)
        await subject.reopen()
        replayed = (await subject.state("anna")).get_posterior(policy.prior)
        np.testing.assert_allclose(replayed.mean, live.mean, rtol=0, atol=1e-9)
        np.testing.assert_allclose(replayed.covariance, live.covariance, rtol=0, atol=1e-9)
