"""The split: stable, uniform, independent of other splits, and moving no more users than new weights ask for."""

import math

import pytest

from bandstand.bandit.chi_square import compute_p_value
from bandstand.bandit.experiment import Experiment, Split

SECRET = b"s" * 32
USERS = [f"user-{number}" for number in range(20_000)]
THREE = "linucb-v2:60,thompson-v1:30,first-v1:10"


def arms(text: str, secret: bytes = SECRET) -> list[str]:
    split = Split(Experiment.parse(text), secret)
    return [split.assign_policy(user) for user in USERS]


def test_a_user_stays_in_their_arm() -> None:
    assert arms(THREE) == arms(THREE)
    pinned = Split(Experiment.parse("linucb-v2:1,first-v1:1"), SECRET)
    assert [pinned.assign_policy(user) for user in ("anna", "berta", "\U0001f98a", "\ud800")] == [
        pinned.assign_policy(user) for user in ("anna", "berta", "\U0001f98a", "\ud800")
    ]


@pytest.mark.parametrize("text", [THREE, "linucb-v2:1,first-v1:1", "a=linucb-v2:0.98,first-v1:0.02"])
def test_arms_get_their_share_of_the_users(text: str) -> None:
    found = arms(text)
    shares = Experiment.parse(text).compute_shares()
    statistic = math.fsum(
        (found.count(arm) - share * len(USERS)) ** 2 / (share * len(USERS)) for arm, share in shares.items()
    )
    assert compute_p_value(statistic, len(shares) - 1) > 0.001


def test_new_weights_move_only_as_many_users_as_they_must() -> None:
    before, after = arms("linucb-v2:90,first-v1:10"), arms("linucb-v2:80,first-v1:20")
    moved = {(old, new) for old, new in zip(before, after, strict=True) if old != new}
    assert moved == {("linucb-v2", "first-v1")}
    share = sum(old != new for old, new in zip(before, after, strict=True)) / len(USERS)
    assert share == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / len(USERS)))


@pytest.mark.parametrize(
    ("text", "secret"), [("two=linucb-v2:1,first-v1:1", SECRET), ("linucb-v2:1,first-v1:1", b"t" * 32)]
)
def test_another_name_or_another_secret_is_another_draw(text: str, secret: bytes) -> None:
    one, other = arms("linucb-v2:1,first-v1:1"), arms(text, secret)
    together = sum(a == b for a, b in zip(one, other, strict=True)) / len(USERS)
    assert together == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(len(USERS)))


def test_it_is_read_with_a_name_and_without() -> None:
    experiment = Experiment.parse(" autumn = linucb-v2:3 , first-v1: 1")
    assert (experiment.name, experiment.compute_shares()) == ("autumn", {"linucb-v2": 0.75, "first-v1": 0.25})
    assert experiment.leading_policy == "linucb-v2"
    assert Experiment.parse("first-v1:1,linucb-v2:1").leading_policy == "first-v1"
    assert experiment.to_canonical_json() != Experiment.parse("linucb-v2:3,first-v1:1").to_canonical_json()
    assert experiment.to_canonical_json() == Experiment.parse("autumn=linucb-v2:3.0,first-v1:1.0").to_canonical_json()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("linucb-v2:90", "fewer than two"),
        ("linucb-v2,first-v1:10", "entry 1 is not policy:weight"),
        ("linucb-v2:90,:10", "entry 2 is not policy:weight"),
        ("linucb-v2:90,first-v1:0", "entry 2: its weight"),
        ("linucb-v2:90,first-v1:-1", "entry 2: its weight"),
        ("linucb-v2:90,first-v1:nan", "entry 2: its weight"),
        ("linucb-v2:90,first-v1:inf", "entry 2: its weight"),
        ("linucb-v2:90,first-v1:ten", "entry 2: its weight"),
        ("linucb-v2:90,linucb-v2:10", "twice"),
        ("An Experiment=linucb-v2:90,first-v1:10", "its name"),
        ("=linucb-v2:90,first-v1:10", "its name"),
        ("", "entry 1"),
    ],
)
def test_what_is_wrong_is_said(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Experiment.parse(text)
