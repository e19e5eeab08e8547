"""The reservoir: which users it holds depends on who was met and on nothing else, and all are equally likely."""

import numpy as np
import pytest

from bandstand.bandit.reservoir import Reservoir, compute_capacity, compute_sampling_key
from bandstand.bandit.ridge import RidgeState

SUMS = RidgeState.empty(2)
SEED = b"which sample"


def offer_users(users: list[str], size: int, seed: bytes = SEED) -> Reservoir:
    reservoir = Reservoir(size, seed)
    for user in users:
        reservoir.add(user, SUMS)
    return reservoir


def test_it_holds_everybody_until_it_is_full() -> None:
    reservoir = offer_users(["ada", "bob", "ada"], 3)
    assert sorted(reservoir) == ["ada", "bob"]
    assert len(reservoir) == 2
    assert "ada" in reservoir
    assert "eve" not in reservoir


def test_the_sample_is_that_of_the_smallest_keys_in_whatever_order_users_come() -> None:
    users = [f"user-{number}" for number in range(500)]
    expected = sorted(users, key=lambda user: compute_sampling_key(SEED, user))[:40]
    rng = np.random.default_rng(0)
    for _ in range(3):
        repeated = rng.permutation(users * 2).tolist()
        assert set(offer_users(repeated, 40)) == set(expected)


def test_every_user_is_equally_likely() -> None:
    """Over 400 seeds each of 50 users is among the 10 for about 80 of them (χ² with 49 degrees, 1 in 10⁴)."""
    users = [f"user-{number}" for number in range(50)]
    counts = np.zeros(50)
    for number in range(400):
        held = offer_users(users, 10, str(number).encode())
        counts += [user in held for user in users]
    # Without replacement the variance is 80·(1 − 10/50): χ² is smaller by that factor.
    assert ((counts - 80.0) ** 2 / 80.0).sum() / 0.8 < 94.6


def test_it_keeps_the_newest_sums_and_tells_who_is_in() -> None:
    reservoir = Reservoir(1, SEED)
    first, second = sorted(["ada", "bob"], key=lambda user: compute_sampling_key(SEED, user))
    newer = SUMS.with_reward(np.ones(2), 1.0)
    assert reservoir.add(second, SUMS)
    assert reservoir.add(second, newer)
    assert reservoir.members()[second] is newer
    assert reservoir.add(first, SUMS)
    assert not reservoir.add(second, newer)
    assert list(reservoir) == [first]


def test_who_is_removed_is_gone_and_makes_room() -> None:
    users = [f"user-{number}" for number in range(30)]
    reservoir = offer_users(users, 10)
    gone = next(iter(reservoir))
    assert reservoir.remove(gone)
    assert not reservoir.remove(gone)
    assert gone not in reservoir
    assert len(reservoir) == 9
    for user in users:
        reservoir.add(user, SUMS)
    assert len(reservoir) == 10
    assert set(reservoir) == set(offer_users(users, 10))


def test_members_are_a_copy_in_the_order_of_their_names() -> None:
    reservoir = offer_users(["cleo", "ada", "bob"], 3)
    members = reservoir.members()
    reservoir.remove("ada")
    assert list(members) == ["ada", "bob", "cleo"]


@pytest.mark.parametrize(("d", "users"), [(1, 2000), (32, 2000), (33, 1925), (256, 32)])
def test_wide_models_make_it_smaller(d: int, users: int) -> None:
    assert compute_capacity(d) == users
    assert compute_capacity(d) * d * d * 8 <= 2**24


def test_a_long_seed_and_odd_ids_have_keys_too() -> None:
    assert compute_sampling_key(b"x" * 100, "\ud800") != compute_sampling_key(b"x" * 101, "\ud800")
