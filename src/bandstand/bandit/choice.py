"""One decision, from what is known of a user to the pick: the step that serving and simulating share."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bandstand.bandit.arrays import FloatArray
from bandstand.bandit.distribution import Distribution, PickBatch, extract_second_uniform
from bandstand.bandit.eligibility import Indices
from bandstand.bandit.policies import Policy
from bandstand.bandit.policy_state import PolicyState
from bandstand.bandit.profile import Profile
from bandstand.bandit.ridge import Posterior, Prior
from bandstand.bandit.stacks import compute_stacked_posteriors

_UNTAUGHT = PolicyState()  # of a user whom the policy has not met; never changed


class Choice(NamedTuple):
    """What a policy did with K candidates.

    Attributes:
        distribution: the policy's answer for them.
        pick: index of the candidate that was drawn.
        exploring: whether the uniform branch drew it.
    """

    distribution: Distribution
    pick: int
    exploring: bool


def choose(
    policy: Policy,
    profile: Profile,
    x: FloatArray,
    seed: float,
    *,
    prior: Prior | None = None,
    now: float | None = None,
) -> Choice:
    """Ask the policy under what the profile holds, and draw once; the profile does not move.

    Args:
        policy: who decides.
        profile: what the user has taught.
        x: the candidates as the policy's schema encodes them, shape (K, d).
        seed: the decision's own draw, in [0, 1).
        prior: what was believed of the user before; the policy's own if it is not given.
        now: seconds since the epoch, for a policy that forgets.
    """
    state = profile.policies.get((policy.name, policy.schema.name), _UNTAUGHT)
    believed = state.get_posterior(prior or policy.prior, now)
    distribution = policy.distribution(believed, x, extract_second_uniform(seed))
    pick, exploring = distribution.draw(seed)
    return Choice(distribution, pick, exploring)


class BatchChoice(NamedTuple):
    """What a policy did with n requests of K candidates each.

    Attributes:
        numbers: mean, width, score and probability of every candidate: shape (n, 4, K).
        picks: what was drawn, by place among all K.
        floor: mass of the uniform branch.
    """

    numbers: FloatArray
    picks: PickBatch
    floor: float


def choose_batch(
    policy: Policy,
    profiles: Sequence[Profile],
    x: FloatArray,
    seeds: FloatArray,
    *,
    priors: Sequence[Prior],
    now: float,
    eligible: Sequence[Indices] | None = None,
) -> BatchChoice:
    """Do for n requests what :func:`choose` does for one.

    Args:
        policy: who decides.
        profiles: what the user of each has taught; a user may come more than once.
        x: the candidates of each, shape (n, K, d).
        seeds: the draw of each, shape (n,).
        priors: what was believed of the user of each before.
        now: seconds since the epoch.
        eligible: for each, the candidates that may be picked, equally many; all of them if it is not given. The policy
            decides among these alone; the numbers of the others are what they would be if they were eligible.
    """
    key = policy.name, policy.schema.name
    posteriors = _get_posteriors([profile.policies.get(key, _UNTAUGHT) for profile in profiles], priors, now)
    spares = extract_second_uniform(seeds)
    distributions = policy.compute_distributions(posteriors, x, spares)
    numbers = distributions.compute_numbers()
    if eligible is None:
        return BatchChoice(numbers, distributions.draw(seeds), distributions.floor)
    rows, places = np.arange(len(x))[:, None], np.stack(eligible)
    distributions = policy.compute_distributions(posteriors, x[rows, places], spares)
    numbers[:, 3] = 0.0
    numbers[rows, :, places] = distributions.compute_numbers().transpose(0, 2, 1)
    drawn = distributions.draw(seeds)
    picks = drawn._replace(index=places[rows[:, 0], drawn.index])
    return BatchChoice(numbers, picks, distributions.floor)


def _get_posteriors(states: Sequence[PolicyState], priors: Sequence[Prior], now: float) -> list[Posterior]:
    """The posterior of each; those that have to be computed from the sums are computed together."""
    found = [state.find_posterior(prior, now) for state, prior in zip(states, priors, strict=True)]
    due = [number for number, posterior in enumerate(found) if posterior is None]
    sums = [states[number].compute_sums() for number in due]
    computed = iter(compute_stacked_posteriors(sums, [priors[number] for number in due]) if due else ())
    return [
        posterior if posterior is not None else state.keep_posterior(next(computed))
        for state, posterior in zip(states, found, strict=True)
    ]
