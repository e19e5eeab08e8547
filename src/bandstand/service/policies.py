"""Policies: what is configured, which one un-named requests mean, and how that came about."""

from typing import Any

from bandstand.service import promotion
from bandstand.service.context import ServiceContext

_MAX_PROMOTIONS = 100


def build_overview(deployment: ServiceContext) -> dict[str, Any]:
    """The active policy, the newest changes of it (the newest first), and every policy."""
    newest = deployment.promotions[: -_MAX_PROMOTIONS - 1 : -1]
    return {
        **promotion.get_active(deployment),
        "promotions": [promotion.to_entry(deployment, each) for each in newest],
        "policies": list_policies(deployment),
    }


def list_policies(deployment: ServiceContext) -> list[dict[str, Any]]:
    """Every configured policy, its definition and the names it goes by.

    ``share`` is the share of the users whose un-named requests mean it; ``active`` says whether there are any, and
    ``shadow`` whether it looks at what others decide.
    """
    aliases: dict[str, list[str]] = {}
    for alias, name in deployment.catalogue.aliases.items():
        aliases.setdefault(name, []).append(alias)
    experiment = deployment.experiment
    shares = {deployment.active_policy: 1.0} if experiment is None else experiment.compute_shares()
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
            "prior": policy.prior_kind,
            "schema": policy.schema.name,
            "schema_hash": policy.schema.hash,
            "feature_labels": list(policy.schema.weight_labels),
        }
        for policy in deployment.catalogue.policies.values()
    ]
