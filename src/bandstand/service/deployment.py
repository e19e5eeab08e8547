"""What every use case works with: the configured policies, the store, the clock."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.policies import Policy
from bandstand.bandit.ridge import Prior
from bandstand.service.population import REFRESH_REWARDS, Population
from bandstand.store.base import Store
from bandstand.store.events import DecisionIds, PolicyRef
from bandstand.store.priors import PriorFiles
from bandstand.store.registry import policy_ref

DEFAULT_POLICY = "linucb-v2"


@dataclass(slots=True)
class Deployment:
    """One running Bandstand.

    Attributes:
        active: the policy that un-named requests mean.
        score_when_full: answer ``/score`` without logging while the disk is full, instead of refusing.
        prior_files: where learned priors are kept.
        prior_refresh_rewards: rewards after which a population prior is learned again.
        population: the learned priors; whoever opens the store opens it after, and closes it before.
    """

    catalogue: Catalogue
    store: Store
    active: str = DEFAULT_POLICY
    score_when_full: bool = False
    clock: Callable[[], float] = time.time
    decision_ids: DecisionIds = field(default_factory=DecisionIds)
    prior_files: PriorFiles | None = None
    prior_refresh_rewards: int = REFRESH_REWARDS
    population: Population = field(init=False)
    refs: Mapping[str, PolicyRef] = field(init=False)

    def __post_init__(self) -> None:
        self.population = Population(
            self.catalogue,
            self.store,
            self.prior_files,
            refresh_rewards=self.prior_refresh_rewards,
            clock=self.clock,
        )
        self.active = self.catalogue.policy(self.active).name
        self.refs = {name: policy_ref(policy) for name, policy in self.catalogue.policies.items()}

    def policy(self, name: str | None) -> Policy:
        """The policy of that name or alias; the active one where none is named.

        Raises:
            UnknownPolicyError: none is configured under that name.
        """
        return self.catalogue.policy(self.active if name is None else name)

    def prior(self, policy: Policy, user_id: str) -> Prior:
        """What a policy believes of a user before their first reward."""
        return self.population.prior(policy, user_id)


def iso(ts: float | None) -> str | None:
    """A time as the wire has it: ISO 8601 in UTC."""
    return None if ts is None else datetime.fromtimestamp(ts, UTC).isoformat()
