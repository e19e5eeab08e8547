"""Coefficients: what every policy has learned about one user, feature by feature, and how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bandstand.service.context import ServiceContext
from bandstand.service.likings import Liking, list_likings

_NORMAL_QUANTILE = 1.959963984540054
"""Half the width of a 95 % interval, in standard deviations of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Coefficient:
    """One number of θ: the posterior's mean, and its interval of 95 %."""

    label: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyCoefficients:
    """What one policy has learned about a user, and what it has counted; ``likings`` hold it against a stranger."""

    policy: str
    active: bool
    pulls: int
    explores: int
    reward_count: int
    mean_reward: float | None
    features: Sequence[Coefficient]
    likings: Sequence[Liking]


async def list_coefficients(deployment: ServiceContext, user_id: str) -> list[PolicyCoefficients]:
    """Each configured policy's posterior of θ with the user's counters; those that met the user, the active one first.

    The interval of θᵢ is mᵢ ± 1.96 √Vᵢᵢ, with m and V the posterior's mean and covariance under the policy's prior and
    its noise (:mod:`bandstand.bandit.ridge`): where 95 % of the belief lies, if that noise is right.
    """
    profile = await deployment.store.load_profile(user_id)
    now = deployment.clock()
    found = []
    for policy in deployment.catalogue.policies.values():
        state = profile.policies.get((policy.name, policy.schema.name))
        if state is None:
            continue
        prior = deployment.get_prior(policy, user_id)
        posterior = state.get_posterior(prior, now)
        variances = np.maximum(np.diagonal(posterior.covariance, axis1=-2, axis2=-1), 0.0)
        half = _NORMAL_QUANTILE * np.sqrt(np.broadcast_to(variances, policy.schema.shape)).ravel()
        means = np.broadcast_to(
            posterior.mean, policy.schema.shape
        ).ravel()  # before the first reward, one for all blocks
        stranger = np.broadcast_to(prior.mean, policy.schema.shape).ravel()
        found.append(
            PolicyCoefficients(
                policy=policy.name,
                active=policy.name == deployment.active_policy,
                pulls=state.pulls,
                explores=state.explores,
                reward_count=state.reward_count,
                mean_reward=state.cumulative_reward / state.reward_count if state.reward_count else None,
                features=[
                    Coefficient(label, mean, mean - width, mean + width)
                    for label, mean, width in zip(
                        policy.schema.weight_labels, means.tolist(), half.tolist(), strict=True
                    )
                ],
                likings=list_likings(policy.schema, means - stranger, posterior.covariance),
            )
        )
    return sorted(found, key=lambda each: not each.active)
