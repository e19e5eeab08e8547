"""Policies: what is configured, which one un-named requests mean, and how that came about."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from bandstand.bandit.policies import PriorKind
from bandstand.service.context import ServiceContext
from bandstand.service.promotion import ActivePolicyStatus, PromotionEntry, get_active, list_promotions

_MAX_PROMOTIONS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDescription:
    """A configured policy.

    Attributes:
        active: whether un-named requests mean it, of all users or of some.
        share: the share of the users whose un-named requests mean it.
        shadow: whether it looks at what other policies decide.
        prior: what a new user starts from; ``None`` if the policy believes nothing of users.
        schema: the name of its feature schema.
    """

    name: str
    kind: str
    hash: str
    active: bool
    share: float
    shadow: bool
    aliases: Sequence[str]
    parameters: Mapping[str, float]
    prior: PriorKind | None
    schema: str
    schema_hash: str
    feature_labels: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOverview(ActivePolicyStatus):
    """The active policy, the newest 100 changes of it (the newest first), and every policy."""

    promotions: Sequence[PromotionEntry]
    policies: Sequence[PolicyDescription]


def build_overview(deployment: ServiceContext) -> PolicyOverview:
    """Which policy is active, how that came about, and what else is configured."""
    return PolicyOverview(
        **asdict(get_active(deployment)),
        promotions=list_promotions(deployment, _MAX_PROMOTIONS),
        policies=list_policies(deployment),
    )


def list_policies(deployment: ServiceContext) -> list[PolicyDescription]:
    """Every configured policy, its definition and the names it goes by."""
    aliases: dict[str, list[str]] = {}
    for alias, name in deployment.catalogue.aliases.items():
        aliases.setdefault(name, []).append(alias)
    experiment = deployment.experiment
    shares = {deployment.active_policy: 1.0} if experiment is None else experiment.compute_shares()
    in_shadow = () if deployment.shadows is None else deployment.shadows.policies
    return [
        PolicyDescription(
            name=policy.name,
            kind=policy.kind,
            hash=policy.hash,
            active=policy.name in shares,
            share=shares.get(policy.name, 0.0),
            shadow=policy in in_shadow,
            aliases=aliases.get(policy.name, []),
            parameters=dict(policy.parameters),
            prior=policy.prior_kind,
            schema=policy.schema.name,
            schema_hash=policy.schema.hash,
            feature_labels=list(policy.schema.weight_labels),
        )
        for policy in deployment.catalogue.policies.values()
    ]
