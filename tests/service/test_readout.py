"""Readout: a difference is by user, and a holdout is always the same users."""

from pathlib import Path

import numpy as np
import pytest

from bandstand.bandit.experiment import Experiment
from bandstand.bandit.holdout import Holdout, HoldoutSplit
from bandstand.service.experiment import load_experiment_status, load_holdout_status
from bandstand.service.readout import build_readout, compare_arms, estimate_mean
from bandstand.store.tables.arms import REWARD, ArmHistory, ArmSums
from tests.service.given import Make, Service, in_memory, on_disk


def sum_users(arm: str, n: list[int], total: list[float]) -> ArmSums:
    """An arm of users with so many rewards, and sums of them."""
    counts, totals = np.array(n), np.array(total)
    return ArmSums(
        1,
        arm,
        REWARD,
        users=len(n),
        rewarded=int((counts > 0).sum()),
        decisions=int(counts.sum()),
        n=int(counts.sum()),
        total=float(totals.sum()),
        nn=int((counts * counts).sum()),
        nt=float((counts * totals).sum()),
        tt=float((totals * totals).sum()),
    )


def test_a_user_who_decides_often_counts_as_one_source_of_chance() -> None:
    rng = np.random.default_rng(1)
    taste = rng.normal(0.0, 0.3, 200)
    few, many = (sum_users("a", [k] * 200, (k * taste).tolist()) for k in (1, 50))
    one, other = estimate_mean(few), estimate_mean(many)
    assert one is not None
    assert other is not None
    assert other[1] == pytest.approx(one[1])
    assert one[1] == pytest.approx(taste.var(ddof=1) / 200)


def test_parts_of_the_users_read_as_all_of_them_in_whatever_order_they_are_merged() -> None:
    rng = np.random.default_rng(3)
    n, total = rng.integers(0, 5, (2, 400)), rng.normal(size=(2, 400))

    def sum_part(*parts: slice, days: tuple[int, ...] = (1, 2, 4)) -> ArmHistory:
        arms = {
            name: sum_users(
                name,
                *([each for part in parts for each in values[arm, part].tolist()] for values in (n, total)),
            )
            for arm, name in enumerate(("a", "b"))
        }
        return ArmHistory({REWARD: arms}, [(day, arms) for day in days], left_out=len(parts))

    cuts = [slice(0, 1), slice(1, 150), slice(150, 400)]
    one, two, three = (sum_part(cut) for cut in cuts)
    whole = sum_part(*cuts)
    for merged in (one.merge(two).merge(three), three.merge(one.merge(two)), two.merge(three).merge(one)):
        assert merged.left_out == whole.left_out
        assert [day for day, _ in merged.days] == [1, 2, 4]
        for arms, expected in [
            (merged.now[REWARD], whole.now[REWARD]),
            *((found, known) for (_, found), (_, known) in zip(merged.days, whole.days, strict=True)),
        ]:
            for name in ("a", "b"):
                assert arms[name][3:] == pytest.approx(expected[name][3:], rel=1e-9)
        found, known = (build_readout(each, ["a", "b"], "a", since=0.0, now=1e6) for each in (merged, whole))
        assert found.sentence == known.sentence
    late = sum_part(cuts[2], days=(4,))
    [_, (_, second), (_, fourth)] = one.merge(late).days
    assert second["a"] == one.now[REWARD]["a"]
    assert fourth["a"] == one.now[REWARD]["a"].merge(late.now[REWARD]["a"])


def test_it_says_who_wins_and_how_long_it_takes() -> None:
    rng = np.random.default_rng(2)

    def read(shift: float, users: int) -> str:
        values = rng.normal(0.0, 0.3, users)
        a, b = (sum_users(name, [1] * users, (values + by).tolist()) for name, by in (("a", 0.0), ("b", shift)))
        history = ArmHistory({REWARD: {"a": a, "b": b}})
        return build_readout(history, ["a", "b"], "a", since=0.0, now=10 * 86_400.0).sentence

    assert read(0.3, 500).startswith("b wins over a: +0.3")
    assert read(-0.3, 500).startswith("a wins: b is at -0.3")
    assert "at this rate it would be known in about" in read(0.03, 500)
    assert read(0.3, 5).startswith("Too early")
    assert build_readout(ArmHistory({}), ["a", "b"], "a", since=0.0, now=1.0).sentence.startswith("Too early")


def test_several_arms_share_the_error() -> None:
    arm, control = sum_users("a", [1] * 50, [0.1, 0.3] * 25), sum_users("b", [1] * 50, [0.0, 0.2] * 25)
    wide, narrow = compare_arms(arm, control, 0.975), compare_arms(arm, control)
    assert wide is not None
    assert narrow is not None
    assert (wide.low or 0.0) < (narrow.low or 0.0)


def test_a_larger_holdout_keeps_whom_a_smaller_one_had() -> None:
    small, large = (HoldoutSplit(Holdout(share, "random"), b"secret") for share in (0.1, 0.3))
    users = [f"user-{number}" for number in range(3_000)]
    held = {user for user in users if small.is_control(user)}
    assert held < {user for user in users if large.is_control(user)}
    assert 0.08 < len(held) / len(users) < 0.12


@pytest.mark.parametrize("make", [in_memory, on_disk])
async def test_arms_follow_what_happens_to_users(make: Make, tmp_path: Path) -> None:
    service = Service(
        make(tmp_path), experiment=Experiment.parse("linucb-v2:50,thompson-v1:50"), holdout=Holdout(0.3, "first")
    )
    await service.deployment.store.open()
    await service.deployment.start()
    arms: dict[str, str] = {}
    for number in range(40):
        for _ in range(2):
            scored = await service.score(user_id=f"user-{number}")
            arms[f"user-{number}"] = scored.policy
            await service.reward({"decision_id": scored.decision_id, "reward": 0.5})
        await service.score(user_id=f"user-{number}", policy="squarecb-v1")  # named: of no arm
    await service.reopen()  # both go on
    await service.deployment.store.erase("user-0", "tests")
    del arms["user-0"]
    await service.deployment.store.follow_gains()
    experiment, holdout = (
        await load_experiment_status(service.deployment),
        await load_holdout_status(service.deployment),
    )
    assert experiment is not None
    assert holdout is not None
    for name, found in experiment.readout.arms.items():
        users = [user for user, policy in arms.items() if policy == name]
        assert (found.users, found.decisions, found.rewarded) == (len(users), 2 * len(users), 2 * len(users))
        assert experiment.arms[name].users == len(users)
        assert found.reward_per_user is not None
        assert found.reward_per_user.value == pytest.approx(1.0)
    held = sum(policy == "first-v1" for policy in arms.values())
    assert holdout.readout.arms["control"].users == held
    assert holdout.readout.arms["bandit"].users == len(arms) - held
    assert 0 < held < len(arms)
    await service.deployment.store.close()
