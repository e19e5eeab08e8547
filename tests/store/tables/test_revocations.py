"""What is taken back is as if it had never been taught, wherever the state is made from."""

from pathlib import Path

import pytest

from bandstand.bandit.profile import Profile
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.records import Reward
from bandstand.testing.memory_store import MemoryStore
from tests.store.given import (
    CATALOGUE,
    DAY,
    QUICK,
    Subject,
    assert_same,
    copy_as_killed,
    ledger_of,
    make_embedded,
    rebuild_profile,
)


async def revoke(subject: Subject, *rewards: Reward) -> list[int]:
    taken = await subject.store.revoke([reward.seq for reward in rewards], cause="test", client="tests")
    return [each.seq for each in taken]


async def teach_rewards(subject: Subject, count: int) -> list[Reward]:
    """As many rewards of anna, half of them of decisions, half in the legacy form."""
    rewards = []
    for number in range(count):
        if number % 2:
            rewards.append((await subject.reward_legacy("anna", (-1) ** number * 0.5)).reward)
        else:
            rewards.append((await subject.reward(await subject.decide("anna"), 0.25)).reward)
    return rewards


def without_times(profile: Profile) -> Profile:
    """What was taken back leaves when it was heard of; the sums and counts are compared."""
    other = profile.copy()
    for state in other.policies.values():
        state.last_updated = None
    return other


async def test_the_sums_are_those_of_the_rewards_that_are_left(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path), seed=3) as subject, Subject(lambda _: MemoryStore(CATALOGUE)) as other:
        rewards = await teach_rewards(subject, 20)
        assert await revoke(subject, *rewards[3:12]) == [reward.seq for reward in rewards[3:12]]
        for reward in rewards[:3] + rewards[12:]:
            await other.store.reward(
                Reward("anna", reward.policy, "tip", reward.value, "tests", reward.ts, b"", reward.x, features=b"")
            )
        state, expected = await subject.state("anna"), await other.state("anna")
        state.pulls = 0
        live = Profile("anna")
        live.policies = {("linucb-v2", "tips-v2"): state}
        truth = Profile("anna")
        truth.policies = {("linucb-v2", "tips-v2"): expected}
        assert_same(without_times(live), without_times(truth))


async def test_it_is_taken_back_once(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        first, second = await teach_rewards(subject, 2)
        assert await revoke(subject, first, first) == [first.seq]
        assert await revoke(subject, first, second) == [second.seq]
        assert (await subject.state("anna")).reward_count == 0
        assert await revoke(subject, first, second) == []


async def test_what_a_reset_has_forgotten_cannot_be_taken_back(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        (reward,) = await teach_rewards(subject, 1)
        await subject.store.reset("anna", "tests")
        assert await revoke(subject, reward) == []


async def test_a_rebuild_and_a_restart_come_to_the_live_state(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        rewards = await teach_rewards(subject, 6)
        await subject.reopen()  # a checkpoint with all six
        await revoke(subject, *rewards[:4])
        live = (await subject.store.load_profile("anna")).copy()
        crashed = copy_as_killed(tmp_path, tmp_path / "copy")
        await subject.reopen()
        assert_same(live, await subject.store.load_profile("anna"))
    assert_same(live, await rebuild_profile(crashed, "anna"))


async def test_a_crash_leaves_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        rewards = await teach_rewards(subject, 4)
        with ledger_of(tmp_path) as ledger:
            ledger.execute(f"""CREATE TRIGGER full BEFORE INSERT ON revocations WHEN new.reward_seq = {rewards[2].seq}
                BEGIN SELECT raise(ABORT, 'no'); END""")
        with pytest.raises(Exception, match="collided"):
            await revoke(subject, *rewards)
        assert (await subject.state("anna")).reward_count == 4
        with ledger_of(tmp_path) as ledger:
            assert ledger.execute("SELECT count(*) FROM revocations").fetchone() == (0,)
            ledger.execute("DROP TRIGGER full")
        assert len(await revoke(subject, *rewards)) == 4


async def test_totals_count_what_stands(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        rewards = await teach_rewards(subject, 3)
        await revoke(subject, rewards[0])
        totals = (await subject.store.load_policy_totals())["linucb-v2"]
        assert totals.rewards == 2
        assert totals.reward_sum == pytest.approx(-0.25)


async def test_a_receipt_says_that_the_reward_was_taken_back(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        decision = await subject.decide("anna")
        reward = (await subject.reward(decision)).reward
        await revoke(subject, reward)
        found = await subject.store.find_receipt(decision.decision_id)
        assert found is not None
        assert found.reward is not None
        assert (found.reward.applied, found.reward.reason) == (False, "revoked")


async def test_erasure_takes_and_counts_it(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        rewards = await teach_rewards(subject, 3)
        await revoke(subject, *rewards[:2])
        assert (await subject.store.erase("anna", "tests")).revocations == 2
        with ledger_of(tmp_path) as ledger:
            assert ledger.execute("SELECT count(*) FROM revocations").fetchone() == (0,)


async def test_retention_keeps_what_a_later_revocation_is_replayed_from(tmp_path: Path) -> None:
    options = StoreOptions(sync=False, checkpoint_seconds=3600.0, retention_days=5)
    async with Subject(make_embedded(tmp_path, options)) as subject:
        rewards = await teach_rewards(subject, 4)
        subject.clock.now += 3 * DAY
        await revoke(subject, rewards[0], rewards[1])
        subject.clock.now += 3 * DAY  # the rewards are past their days, the revocations are not
        assert isinstance(subject.store, EmbeddedStore)
        assert await subject.store.apply_retention() == 1
        assert await subject.store.apply_retention() == 0
        live = (await subject.store.load_profile("anna")).copy()
        assert_same(live, await rebuild_profile(copy_as_killed(tmp_path, tmp_path / "copy"), "anna"))
        assert await revoke(subject, *rewards) == []  # the others are in the baseline
        subject.clock.now += 3 * DAY
        await subject.store.apply_retention()
        with ledger_of(tmp_path) as ledger:
            left = "SELECT (SELECT count(*) FROM rewards), count(*) FROM revocations"
            assert ledger.execute(left).fetchone() == (0, 0)
        assert_same(live, await rebuild_profile(copy_as_killed(tmp_path, tmp_path / "copy2"), "anna"))


async def test_many_users_in_one_commit(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path, QUICK)) as subject:
        rewards = [(await subject.reward_legacy(f"user-{number}")).reward for number in range(300)]
        assert len(await revoke(subject, *rewards)) == 300
        assert all([(await subject.state(reward.user_id)).reward_count == 0 for reward in rewards])
