"""Policies: what is configured, which one un-named requests mean, and how that came about."""

from typing import Any

from bandstand.bandit.policies import Policy
from bandstand.service import promotion
from bandstand.service.context import Deployment

_HISTORY = 100


def overview(deployment: Deployment) -> dict[str, Any]:
    """The active policy, the newest changes of it (the newest first), and every policy."""
    newest = deployment.promotions[: -_HISTORY - 1 : -1]
    return {
        **promotion.active(deployment),
        "promotions": [promotion.entry(deployment, each) for each in newest],
        "policies": policies(deployment),
    }


def policies(deployment: Deployment) -> list[dict[str, Any]]:
    """Every configured policy, its definition and the names it goes by.

    ``share`` is the share of the users whose un-named requests mean it; ``active`` says whether there are any, and
    ``shadow`` whether it looks at what others decide.
    """
    aliases: dict[str, list[str]] = {}
    for alias, name in deployment.catalogue.aliases.items():
        aliases.setdefault(name, []).append(alias)
    experiment = deployment.experiment
    shares = {deployment.active: 1.0} if experiment is None else experiment.shares()
    in_shadow = () if deployment.shadows is None else deployment.shadows.policies
    return [
        {
            "name": policy.name,
            "kind": policy.kind,
            "hash": policy.hash,
            "active": policy.name in shares,
            "share": shares.get(policy.name, 0.0),
            "shadow": policy in in_shadow,
            "aliases": aliases.get(policy.name, []),
            "parameters": dict(policy.parameters),
            "prior": _prior(policy),
            "schema": policy.schema.name,
            "schema_hash": policy.schema.hash,
            "feature_labels": list(policy.schema.weight_labels),
        }
        for policy in deployment.catalogue.policies.values()
    ]


def _prior(policy: Policy) -> str | None:
    """What a user starts from; None where the policy believes nothing of users."""
    if "prior" not in policy.options:
        return None
    return "population" if policy.learns_prior else "standard"
