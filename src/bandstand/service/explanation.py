"""Explanations: what each named feature adds to a candidate's mean reward, as the user is believed to be now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandstand.bandit.disjoint import get_block
from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.policies import Policy
from bandstand.service.context import ServiceContext
from bandstand.store.records import Array, Decision

MAX_CONTRIBUTIONS = 50
"""Of one candidate, the largest; an open schema's row may have tens of thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What one feature adds to θ·x.

    Attributes:
        name: a column's label, or a token or a pair of tokens of an open feature.
        value: its part of x.
        weight: θ of its column.
        contribution: their product.
    """

    name: str
    value: float
    weight: float
    contribution: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateExplanation:
    """Why a candidate's mean is what it is now.

    Attributes:
        mean: θ·x, the sum of all contributions.
        contributions: the 50 largest in size, the largest first.
    """

    mean: float
    contributions: Sequence[Contribution]


async def load_theta(deployment: ServiceContext, decision: Decision) -> Array | None:
    """The posterior's mean of the decision's policy for its user now, of the shape of its schema's weights.

    None if the policy or the schema that it was made under is no longer configured.
    """
    policy = deployment.catalogue.policies.get(decision.policy.name)
    if policy is None or policy.schema.hash != decision.policy.schema_hash:
        return None
    return await load_user_theta(deployment, policy, decision.user_id)


async def load_user_theta(deployment: ServiceContext, policy: Policy, user_id: str) -> Array:
    """The posterior's mean of a policy for a user now, of the shape of its schema's weights."""
    profile = await deployment.store.load_profile(user_id)
    state = profile.policies.get((policy.name, policy.schema.name))
    prior = deployment.get_prior(policy, user_id)
    mean = prior.mean if state is None else state.get_posterior(prior, deployment.clock()).mean
    return np.broadcast_to(mean, policy.schema.shape)


def explain_candidate(
    schema: FeatureSchema, theta: Array, context: Mapping[str, Any], candidate: Mapping[str, Any]
) -> CandidateExplanation:
    """Take θ·x of one candidate apart.

    Args:
        schema: what encodes it.
        theta: θ, of the shape of the schema's weights.
        context: raw values.
        candidate: raw values.
    """
    weights = theta[get_block(schema.encode(context, [candidate])[0])] if schema.block_count else theta
    made = [
        Contribution(
            name=part.name,
            value=part.value,
            weight=float(weights[part.column]),
            contribution=part.value * float(weights[part.column]),
        )
        for part in schema.list_parts(context, candidate)
        if part.value
    ]
    mean = float(sum(each.contribution for each in made))
    made.sort(key=lambda each: -abs(each.contribution))
    return CandidateExplanation(mean=mean, contributions=made[:MAX_CONTRIBUTIONS])
