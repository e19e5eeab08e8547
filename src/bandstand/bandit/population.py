"""What a population of users teaches about each of them: one prior for all, and for few users one each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

from bandstand.bandit.prior import ITERATIONS, UserSums, fit_prior, predictive
from bandstand.bandit.ridge import Prior, RidgeState

FEW = 20
"""With fewer users, the prior of each leaves out their own rewards, which would count twice."""

_WORK = 13_000_000  # about a second, at d = 8 as at d = 64


@dataclass(frozen=True, slots=True, eq=False)
class PopulationPrior:
    """What is believed of a user before their first reward, after what others taught.

    Attributes:
        estimate: the population's (μ, Σ, σ²) itself, see :func:`bandstand.bandit.prior.fit_prior`.
        shared: what is believed of a user who is not among those it was learned from, or is one among many.
        own: of the users it was learned from, where they are fewer than ``FEW``: what the others alone support.
        users: how many it was learned from.
        rewards: how many rewards they had given.
    """

    estimate: Prior
    shared: Prior
    own: Mapping[str, Prior] = field(default_factory=lambda: MappingProxyType({}))
    users: int = 0
    rewards: int = 0

    def of(self, user_id: str) -> Prior:
        """Return the prior of one user."""
        return self.own.get(user_id, self.shared)

    @classmethod
    def unlearned(cls, base: Prior) -> Self:
        """Return the prior of a population that nobody has met."""
        return cls(base, base)

    @classmethod
    def learned(
        cls,
        members: Mapping[str, RidgeState],
        base: Prior,
        start: Prior | None = None,
        *,
        steps: int = ITERATIONS,
    ) -> Self:
        """Estimate the prior from the sums of some users; see :func:`bandstand.bandit.prior.fit_prior`.

        Args:
            members: the users.
            base: the centre of the hyperprior.
            start: an earlier estimate, from which the way is shorter.
            steps: at most so many steps of EM, see :func:`refresh_steps`.
        """
        sums = UserSums.stack(list(members.values()), base.mean.size)
        count = len(sums)
        estimate = fit_prior(sums, base, start=start, iterations=steps)
        own = {}
        if count < FEW:
            for place, user_id in enumerate(members):
                others = fit_prior(sums.without(place), base, start=estimate, iterations=steps)
                own[user_id] = predictive(others, count - 1, base)
        rewards = sum(state.count for state in members.values())
        shared = predictive(estimate, count, base)
        return cls(estimate, shared, MappingProxyType(own), count, rewards)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "users": self.users,
            "rewards": self.rewards,
            "estimate": self.estimate.to_json(),
            "shared": self.shared.to_json(),
            "own": {user_id: prior.to_json() for user_id, prior in self.own.items()},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read ``to_json`` back, to the last bit.

        Raises:
            ValueError: an entry is missing or not what it should be.
        """
        try:
            own = {str(user_id): Prior.from_json(prior) for user_id, prior in document["own"].items()}
            return cls(
                Prior.from_json(document["estimate"]),
                Prior.from_json(document["shared"]),
                MappingProxyType(own),
                int(document["users"]),
                int(document["rewards"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a population prior: {error}") from error


def refresh_steps(users: int, d: int) -> int:
    """Return how many steps of EM over so many users with d features take about a second.

    For many wide models that is not all the way; every step improves the estimate, and the next refresh goes on.
    """
    return min(ITERATIONS, max(4, int(_WORK / (max(1, users) * d * d * (1 + d / 64)))))
