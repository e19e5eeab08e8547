"""What the users of one world teach about each other: the population prior, refreshed as serving refreshes it."""

from bandstand.bandit.policies import Policy
from bandstand.bandit.population import PopulationPrior, count_new_rewards
from bandstand.bandit.reservoir import Reservoir, compute_capacity
from bandstand.bandit.ridge import Prior, RidgeState

_SAMPLE = b"simulate"


class SimulatedPopulation:
    """The prior of one policy over the users of one world; deterministic, and on nobody's clock.

    Args:
        policy: whose prior it is.
        refresh_rewards: new rewards after which it is estimated again; if it is not given, as they grow, see
            :func:`bandstand.bandit.population.count_new_rewards`.
    """

    def __init__(self, policy: Policy, refresh_rewards: int | None = None) -> None:
        self._policy = policy
        self._refresh_rewards = refresh_rewards or policy.refresh_rewards
        self._prior = PopulationPrior.from_base(policy.prior)
        self._reservoir = Reservoir(compute_capacity(policy.sums_width), _SAMPLE)
        self._new = 0

    def get_prior(self, user_id: str) -> Prior:
        """What is believed of a user before their first reward."""
        return self._prior.get_prior(user_id)

    def update(self, user_id: str, sums: RidgeState | None) -> None:
        """Take a user's newest sums, after one more reward."""
        if sums is not None:
            self._reservoir.add(user_id, sums)
            self._new += 1

    def replace_sums(self, user_id: str, sums: RidgeState | None) -> None:
        """Take a user's sums under another memory: nothing new was taught."""
        if sums is not None:
            self._reservoir.add(user_id, sums)

    def get_shared_prior(self) -> Prior:
        """The prior of a user who has not been met yet."""
        return self._prior.shared

    def refresh(self) -> None:
        """Estimate the prior again, if enough rewards have come."""
        if self._new >= (self._refresh_rewards or count_new_rewards(self._prior.rewards)):
            self._new = 0
            self._prior = self._policy.fit_prior(self._reservoir.members(), self._prior)
