"""Undo: what an operator means is found, and what is left is what it would be had the rest never come."""

import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.policy_state import PolicyState
from bandstand.bandit.profile import Profile
from bandstand.errors import UnknownDecisionError
from bandstand.store.embedded.state_directory import StateDirectory
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.maintenance.rebuild_verify import verify
from bandstand.store.records import PolicyRef, Reward
from bandstand.store.tables import revocations
from bandstand.store.tables.policies import to_policy_ref
from bandstand.store.tables.undo import SelectedRewards, Selection
from bandstand.testing.memory_store import MemoryStore
from tests.bandit.given import SHIPPED
from tests.store.given import CATALOGUE, DAY, NOON, QUICK, Clock, MakeStore, Subject, ledger_of, make_embedded
from tests.store.populated import trim_directory

WIDE = "wide"
"""A policy over two plain numbers, which may be as large as numbers may be."""


def catalogue(half_life: float) -> Catalogue:
    features = [{"name": name, "source": f"candidate.{name}", "encoding": "number"} for name in ("size", "price")]
    schema = {"version": 1, "intercept": True, "features": features}
    policy = {"kind": "linucb", "schema": WIDE, "half_life": half_life}
    return Catalogue.parse(SHIPPED, {"schemas": {WIDE: schema}, "policies": {WIDE: policy}})


def reward(ref: PolicyRef, size: float, value: float, ts: float, *, client: str) -> Reward:
    features = {"size": size, "price": -size / 2}
    body = {"context": {}, "features": features}
    x = np.array([1.0, size, -size / 2])
    return Reward("anna", ref, "tip", value, client, ts, b"", x, features=json.dumps(body).encode())


def close(state: PolicyState, truth: PolicyState) -> None:
    """Sums at the same moment alike to 1e-9 of the largest entry; counts alike."""
    assert (state.reward_count, state.ridge is None) == (truth.reward_count, truth.ridge is None)
    assert state.cumulative_reward == pytest.approx(truth.cumulative_reward, abs=1e-9)
    if state.ridge is None or truth.ridge is None:
        return
    age = max(0.0, state.as_of - truth.as_of) / (truth.half_life * DAY) if truth.half_life else 0.0
    expected = truth.ridge.with_decay(0.5**age)
    assert state.ridge.count == expected.count
    for name in ("gram", "b", "rr", "weight"):
        ours, theirs = np.asarray(getattr(state.ridge, name)), np.asarray(getattr(expected, name))
        assert np.abs(ours - theirs).max() <= 1e-9 * np.abs(theirs).max(), name


@pytest.mark.parametrize("half_life", [0.0, 3.0])
@pytest.mark.parametrize("large", [1.0, 2e5])
@pytest.mark.parametrize("when", ["live", "restarted", "rebuilt"])
async def test_what_is_left_is_exact_however_large_what_went_was(
    tmp_path: Path, half_life: float, large: float, when: str
) -> None:
    """A difference of sums lacks the digits that entries of 10¹¹ had more than those of 1."""
    configured = catalogue(half_life)
    ref, clock, rng = to_policy_ref(configured.policies[WIDE]), Clock(), np.random.default_rng(4)

    def open_store(directory: str) -> EmbeddedStore:
        return EmbeddedStore(tmp_path / directory, configured, options=QUICK, clock=clock)

    store, other = open_store("state"), open_store("other")
    await store.open()
    await other.open()
    for number in range(60):
        clock.now += 0.2 * DAY
        fraud = number % 3 == 1
        size = float(rng.normal()) * (large if fraud else 1.0)
        client = "fraud" if fraud else "shop"
        given = reward(ref, size, float(rng.uniform(-1, 1)), clock.now, client=client)
        await store.reward(structs.replace(given))
        if not fraud:
            await other.reward(structs.replace(given))
    if when == "restarted":
        await store.close()  # a document that holds them all
        store = open_store("state")
        await store.open()
    found = await store.select_rewards(Selection(client="fraud"))
    assert (len(found.revocable), found.users, found.policies) == (20, 1, {WIDE: 20})
    taken = await store.revoke(found.revocable, cause="undo", client="tests", selection=Selection(client="fraud"))
    assert len(taken) == 20
    truth = (await other.load_profile("anna")).policies[ref.key]
    close((await store.load_profile("anna")).policies[ref.key], truth)
    await other.close()
    await store.close()
    found_wrong = verify(tmp_path / "state", configured)
    assert found_wrong.is_sound, found_wrong
    if when == "rebuilt":
        for path in (tmp_path / "state" / "users").rglob("*.json"):
            path.unlink()
    store = open_store("state")
    await store.open()
    close((await store.load_profile("anna")).policies[ref.key], truth)
    await store.close()


def load_policies(profile: Profile) -> dict[str, Any]:
    return profile.to_json()["policies"]  # type: ignore[no-any-return]  # of a profile it is always a dictionary


async def test_much_at_once_is_read_from_the_ledger_again_and_comes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bandstand.store.embedded.revocation_log._MAX_SUBTRACTED", 5)
    async with Subject(make_embedded(tmp_path)) as subject:
        store = subject.store
        for number in range(30):
            subject.clock.now += 1.0
            await subject.reward_legacy(f"user-{number % 3}", 0.25)
            await store.reward(structs.replace(subject.legacy(f"user-{number % 3}", -1.0), client="fraud"))
        found = await store.select_rewards(Selection(client="fraud"))
        await store.revoke(found.revocable, cause="undo", client="tests")
        assert all(store.get_cached_profile(f"user-{number}") is None for number in range(3))
        for number in range(3):
            state = await subject.state(f"user-{number}")
            assert (state.reward_count, state.cumulative_reward) == (10, 2.5)


@pytest.mark.parametrize("most", [1, 1000])
async def test_a_user_with_something_on_its_way_loses_neither_that_nor_what_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("bandstand.store.embedded.revocation_log._MAX_SUBTRACTED", most)
    async with Subject(make_embedded(tmp_path)) as subject:
        given = [(await subject.reward_legacy("anna", 0.5)).reward.seq for _ in range(4)]
        coming = [asyncio.create_task(subject.reward_legacy("anna", -0.25)) for _ in range(3)]
        taking = asyncio.create_task(subject.store.revoke(given[:2], cause="undo", client="tests"))
        coming += [asyncio.create_task(subject.reward_legacy("anna", -0.25)) for _ in range(3)]
        await asyncio.gather(*coming, taking)
        state = await subject.state("anna")
        assert (state.reward_count, state.cumulative_reward) == (8, -0.5)
        live = load_policies((await subject.store.load_profile("anna")).copy())
        await subject.reopen()
        again = load_policies(await subject.store.load_profile("anna"))
        assert live["linucb-v2"]["reward_count"] == again["linucb-v2"]["reward_count"]
        np.testing.assert_allclose(live["linucb-v2"]["ridge"]["b"], again["linucb-v2"]["ridge"]["b"], atol=1e-12)


# ── what is meant ─────────────────────────────────────────────────────────────────────────────────────────────────────


def in_memory() -> MakeStore:
    kept: list[MemoryStore] = []

    def make(clock: Clock) -> MemoryStore:
        kept[:] = kept or [MemoryStore(CATALOGUE, clock=clock)]
        return kept[0]

    return make


@pytest.fixture(params=["memory", "embedded"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    return in_memory() if request.param == "memory" else make_embedded(tmp_path)


async def teach_rewards(subject: Subject, clients: Iterable[str]) -> list[Reward]:
    """A reward of anna's by each client, a day apart, by decision and in the legacy form in turn."""
    rewards = []
    for number, client in enumerate(clients):
        subject.clock.now += DAY
        given = subject.legacy("anna", 0.5) if number % 2 else subject.reward_of(await subject.decide("anna"), 0.5)
        rewards.append((await subject.store.reward(structs.replace(given, client=client))).reward)
    return rewards


def list_seqs(rewards: Iterable[Reward]) -> list[int]:
    return [reward.seq for reward in rewards]


async def test_a_decision_a_client_and_a_time_choose_and_together_they_choose_less(make: MakeStore) -> None:
    async with Subject(make) as subject:
        rewards = await teach_rewards(subject, "abab")
        store = subject.store
        assert (await store.select_rewards(Selection(decision_id=rewards[0].decision_id))).revocable == list_seqs(
            rewards[:1]
        )
        assert (await store.select_rewards(Selection(client="a"))).revocable == list_seqs(rewards[::2])
        assert (await store.select_rewards(Selection(client="c"))) == SelectedRewards(revocable=[])
        since, until = rewards[1].ts, rewards[3].ts
        assert (await store.select_rewards(Selection(since=since))).revocable == list_seqs(rewards[1:])
        assert (await store.select_rewards(Selection(since=since, until=until))).revocable == list_seqs(rewards[1:3])
        assert (await store.select_rewards(Selection(client="b", until=until))).revocable == list_seqs(rewards[1:2])
        assert (await store.select_rewards(Selection(since=-1e11, until=1e11))).revocable == list_seqs(rewards)
        assert (await store.select_rewards(Selection(since=1e12))).revocable == []
        assert (await store.select_rewards(Selection(judge_version="any"))).revocable == []
        with pytest.raises(UnknownDecisionError):
            await store.select_rewards(Selection(decision_id="another"))


async def test_what_is_not_in_the_sums_is_told_apart(make: MakeStore) -> None:
    async with Subject(make) as subject:
        waiting = await subject.decide("anna")
        first, second = await teach_rewards(subject, "aa")
        assert len(await subject.store.revoke([first.seq], cause="undo", client="tests")) == 1
        found = await subject.store.select_rewards(Selection(client="a"))
        assert (found.revocable, found.revoked_before, found.forgotten, found.never_taught) == ([second.seq], 1, 0, 0)
        await subject.store.reset("anna", "tests")
        await subject.store.reward(structs.replace(subject.reward_of(waiting, 1.0), client="a"))
        found = await subject.store.select_rewards(Selection(client="a"))
        assert (found.revocable, found.revoked_before, found.forgotten, found.never_taught) == ([], 1, 1, 1)
        assert await subject.store.revoke([first.seq, second.seq], cause="undo", client="tests") == []


async def test_what_another_takes_back_between_look_up_and_commit_is_left_to_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        store = subject.store
        given = list_seqs(await teach_rewards(subject, "aaa"))
        read, others = StateDirectory.read, [given[:2]]

        async def be_overtaken(directory: StateDirectory, look: Callable[..., Any], *args: object) -> Any:
            found = await read(directory, look, *args)
            if look is revocations.find_revocable and others:
                await store.revoke(others.pop(), cause="undo", client="the other")
            return found

        monkeypatch.setattr(StateDirectory, "read", be_overtaken)
        taken = await store.revoke(given, cause="undo", client="tests")
        assert [each.seq for each in taken] == given[2:]
        state = await subject.state("anna")
        assert (state.reward_count, state.cumulative_reward) == (0, 0.0)


async def test_whether_anything_was_taken_back_since_is_known(make: MakeStore) -> None:
    async with Subject(make) as subject:
        (given,) = await teach_rewards(subject, "a")
        assert not await subject.store.has_revocations_since(0)
        await subject.store.revoke([given.seq], cause="undo", client="tests")
        assert await subject.store.has_revocations_since(given.seq)
        assert not await subject.store.has_revocations_since(subject.store.next_seq(subject.clock()))


async def test_a_judge_s_version_chooses_what_its_verdicts_taught(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        rewards = await teach_rewards(subject, "aaa")
        documents = [{"model": "m-1", "prompt_hash": "p"}, {"model": "m-2", "prompt_hash": "p"}]
        with ledger_of(tmp_path) as ledger:
            for number, document in enumerate(documents):
                verdict = (number, number, 1, "judge", NOON, json.dumps(document), None)
                ledger.execute("INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?)", verdict)
                conclusion = (10 + number, number, 1, 1, "judge", "judge", NOON, number, None, "taught", None)
                rows = "INSERT INTO conclusions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                ledger.execute(rows, (*conclusion, rewards[number].seq))
        for version, expected in (("m-1", rewards[:1]), ("m-2", rewards[1:2]), ("p", rewards[:2]), ("m-3", [])):
            assert (await subject.store.select_rewards(Selection(judge_version=version))).revocable == list_seqs(
                expected
            )


async def test_what_retention_has_put_into_a_baseline_is_out_of_reach_and_said_to_be(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        rewards = await teach_rewards(subject, "aaaa")
    cut = trim_directory(tmp_path, rewards[1].ts + 1.0)
    async with Subject(make_embedded(tmp_path)) as subject:
        found = await subject.store.select_rewards(Selection(client="a"))
        assert (found.revocable, found.out_of_reach) == (list_seqs(rewards[2:]), 1)
        assert found.out_of_reach_until == pytest.approx(cut, abs=0.01)
        assert (await subject.store.select_rewards(Selection(since=rewards[2].ts))).out_of_reach == 0
        await subject.store.revoke(found.revocable, cause="undo", client="tests")
        assert (await subject.state("anna")).reward_count == 2


# ── what is written down ──────────────────────────────────────────────────────────────────────────────────────────────


def records(state_dir: Path) -> list[tuple[Any, ...]]:
    with ledger_of(state_dir) as ledger:
        query = "SELECT uid, ts, client, document FROM marks WHERE kind = 'revocation' ORDER BY seq"
        return [(uid, ts, client, json.loads(document)) for uid, ts, client, document in ledger.execute(query)]


async def test_who_when_what_and_how_much_is_recorded_once(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await teach_rewards(subject, "aba")
        selection = Selection(client="a", since=NOON)
        for _ in range(2):
            found = await subject.store.select_rewards(selection)
            await subject.store.revoke(found.revocable, cause="undo", client="the office", selection=selection)
        what = {"selection": {"client": "a", "since": NOON}, "rewards": 2, "users": 1, "policies": {"linucb-v2": 2}}
        assert records(tmp_path) == [(None, subject.clock.now, "the office", what)]


async def test_the_record_of_a_decision_goes_with_its_user(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        decision = await subject.decide("anna", own_id="anna's own")
        given = (await subject.reward(decision)).reward
        selection = Selection(decision_id="anna's own")
        await subject.store.revoke([given.seq], cause="undo", client="tests", selection=selection)
        assert [document["selection"] for *_, document in records(tmp_path)] == [{"decision_id": "anna's own"}]
        await subject.store.erase("anna", "tests")
        assert records(tmp_path) == []
