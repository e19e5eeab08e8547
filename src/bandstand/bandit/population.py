"""What a population of users teaches about each of them: one prior for all, and for few users one each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

from bandstand.bandit.prior import ITERATIONS, UserSums, fit_prior, predictive
from bandstand.bandit.ridge import Prior, RidgeState

FEW = 20
"""With fewer users, the prior of each leaves out their own rewards, which would count twice."""

_WORK = 13_000_000  # half a second, at d = 8 as at d = 64
_STEP = 2_500  # what a step of EM costs however little there is to do


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
        earlier: "PopulationPrior | None" = None,
        *,
        steps: int = ITERATIONS,
    ) -> Self:
        """Estimate the prior from the sums of some users; see :func:`bandstand.bandit.prior.fit_prior`.

        Args:
            members: the users.
            base: the centre of the hyperprior.
            earlier: what was learned before, from which the way is shorter.
            steps: at most so many steps of EM for each estimate, see :func:`refresh_steps`.
        """
        start, begun = (earlier.estimate, earlier.own) if earlier and earlier.users else (None, {})
        sums = UserSums.stack(list(members.values()), base.mean.size)
        count = len(sums)
        estimate = fit_prior(sums, base, start=start, iterations=steps)
        own = {}
        if count < FEW:
            for place, user_id in enumerate(members):
                # Not from the estimate: a few steps would leave in it what the user told.
                others = fit_prior(sums.without(place), base, start=begun.get(user_id), iterations=steps)
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


def refresh_steps(users: int, d: int, share: float = 1.0) -> int:
    """Return how many steps of EM for each estimate make :meth:`PopulationPrior.learned` take about half a second.

    For many wide models that is not all the way; every step improves the estimate, and the next refresh goes on.

    >>> refresh_steps(50, 8), refresh_steps(2000, 8), refresh_steps(2000, 8, share=0.5)
    (1000, 88, 44)

    Args:
        users: how many there are to learn from; among few there is an estimate for each of them too.
        d: features.
        share: of the half second, where several priors are due at once.
    """
    estimates = users + 1 if 1 < users < FEW else 1
    step = _STEP + max(1, users) * d * d * (1 + d / 64)
    return min(ITERATIONS, max(1, int(_WORK * share / (step * estimates))))
