"""Coefficients: what every policy has learned about one user, feature by feature, and how sure it is."""

from typing import Any

import numpy as np

from bandstand.service.context import ServiceContext, format_time

_NORMAL_QUANTILE = 1.959963984540054
"""Half the width of a 95 % interval, in standard deviations of a normal distribution."""


async def list_coefficients(deployment: ServiceContext, user_id: str) -> list[dict[str, Any]]:
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
        posterior = state.get_posterior(deployment.get_prior(policy, user_id), now)
        variances = np.maximum(np.diagonal(posterior.covariance, axis1=-2, axis2=-1), 0.0)
        half = _NORMAL_QUANTILE * np.sqrt(np.broadcast_to(variances, policy.schema.shape)).ravel()
        means = np.broadcast_to(
            posterior.mean, policy.schema.shape
        ).ravel()  # before the first reward, one for all blocks
        found.append(
            {
                "policy": policy.name,
                "active": policy.name == deployment.active_policy,
                "pulls": state.pulls,
                "explores": state.explores,
                "reward_count": state.reward_count,
                "mean_reward": state.cumulative_reward / state.reward_count if state.reward_count else None,
                "last_updated": format_time(state.last_updated),
                "features": [
                    {"label": label, "mean": mean, "low": mean - width, "high": mean + width}
                    for label, mean, width in zip(
                        policy.schema.weight_labels, means.tolist(), half.tolist(), strict=True
                    )
                ],
            }
        )
    return sorted(found, key=lambda each: not each["active"])
