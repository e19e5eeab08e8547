"""Which policies there are, and which one is active.

Written by ``tools/write_client.py`` from the service's ``openapi.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bandstand_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class ActivePolicy(Answer):
    """Which policy is active, and how that came about.

    Attributes:
        active: what un-named requests mean; in an experiment, its arm of the largest weight.
        since: when it was promoted; null where it is active without that.
        by: name of the API key that promoted it.
        pinned_by: the setting that decides it.

    Example:
        >>> client.promote("thompson-v1").pinned_by is None
        True
        >>> client.demote("thompson-v1").active
        'linucb-v2'
    """

    active: str
    since: str | None = None
    by: str | None = None
    pinned_by: Literal["ACTIVE_POLICY", "EXPERIMENT"] | None = None


@dataclass(frozen=True, kw_only=True)
class PolicyChange(Answer):
    """One change of the active policy.

    Attributes:
        policy: active from then on.

    Example:
        >>> client.promote("thompson-v1").active
        'thompson-v1'
        >>> client.policies().promotions[0].instead_of
        'linucb-v2'
        >>> client.demote("thompson-v1").active
        'linucb-v2'
    """

    ts: str
    by: str
    action: Literal["promote", "demote"]
    policy: str
    instead_of: str


@dataclass(frozen=True, kw_only=True)
class PolicyEntry(Answer):
    """A configured policy.

    Attributes:
        active: whether un-named requests mean it, of all users or of some.
        share: the share of the users whose un-named requests mean it.
        shadow: whether it looks at what other policies decide, and learns from their rewards.
        prior: what a new user starts from; null where nothing is believed of users.
        schema: name of the feature schema.
        feature_labels: names of the numbers in theta.

    Example:
        >>> next(each for each in client.policies().policies if each.name == "linucb-v1").aliases
        ('linucb',)
    """

    name: str
    kind: str
    hash: str
    active: bool
    share: float
    shadow: bool
    aliases: tuple[str, ...]
    parameters: Mapping[str, float]
    prior: Literal["auto", "standard", "population"] | None = None
    schema: str
    schema_hash: str
    feature_labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Policies(Answer):
    """The configured policies, which one is active, and how that came about.

    Attributes:
        active: what un-named requests mean; in an experiment, its arm of the largest weight.
        since: when it was promoted; null where it is active without that.
        by: name of the API key that promoted it.
        pinned_by: the setting that decides it.
        promotions: the newest 100 changes, the newest first.

    Example:
        >>> client.policies().pinned_by is None
        True
    """

    active: str
    since: str | None = None
    by: str | None = None
    pinned_by: Literal["ACTIVE_POLICY", "EXPERIMENT"] | None = None
    promotions: tuple[PolicyChange, ...]
    policies: tuple[PolicyEntry, ...]
