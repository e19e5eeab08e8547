"""Eligibility: whoever is excluded keeps a place and has no chance, and the others decide as if among themselves."""

import numpy as np
import pytest

from bandstand.bandit.choice import choose, choose_batch
from bandstand.bandit.eligibility import find_eligible, list_eligible, spread
from bandstand.bandit.profile import Profile
from bandstand.errors import InvalidRequestError
from tests.store.given import CATALOGUE


@pytest.mark.parametrize("name", sorted(CATALOGUE.policies))
def test_the_eligible_are_decided_among_alone_and_the_others_keep_their_places(name: str) -> None:
    policy = CATALOGUE.policies[name]
    rng = np.random.default_rng(3)
    profile = Profile("anna")
    for seq in range(1, 8):
        x = rng.normal(size=policy.schema.dimension)
        profile.apply_reward(seq, (name, policy.schema.name), float(seq), x, rng.uniform(-1, 1), 1.0)
    x = rng.normal(size=(40, 6, policy.schema.dimension))
    eligible = [np.sort(rng.choice(6, size=4, replace=False)) for _ in x]
    seeds = rng.random(len(x))
    priors = [policy.prior] * len(x)
    made = choose_batch(policy, [profile] * len(x), x, seeds, priors=priors, now=9.0, eligible=eligible)
    for row, among in enumerate(eligible):
        alone = choose(policy, profile, x[row][among], seeds[row], prior=policy.prior, now=9.0)
        assert made.picks.index[row] == among[alone.pick]
        assert made.picks.exploring[row] == alone.exploring
        expected = spread(alone.distribution.probability, among, 6)
        np.testing.assert_allclose(made.numbers[row, 3], expected, atol=1e-12)
        assert made.numbers[row, 3].sum() == pytest.approx(1.0, abs=1e-12)
        assert np.isfinite(made.numbers[row]).all()


def test_everything_that_is_no_exclusion_is_refused_by_name() -> None:
    assert find_eligible({"candidates": [{"id": "a"}], "exclude": []}) is None
    assert list_eligible(["a", "b", "c"], ["c", "a", "c"]).tolist() == [1]
    for excluded in (["a", "b"], ["z"], ["a", "z"]):
        with pytest.raises(InvalidRequestError) as refused:
            list_eligible(["a", "b"], excluded)
        assert [fault.field for fault in refused.value.errors] == ["exclude"]
