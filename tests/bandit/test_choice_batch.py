"""Requests decided together are decided as each would be alone."""

from itertools import chain

import numpy as np
import pytest

from bandstand.bandit.choice import choose, choose_batch
from bandstand.bandit.profile import Profile
from tests.store.given import CATALOGUE

USERS, CANDIDATES = 7, 5


def build_request(rng: np.random.Generator, policy: str) -> tuple[dict[str, object], list[dict[str, object]]]:
    schema = CATALOGUE.policies[policy].schema
    values = {
        "hour_of_day": int(rng.integers(24)),
        "day_of_week": int(rng.integers(7)),
        "is_overdue": bool(rng.integers(2)),
        "task_age_days": float(rng.uniform(0, 40)),
        "priority": int(rng.integers(1, 5)),
    }
    context: dict[str, object] = {name: values[name] for name in schema.context_fields}
    candidates: list[dict[str, object]] = [
        {"is_overdue": bool(rng.integers(2)), "task_age_days": float(rng.uniform(0, 40)), "priority": number % 4 + 1}
        for number in range(CANDIDATES)
    ]
    del candidates[0]["priority"]  # and takes its default
    return context, candidates


@pytest.mark.parametrize("name", sorted(CATALOGUE.policies))
def test_a_batch_decides_as_one_by_one(name: str) -> None:
    policy, rng = CATALOGUE.policies[name], np.random.default_rng(5)
    profiles = [Profile(f"user-{number}") for number in range(USERS)]
    key = (policy.name, policy.schema.name)
    for number, profile in enumerate(profiles[1:]):  # the first has taught nothing
        for ts in range(number + 1):
            x = rng.uniform(-1, 1, policy.schema.dimension)
            profile.apply_reward(ts + 1, key, float(ts), x, float(rng.uniform(-1, 1)), 1.0, policy.half_life)
    profiles.append(profiles[3])  # and one comes twice
    contexts, candidates = zip(*(build_request(rng, name) for _ in profiles), strict=True)
    seeds = rng.uniform(0, 1, len(profiles))
    x = policy.schema.encode_requests(contexts, list(chain.from_iterable(candidates)))
    chosen = choose_batch(policy, profiles, x, seeds, priors=[policy.prior] * len(profiles), now=50.0)
    for row, profile in enumerate(profiles):
        alone = policy.schema.encode(contexts[row], candidates[row])
        assert np.array_equal(x[row], alone), "encoded bit for bit"
        distribution, pick, exploring = choose(policy, profile, alone, seeds[row], prior=policy.prior, now=50.0)
        expected = (distribution.mean, distribution.width, distribution.score, distribution.probability)
        np.testing.assert_allclose(chosen.numbers[row], expected, rtol=1e-12, atol=1e-14)
        assert (chosen.picks.index[row], chosen.picks.exploring[row]) == (pick, exploring)
        assert chosen.floor == distribution.floor


def test_one_score_that_is_not_finite_is_refused() -> None:
    policy = CATALOGUE.policies["linucb-v2"]
    x = np.zeros((2, 3, policy.schema.dimension))
    x[1, 2] = np.inf
    with pytest.raises(ValueError, match="finite"), np.errstate(all="ignore"):
        choose_batch(policy, [Profile("a"), Profile("b")], x, np.array([0.5, 0.5]), priors=[policy.prior] * 2, now=0.0)
