"""Policies: what is configured, and which one un-named requests mean."""

from typing import Any

from bandstand.service.deployment import Deployment


def policies(deployment: Deployment) -> list[dict[str, Any]]:
    """Every configured policy, its definition and the names it goes by."""
    aliases: dict[str, list[str]] = {}
    for alias, name in deployment.catalogue.aliases.items():
        aliases.setdefault(name, []).append(alias)
    return [
        {
            "name": policy.name,
            "kind": policy.kind,
            "hash": policy.hash,
            "active": policy.name == deployment.active,
            "aliases": aliases.get(policy.name, []),
            "parameters": dict(policy.parameters),
            "schema": policy.schema.name,
            "schema_hash": policy.schema.hash,
            "feature_labels": list(policy.schema.labels),
        }
        for policy in deployment.catalogue.policies.values()
    ]
