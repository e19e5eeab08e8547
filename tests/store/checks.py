"""The contract suite of stores: small named laws, each run over every store (one suite, and so one long module).

A law is given a :class:`~tests.store.given.Subject` around a fresh store and says what must hold, across a stop and a
start where that makes a difference. A new law is a function of this module whose name is its sentence; it is found by
reflection.
"""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bandstand.errors import UnknownDecisionError, WrongPolicyError
from bandstand.store.records import Decision, Erasure, PolicyRef, PolicyTotals, Reward, UserPage
from bandstand.store.tables.loops import LoopAction, LoopChange
from bandstand.store.tables.policies import to_policy_ref
from bandstand.store.tables.shadows import Shadow
from bandstand.store.tables.undo import Selection
from tests.store.given import CATALOGUE, DAY, NOON, MakeStore, Subject

Law = Callable[[Subject], Awaitable[None]]

HOSTILE_IDS = [
    "a.b",
    "a_b",
    "a-b",
    "A.B",
    "a b",
    "a/b",
    "a\\b",
    "a",
    "A",
    ".",
    "..",
    "...",
    "a.",
    "a..",
    "a ",
    " a",
    "../../etc/passwd",
    "/etc/passwd",
    "~root",
    "C:\\Windows\\system32",
    "CON",
    "con",
    "NUL.json",
    "lpt1",
    "-rf",
    "%2e%2e%2f",
    "%s",
    "';DROP TABLE users;--",
    "users",
    "lock",
    "ledger.db",
    "\U0001f98a",
    "\U0001f98a\U0001f98a",
    "e\u0301",
    "\u00e9",
    "\u212b",
    "\u00c5",
    "\u202eabc",
    "日本語",
    "x" * 256,
    "x" * 255 + "y",
    "é" * 256,
    "\U0001f98a" * 256,
]


def find_laws(module: ModuleType) -> list[Law]:
    """Every law of a module such as this, in the order in which they are written; what helps them is private."""
    found = inspect.getmembers(module, inspect.iscoroutinefunction)
    own = (law for name, law in found if law.__module__ == module.__name__ and not name.startswith("_"))
    return sorted(own, key=lambda law: law.__code__.co_firstlineno)


def check_store(make_store: MakeStore, law: Law) -> Awaitable[None]:
    """Put one law to a fresh store."""
    return _check(Subject(make_store), law)


def _check(subject: Subject, law: Law) -> Awaitable[None]:
    async def run() -> None:
        async with subject:
            await law(subject)

    return run()


# ── users ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def an_unknown_user_is_empty_and_leaves_no_trace(subject: Subject) -> None:
    store = subject.store
    profile = await store.load_profile("stranger")
    assert (profile.user_id, profile.seq, profile.policies) == ("stranger", 0, {})
    assert await store.list_history("stranger", 100) == []
    await store.reset("stranger", "tests")
    assert await store.erase("stranger", "tests") == Erasure()
    assert await store.count_users() == 0
    assert await store.list_users("", 0, 10) == UserPage([], None)
    assert await store.load_policy_totals() == {}


async def a_profile_that_was_read_is_warm(subject: Subject) -> None:
    assert subject.store.get_cached_profile("anna") is None
    profile = await subject.store.load_profile("anna")
    assert subject.store.get_cached_profile("anna") is profile


async def hostile_ids_are_all_distinct_users(subject: Subject) -> None:
    for at, user_id in enumerate(HOSTILE_IDS):
        await asyncio.gather(*(subject.decide(user_id) for _ in range(1 + at % 3)))
    async for _ in subject.iter_restarts():
        for at, user_id in enumerate(HOSTILE_IDS):
            assert (await subject.state(user_id)).pulls == 1 + at % 3
            assert {decision.user_id for decision in await subject.store.list_history(user_id, 100)} == {user_id}
        assert (await subject.store.list_users("", 0, 1000)).users == HOSTILE_IDS


async def users_are_paged_in_the_order_of_first_sight(subject: Subject) -> None:
    names = [f"{prefix}{number}" for number in range(5) for prefix in ("%", "_", "é", "e")]
    for name in names:
        await subject.decide(name)
    await subject.decide(names[0])
    await subject.reopen()
    store = subject.store
    for prefix in ("", "%", "_", "é", "é3", "nobody"):
        expected = [name for name in names if name.startswith(prefix)]
        for limit in (1, 3, 5, 20, 100):
            found: list[str] = []
            after: int | None = 0
            while after is not None:
                page = await store.list_users(prefix, after, limit)
                assert len(page.users) <= limit
                found += page.users
                after = page.next
            assert found == expected
    assert await store.count_users() == len(names)


# ── loops ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def changes_of_loops_are_kept_in_their_order(subject: Subject) -> None:
    one, other = {"mode": "online"}, {"mode": "logging", "shadow": ["é"]}
    told: list[tuple[LoopAction, dict[str, Any] | None, dict[str, Any] | None]] = [
        ("create", None, one),
        ("change", one, other),
        ("delete", other, None),
    ]
    for action, before, after in told:
        change = LoopChange(
            name="menu", action=action, before=before, after=after, ts=subject.clock.now, client="operator"
        )
        await subject.store.log_loop_change(change)
        subject.clock.now += 1
    async for _ in subject.iter_restarts():
        found = await subject.store.list_loop_changes()
        assert [(each.action, each.before, each.after) for each in found] == told
        assert [(each.name, each.client, each.ts) for each in found] == [
            ("menu", "operator", NOON + number) for number in range(3)
        ]
        assert 0 < found[0].seq < found[1].seq < found[2].seq


async def an_erasure_over_all_loops_is_noted_until_it_is_done(subject: Subject) -> None:
    for user_id in ("anna", 'bé"n', "anna"):
        await subject.store.note_erasure(user_id, "operator")
    await subject.reopen()
    assert set(await subject.store.list_erasure_notes()) == {("anna", "operator"), ('bé"n', "operator")}
    await subject.store.delete_erasure_note("anna")
    await subject.reopen()
    assert await subject.store.list_erasure_notes() == [('bé"n', "operator")]


# ── decisions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def a_decision_counts_and_teaches_nothing(subject: Subject) -> None:
    for exploring in (True, False, False):
        await subject.decide("anna", exploring=exploring)
        subject.clock.now += 1
    async for _ in subject.iter_restarts():
        state = await subject.state("anna")
        assert (state.pulls, state.explores, state.reward_count, state.ridge) == (3, 1, 0, None)
        assert state.last_updated == NOON + 2
        assert (await subject.state("anna", "linucb-v1")).pulls == 0


async def a_receipt_is_the_decision_as_it_was_handed_over(subject: Subject) -> None:
    await subject.store.load_profile("anna")
    for own_id in (None, "mine", "f" * 32, "0" * 32):
        decision = subject.build_decision("anna", own_id=own_id)
        body, numbers = decision.body, decision.numbers
        assert numbers is not None
        await subject.store.decide(decision)
        for _ in range(2):
            receipt = await subject.store.find_receipt(decision.decision_id)
            assert receipt is not None
            assert receipt.body == body
            np.testing.assert_array_equal(receipt.numbers, numbers)
            for field in ("decision_id", "own_id", "seq", "user_id", "policy", "client", "ts", "tip_id", "pick"):
                assert getattr(receipt, field) == getattr(decision, field)
            for field in ("exploring", "seed", "score", "propensity", "floor"):
                assert getattr(receipt, field) == getattr(decision, field)
            assert receipt.reward is None
            await subject.reopen()
            await subject.store.load_profile("anna")


async def a_receipt_shows_the_reward_that_stands(subject: Subject) -> None:
    decision = await subject.decide("anna")
    await subject.reward(decision, 0.5)
    async for _ in subject.iter_restarts():
        receipt = await subject.store.find_receipt(decision.decision_id)
        assert receipt is not None
        assert receipt.reward is not None
        assert (receipt.reward.value, receipt.reward.applied, receipt.reward.source) == (0.5, True, "client")


async def no_id_but_its_own_finds_a_decision(subject: Subject) -> None:
    decision = await subject.decide("anna")
    ours = decision.decision_id
    strangers = [
        "",
        "mine",
        ours[:16],
        ours[:-1],
        ours + "0",
        ours[:16] + "0" * 16,
        "0" * 16 + ours[16:],
        ours.upper() + "x",
        " " + ours[1:],
        "+" + ours[1:],
        "-" + ours[1:],
        "0x" + ours[2:],
        ours[0] + "_" + ours[2:],
        "8" + "0" * 31,
        "f" * 32,
        "٣" * 32,
        "%" * 32,
    ]
    async for _ in subject.iter_restarts():
        for stranger in strangers:
            assert await subject.store.find_decision(stranger) is None, stranger
            assert await subject.store.find_receipt(stranger) is None, stranger
        assert await subject.store.find_decision(ours) is not None


async def an_id_that_the_caller_chose_stands(subject: Subject) -> None:
    first = await subject.decide("anna", own_id="mine")
    assert (await subject.decide("anna", own_id="mine")).seq == first.seq
    assert (await subject.decide("berta", own_id="mine")).decision_id == "mine"
    await subject.reopen()
    again = await subject.decide("anna", own_id="mine")
    assert (again.seq, again.tip_id) == (first.seq, first.tip_id)
    assert (await subject.state("anna")).pulls == 1
    assert (await subject.state("berta")).pulls == 0


async def a_chosen_id_stands_under_concurrency(subject: Subject) -> None:
    decisions = await asyncio.gather(*(subject.decide(f"user-{n % 3}", own_id="mine") for n in range(30)))
    assert len({decision.seq for decision in decisions}) == 1
    assert sum([(await subject.state(f"user-{n}")).pulls for n in range(3)]) == 1


async def decisions_that_belong_together_are_logged_together_or_not(subject: Subject) -> None:
    await subject.decide("anna", own_id="page#2")
    for name, expected in (("page", False), ("other", True), ("other", False)):
        made = [subject.build_decision("anna", own_id=f"{name}#{number}") for number in range(3)]
        assert await subject.store.decide_together(made) is expected
    async for _ in subject.iter_restarts():
        assert (await subject.state("anna")).pulls == 4
        assert await subject.store.find_receipt("page#0") is None
        assert await subject.store.find_decision("other#2") is not None
    await subject.reopen()
    await subject.store.load_profile("anna")
    made = [subject.build_decision("anna", own_id=f"other#{number}") for number in (3, 2)]
    assert not await subject.store.decide_together(made), "memory had forgotten one of them"
    assert await subject.store.find_receipt("other#3") is None


async def history_is_the_newest_oldest_first(subject: Subject) -> None:
    made: list[Decision] = []
    for number in range(12):
        policy = ("linucb-v1", "egreedy-v1", "linucb-v2")[number % 3]
        made.append(await subject.decide("anna", policy))
        await subject.decide("berta")
        subject.clock.now += 1
    async for _ in subject.iter_restarts():
        for limit in (1, 5, 12, 100):
            history = await subject.store.list_history("anna", limit)
            assert [entry.decision_id for entry in history] == [entry.decision_id for entry in made[-limit:]]
            assert [entry.policy for entry in history] == [entry.policy for entry in made[-limit:]]


async def event_numbers_grow_though_the_clock_steps_back(subject: Subject) -> None:
    seqs = []
    for step in (0.0, 0.0, 0.001, -3600.0, -7200.0, 5.0):
        subject.clock.now = NOON + step
        decision = await subject.decide("anna")
        outcome = await subject.reward(decision)
        seqs += [decision.seq, outcome.reward.seq]
    await subject.reopen()
    subject.clock.now = NOON - 10 * DAY
    seqs.append((await subject.decide("anna")).seq)
    assert seqs == sorted(set(seqs))
    assert [entry.seq for entry in await subject.store.list_history("anna", 100)] == [*seqs[0:12:2], seqs[-1]]


# ── rewards ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def a_reward_teaches_what_its_decision_saw(subject: Subject) -> None:
    for policy in ("linucb-v1", "egreedy-v1", "linucb-v2"):
        decision = await subject.decide("anna", policy)
        x = decision.x
        assert x is not None
        outcome = await subject.reward(decision, -0.5)
        assert outcome.match == "new"
        async for _ in subject.iter_restarts():
            state = await subject.state("anna", policy)
            assert (state.pulls, state.reward_count, state.cumulative_reward) == (1, 1, -0.5)
            assert state.ridge is not None
            np.testing.assert_allclose(state.ridge.gram, np.outer(x, x), rtol=0, atol=1e-12)
            np.testing.assert_allclose(state.ridge.b, -0.5 * x, rtol=0, atol=1e-12)


async def a_decision_from_before_the_restart_takes_its_reward(subject: Subject) -> None:
    decision = await subject.decide("anna")
    x = decision.x
    assert x is not None
    await subject.reopen()
    await subject.reward(decision, 0.5)
    state = await subject.state("anna")
    assert state.ridge is not None
    np.testing.assert_allclose(state.ridge.b, 0.5 * x, rtol=0, atol=1e-12)


async def late_rewards_count(subject: Subject) -> None:
    decision = await subject.decide("anna")
    subject.clock.now += 80 * DAY
    await subject.reward(decision)
    assert (await subject.state("anna")).reward_count == 1
    assert (await subject.state("anna")).last_updated == NOON + 80 * DAY


async def fifty_concurrent_rewards_lose_none(subject: Subject) -> None:
    decisions = [await subject.decide("anna") for _ in range(50)]
    rewards = [subject.reward(decision, 0.25) for decision in decisions]
    rewards += [subject.reward_legacy("anna", 0.5) for _ in range(50)]
    await asyncio.gather(*rewards)
    async for _ in subject.iter_restarts():
        state = await subject.state("anna")
        assert (state.pulls, state.reward_count) == (50, 100)
        assert state.cumulative_reward == 50 * 0.25 + 50 * 0.5
        assert state.ridge is not None
        assert state.ridge.count == 100


async def a_decision_is_rewarded_once(subject: Subject) -> None:
    decision = await subject.decide("anna")
    first = await subject.reward(decision, 0.5)
    async for _ in subject.iter_restarts():
        for value in (0.5, -1.0):
            again = await subject.reward(decision, value)
            assert again.match == "decision"
            assert (again.reward.seq, again.reward.value) == (first.reward.seq, 0.5)
            assert again.reward.body_hash == first.reward.body_hash
        assert (await subject.state("anna")).reward_count == 1


async def a_decision_is_rewarded_once_under_concurrency(subject: Subject) -> None:
    decision = await subject.decide("anna")
    await subject.reopen()
    outcomes = await asyncio.gather(*(subject.reward(decision, (0.5, -1.0)[n % 2]) for n in range(40)))
    assert sorted(outcome.match for outcome in outcomes) == ["decision"] * 39 + ["new"]
    assert len({(outcome.reward.seq, outcome.reward.value) for outcome in outcomes}) == 1
    state = await subject.state("anna")
    assert (state.reward_count, state.cumulative_reward) == (1, outcomes[0].reward.value)


async def a_key_is_honoured_once(subject: Subject) -> None:
    first = await subject.reward_legacy("anna", 0.5, key=("route", "key"))
    async for _ in subject.iter_restarts():
        for value in (0.5, -1.0):
            again = await subject.reward_legacy("berta", value, key=("route", "key"))
            assert again.match == "key"
            assert (again.reward.seq, again.reward.body_hash) == (first.reward.seq, first.reward.body_hash)
        assert (await subject.state("anna")).reward_count == 1
        assert (await subject.state("berta")).reward_count == 0
    assert (await subject.reward_legacy("anna", key=("another", "key"))).match == "new"
    assert (await subject.reward_legacy("anna", key=("route", "yek"))).match == "new"


async def a_key_is_honoured_once_under_concurrency(subject: Subject) -> None:
    users = ["anna", "berta", "carla"]
    rewards = [subject.reward_legacy(users[n % 3], 0.5, key=("route", f"key-{n % 2}")) for n in range(60)]
    outcomes = await asyncio.gather(*rewards)
    assert sorted(outcome.match for outcome in outcomes) == ["key"] * 58 + ["new"] * 2
    assert len({outcome.reward.seq for outcome in outcomes}) == 2
    await subject.reopen()
    assert sum([(await subject.state(user)).reward_count for user in users]) == 2


async def a_key_and_a_decision_are_both_spent_once(subject: Subject) -> None:
    one, other = await subject.decide("anna"), await subject.decide("anna")
    rewards: list[Reward] = []
    for n in range(30):
        decision = (one, other)[n % 2]
        rewards.append(subject.reward_of(decision, key=("route", "key") if n % 3 else None))
    outcomes = await asyncio.gather(*(subject.store.reward(reward) for reward in rewards))
    taught = [outcome for outcome in outcomes if outcome.match == "new"]
    assert 1 <= len(taught) <= 2
    assert (await subject.state("anna")).reward_count == len(taught)
    await subject.reopen()
    assert (await subject.state("anna")).reward_count == len(taught)


async def what_came_with_a_key_is_looked_up_and_nothing_is_logged(subject: Subject) -> None:
    decision = await subject.decide("anna")
    given = [await subject.reward_legacy("anna", 0.5, key=("route", "legacy"))]
    given.append(await subject.reward(decision, 0.25, key=("route", "decision")))
    async for _ in subject.iter_restarts():
        for key, outcome in zip(("legacy", "decision"), given, strict=True):
            found = await subject.store.find_reward_by_key(("route", key))
            assert found is not None
            stands = outcome.reward
            assert (found.seq, found.value, found.body_hash) == (stands.seq, stands.value, stands.body_hash)
            assert await subject.store.find_reward_by_key(("another", key)) is None
        assert (await subject.state("anna")).reward_count == 2


async def a_reward_of_a_policy_that_did_not_decide_is_refused(subject: Subject) -> None:
    decision = await subject.decide("anna", "egreedy-v1")
    async for _ in subject.iter_restarts():
        reward = subject.reward_of(decision, key=("route", "key"))
        (reward.policy,) = list_refs("linucb-v2")
        with pytest.raises(WrongPolicyError):
            await subject.store.reward(reward)
        assert await subject.store.find_reward_by_key(("route", "key")) is None
    assert (await subject.reward(decision, key=("route", "key"))).match == "new"
    await subject.reopen()
    assert (await subject.state("anna", "egreedy-v1")).reward_count == 1
    assert (await subject.state("anna", "linucb-v2")).reward_count == 0


async def legacy_rewards_each_count(subject: Subject) -> None:
    decision = await subject.decide("anna", tip_id="tip")
    reward = subject.legacy("anna", 0.5)
    x = reward.x
    assert x is not None
    await subject.store.reward(reward)
    for _ in range(2):
        assert (await subject.reward_legacy("anna", 0.5)).match == "new"
    assert (await subject.reward(decision)).match == "new", "a link is no reward of the decision"
    await subject.reopen()
    state = await subject.state("anna")
    assert (state.pulls, state.reward_count, state.cumulative_reward) == (1, 4, 2.5)


async def another_users_decision_is_unknown(subject: Subject) -> None:
    decision = await subject.decide("anna")
    await subject.decide("berta")
    async for _ in subject.iter_restarts():
        for stranger in ("berta", "nobody"):
            with pytest.raises(UnknownDecisionError):
                await subject.reward(decision, user_id=stranger)
    assert await subject.store.count_users() == 2
    assert (await subject.reward(decision)).match == "new"


async def a_reward_without_its_decision_leaves_no_trace(subject: Subject) -> None:
    await subject.store.load_profile("anna")
    never_handed_over = subject.build_decision("anna")
    with pytest.raises(UnknownDecisionError):
        await subject.reward(never_handed_over)
    assert await subject.store.count_users() == 0
    assert await subject.store.load_policy_totals() == {}


# ── resets ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def a_reset_forgets_every_policy_and_the_history(subject: Subject) -> None:
    for policy in ("linucb-v1", "egreedy-v1", "linucb-v2"):
        await subject.reward(await subject.decide("anna", policy))
        await subject.reward(await subject.decide("berta", policy))
    for _ in range(3):
        await subject.store.reset("anna", "tests")
    async for _ in subject.iter_restarts():
        assert (await subject.store.load_profile("anna")).policies == {}
        assert await subject.store.list_history("anna", 100) == []
        assert len((await subject.store.load_profile("berta")).policies) == 3
        assert len(await subject.store.list_history("berta", 100)) == 3
    fresh = await subject.decide("anna")
    assert [entry.decision_id for entry in await subject.store.list_history("anna", 100)] == [fresh.decision_id]
    assert await subject.store.count_users() == 2


async def a_reward_from_before_the_reset_is_logged_and_teaches_nothing(subject: Subject) -> None:
    early, earlier = await subject.decide("anna"), await subject.decide("anna")
    rewarded = await subject.decide("anna")
    first = await subject.reward(rewarded, 0.5)
    await subject.store.reset("anna", "tests")
    outcome = await subject.reward(early, 0.5)
    assert (outcome.match, outcome.reward.applied, outcome.reward.reason) == ("new", False, "reset")
    await subject.reopen()
    outcome = await subject.reward(earlier, 0.5)
    assert (outcome.match, outcome.reward.applied, outcome.reward.reason) == ("new", False, "reset")
    again = await subject.reward(early, 0.5)
    assert (again.match, again.reward.applied, again.reward.reason) == ("decision", False, "reset")
    assert (await subject.reward(rewarded, 0.5)).reward.seq == first.reward.seq
    assert (await subject.store.load_profile("anna")).policies == {}
    await subject.reward_legacy("anna", 0.25)
    later = await subject.reward(await subject.decide("anna"), 0.25)
    assert (later.reward.applied, later.reward.reason) == (True, None)
    async for _ in subject.iter_restarts():
        state = await subject.state("anna")
        assert (state.pulls, state.reward_count, state.cumulative_reward) == (1, 2, 0.5)


# ── erasure ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def an_erasure_counts_what_went_and_leaves_nothing(subject: Subject) -> None:
    decisions = [await subject.decide("anna") for _ in range(3)]
    own = await subject.decide("anna", own_id="mine")
    await subject.decide("berta", own_id="hers")
    await subject.reward(decisions[0])
    await subject.store.reset("anna", "tests")
    await subject.reward(own, key=("route", "key"))
    await subject.reward_legacy("anna")
    erasure = await subject.store.erase("anna", "tests")
    assert (erasure.decisions, erasure.rewards, erasure.marks) == (4, 3, 1)
    async for _ in subject.iter_restarts():
        for decision in (*decisions, own):
            assert await subject.store.find_decision(decision.decision_id) is None
            assert await subject.store.find_receipt(decision.decision_id) is None
            with pytest.raises(UnknownDecisionError):
                await subject.reward(decision)
        assert (await subject.store.load_profile("anna")).policies == {}
        assert await subject.store.list_history("anna", 100) == []
        assert (await subject.store.list_users("", 0, 10)).users == ["berta"]
        assert await subject.store.erase("anna", "tests") == Erasure()
        assert (await subject.state("berta")).pulls == 1


async def an_erased_user_starts_cold_under_the_same_id(subject: Subject) -> None:
    await subject.reward(await subject.decide("anna", own_id="mine"), key=("route", "key"))
    await subject.store.erase("anna", "tests")
    for _ in range(2):
        decision = await subject.decide("anna", own_id="mine")
        assert (await subject.reward(decision, 0.5, key=("route", "key"))).match == "new"
        async for _ in subject.iter_restarts():
            state = await subject.state("anna")
            assert (state.pulls, state.reward_count, state.cumulative_reward) == (1, 1, 0.5)
        await subject.store.erase("anna", "tests")


async def erasures_at_once_count_once(subject: Subject) -> None:
    for _ in range(5):
        await subject.decide("anna")
    erasures = await asyncio.gather(*(subject.store.erase("anna", "tests") for _ in range(4)))
    assert sum(erasure.decisions for erasure in erasures) == 5


# ── sums ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def totals_count_by_policy_and_survive_resets_and_erasures(subject: Subject) -> None:
    decision = await subject.decide("anna", "linucb-v1", exploring=True)
    for _ in range(3):
        subject.clock.now += 3000
        await subject.decide("anna", "linucb-v1")
    await subject.reward(decision, -0.5)
    await subject.reward_legacy("berta", 0.25, policy="egreedy-v1")
    await subject.store.reset("anna", "tests")
    await subject.store.erase("berta", "tests")
    async for _ in subject.iter_restarts():
        assert await subject.store.load_policy_totals() == {
            "linucb-v1": PolicyTotals(decisions=4, explores=1, rewards=1, reward_sum=-0.5),
            "egreedy-v1": PolicyTotals(decisions=0, explores=0, rewards=1, reward_sum=0.25),
        }


async def a_store_that_is_open_is_ready(subject: Subject) -> None:
    await subject.decide("anna")
    status = subject.store.status()
    assert (status.state, status.warm_users, status.pending, status.quarantined) == ("ready", 1, 0, 0)
    assert status.last_error is None
    assert len(subject.store.secret) == 32
    secret = subject.store.secret
    await subject.reopen()
    assert subject.store.secret == secret


# ── undo ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def undos_are_recorded_the_newest_first_and_one_of_a_decision_goes_with_its_user(subject: Subject) -> None:
    decisions = [await subject.decide(user_id) for user_id in ("anna", "berta", "carla")]
    for decision in decisions:
        await subject.reward(decision)
    for selection in (Selection(decision_id=decisions[0].decision_id), Selection(client="tests"), Selection(until=1.0)):
        found = await subject.store.select_rewards(selection)
        subject.clock.now += 1
        await subject.store.revoke(found.revocable, cause="undo", client="the office", selection=selection)
    async for _ in subject.iter_restarts():
        newer, older = await subject.store.list_undos(2**63 - 1, 10)
        assert (newer.selection, newer.rewards, newer.users) == ({"client": "tests"}, 2, 2)
        assert (older.selection, older.rewards) == ({"decision_id": decisions[0].decision_id}, 1)
        assert (newer.client, newer.ts, newer.policies) == ("the office", NOON + 2, {"linucb-v2": 2})
        assert await subject.store.list_undos(2**63 - 1, 1) == [newer]
        assert await subject.store.list_undos(newer.seq, 10) == [older]
    assert (await subject.store.erase("anna", "tests")).marks == 1
    await subject.store.erase("berta", "tests")
    (left,) = await subject.store.list_undos(2**63 - 1, 10)
    assert left.selection == {"client": "tests"}, "it names nobody"


# ── shadows ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def a_reward_teaches_every_shadow_as_if_it_had_decided(subject: Subject) -> None:
    await subject.store.set_shadows(list_refs("thompson-v1", "linucb-v1"))
    for _ in range(6):
        await subject.reward(await subject.decide("anna"), subject.random.uniform(-1, 1))
        await subject.reward_legacy("anna", subject.random.uniform(-1, 1))
    async for _ in subject.iter_restarts():
        served = await subject.state("anna")
        for name in ("thompson-v1", "linucb-v1"):
            shadow = await subject.state("anna", name)
            assert (shadow.pulls, shadow.reward_count) == (0, 12)
            assert shadow.cumulative_reward == served.cumulative_reward
            assert shadow.last_updated == served.last_updated
        same = (await subject.state("anna", "thompson-v1")).ridge  # one schema: the same features
        other = (await subject.state("anna", "linucb-v1")).ridge
        assert served.ridge is not None
        assert same is not None
        assert other is not None
        np.testing.assert_allclose(same.gram, served.ridge.gram, rtol=0, atol=1e-12)
        np.testing.assert_allclose(same.b, served.ridge.b, rtol=0, atol=1e-12)
        assert other.b.shape == (CATALOGUE.schemas["tips-5"].dimension,)


async def a_shadow_reads_the_candidate_by_its_own_schema(subject: Subject) -> None:
    await subject.store.set_shadows(list_refs("linucb-v1"))
    decision = await subject.decide("anna")
    logged, schema = await subject.store.find_receipt(decision.decision_id), CATALOGUE.schemas["tips-5"]
    assert logged is not None
    request = json.loads(logged.body)
    x = schema.encode(request["context"], [request["candidates"][decision.pick]["features"]])[0]
    await subject.reward(decision, 0.5)
    ridge = (await subject.state("anna", "linucb-v1")).ridge
    assert ridge is not None
    np.testing.assert_allclose(ridge.gram, np.outer(x, x), rtol=0, atol=1e-12)
    np.testing.assert_allclose(ridge.b, 0.5 * x, rtol=0, atol=1e-12)


async def a_policy_is_not_its_own_shadow(subject: Subject) -> None:
    await subject.store.set_shadows(list_refs("linucb-v2", "thompson-v1"))
    await subject.reward(await subject.decide("anna"))
    await subject.reward(await subject.decide("anna", "thompson-v1"))
    await subject.reward_legacy("anna", policy="linucb-v1")
    async for _ in subject.iter_restarts():
        counts = [
            (await subject.state("anna", name)).reward_count for name in ("linucb-v2", "thompson-v1", "linucb-v1")
        ]
        assert counts == [3, 3, 1]


async def a_reward_teaches_those_in_the_shadow_when_it_comes(subject: Subject) -> None:
    early = await subject.decide("anna")
    await subject.reward_legacy("anna")
    await subject.store.set_shadows(list_refs("thompson-v1"))
    await subject.reward(early)
    late = await subject.decide("anna")
    await subject.reopen()
    await subject.store.set_shadows(list_refs("thompson-v1"))  # the same again
    await subject.reward_legacy("anna")
    await subject.reopen()
    await subject.store.set_shadows(list_refs("squarecb-v1"))
    await subject.reward(late)
    await subject.store.set_shadows([])
    await subject.reward_legacy("anna")
    async for _ in subject.iter_restarts():
        names = ("linucb-v2", "thompson-v1", "squarecb-v1")
        assert [(await subject.state("anna", name)).reward_count for name in names] == [5, 2, 1]


async def a_reset_forgets_what_shadows_learned_and_what_is_older_teaches_none(subject: Subject) -> None:
    await subject.store.set_shadows(list_refs("thompson-v1"))
    before = await subject.decide("anna")
    await subject.reward_legacy("anna")
    await subject.store.reset("anna", "tests")
    assert not (await subject.reward(before)).reward.applied
    async for _ in subject.iter_restarts():
        assert (await subject.state("anna", "thompson-v1")).reward_count == 0


async def what_is_taken_back_is_taken_from_the_shadows_too(subject: Subject) -> None:
    await subject.store.set_shadows(list_refs("thompson-v1", "linucb-v1"))
    kept = (await subject.reward(await subject.decide("anna"), 0.25)).reward
    taken = [
        (await subject.reward(await subject.decide("anna"), -0.5)).reward,
        (await subject.reward_legacy("anna")).reward,
    ]
    revoked = await subject.store.revoke([each.seq for each in taken], cause="test", client="tests")
    assert {ref.name for each in revoked for ref, _ in each.shadow_updates} == {"thompson-v1", "linucb-v1"}
    async for _ in subject.iter_restarts():
        for name in ("linucb-v2", "thompson-v1"):
            state = await subject.state("anna", name)
            assert state.reward_count == 1
            assert state.cumulative_reward == pytest.approx(0.25)
            assert state.ridge is not None
            assert kept.x is not None
            np.testing.assert_allclose(state.ridge.gram, np.outer(kept.x, kept.x), rtol=0, atol=1e-12)
        assert (await subject.state("anna", "linucb-v1")).reward_count == 1


async def sums_of_a_shadow_are_of_the_rewards_that_stand_whichever_came_first(subject: Subject) -> None:
    ref = list_refs("thompson-v1")[0]
    terms: list[tuple[float, float]] = []
    taken = []
    for number in range(8):
        decision, w, r = await subject.decide("anna"), subject.random.uniform(0, 3), subject.random.uniform(-1, 1)
        shadow = Shadow(ref, number % 2, exploring=False, agrees=number < 3, propensity=0.5, weight=w, probabilities=P)
        rewarded = None
        if number % 4 == 0:
            rewarded = await subject.reward(decision, r)
        subject.store.log_shadows(decision, [shadow])
        if number % 4 in (1, 2):
            rewarded = await subject.reward(decision, r)
        if rewarded is not None and number >= 4:
            taken.append(rewarded.reward.seq)
        elif rewarded is not None:
            terms.append((w, r))
        if number == 6:
            await subject.store.revoke(taken, cause="test", client="tests")
    await subject.reward_legacy("berta")  # nobody waits for a shadow's commit, but it comes before this one's
    async for _ in subject.iter_restarts():
        sums = (await subject.store.load_shadow_sums())[ref]
        assert (sums.decisions, sums.agreed, sums.rewarded) == (8, 3, 3)
        moments = [sum(w**i * r**j for w, r in terms) for i, j in ((0, 1), (0, 2), (1, 0), (2, 0), (1, 1), (2, 1))]
        moments += [sum(w**i * r**j for w, r in terms) for i, j in ((1, 2), (2, 2))]
        assert list(sums[3:]) == pytest.approx(moments, abs=1e-12)


async def a_shadow_is_kept_with_its_decision_and_goes_with_its_user(subject: Subject) -> None:
    ref = list_refs("thompson-v1")[0]
    made = Shadow(ref, 1, exploring=True, agrees=False, propensity=0.75, weight=0.5, probabilities=P)
    decision, other = await subject.decide("anna"), await subject.decide("berta")
    for each in (decision, other):
        subject.store.log_shadows(each, [made])
        await subject.reward(each)
    async for _ in subject.iter_restarts():
        (kept,) = await subject.store.load_shadows(decision)
        assert (kept.policy, kept.pick, kept.exploring, kept.agrees) == (ref, 1, True, False)
        assert (kept.propensity, kept.weight, kept.probabilities.tolist()) == (0.75, 0.5, P.tolist())
    before = await subject.store.load_shadow_sums()
    assert (await subject.store.erase("anna", "tests")).shadows == 1
    subject.store.log_shadows(decision, [made])
    await subject.store.reset("berta", "tests")
    assert await subject.store.load_shadows(decision) == []
    assert len(await subject.store.load_shadows(other)) == 1
    assert await subject.store.load_shadow_sums() == before, "they name nobody"


P = np.array([0.25, 0.75])


def list_refs(*names: str) -> list[PolicyRef]:
    return [to_policy_ref(CATALOGUE.policies[name]) for name in names]
