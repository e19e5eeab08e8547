"""What a population of users teaches about each of them: one prior for all, and for few users one each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

from bandstand.bandit.prior import MAX_ITERATIONS, UserSums, compute_predictive_prior, fit_prior
from bandstand.bandit.ridge import Prior, RidgeState

LEAVE_ONE_OUT_BELOW = 20
"""With fewer users, the prior of each leaves out their own rewards, which would count twice."""

_WORK = 13_000_000  # half a second, at d = 8 as at d = 64
_STEP = 2_500  # what a step of EM costs however little there is to do


@dataclass(frozen=True, slots=True, eq=False)
class PopulationPrior:
    """What is believed of a user before their first reward, after what others taught.

    Attributes:
        estimate: the population's (μ, Σ, σ²) itself, see :func:`bandstand.bandit.prior.fit_prior`.
        shared: what is believed of a user who is not among those it was learned from, or is one among many.
        leave_one_out: of the users it was learned from, where they are fewer than ``LEAVE_ONE_OUT_BELOW``: what the
            others alone support.
        users: how many it was learned from.
        rewards: how many rewards they had given.
    """

    estimate: Prior
    shared: Prior
    leave_one_out: Mapping[str, Prior] = field(default_factory=lambda: MappingProxyType({}))
    users: int = 0
    rewards: int = 0

    def get_prior(self, user_id: str) -> Prior:
        """Return the prior of one user."""
        return self.leave_one_out.get(user_id, self.shared)

    @classmethod
    def from_base(cls, base: Prior) -> Self:
        """Return the prior of a population that nobody has met."""
        return cls(base, base)

    @classmethod
    def fit(
        cls,
        members: Mapping[str, RidgeState],
        base: Prior,
        previous: "PopulationPrior | None" = None,
        *,
        steps: int = MAX_ITERATIONS,
    ) -> Self:
        """Estimate the prior from the sums of some users; see :func:`bandstand.bandit.prior.fit_prior`.

        Args:
            members: the users.
            base: the centre of the hyperprior.
            previous: what was learned before, from which the way is shorter.
            steps: at most so many steps of EM for each estimate, see :func:`refresh_steps`.
        """
        start, begun = (previous.estimate, previous.leave_one_out) if previous and previous.users else (None, {})
        sums = UserSums.from_states(list(members.values()), base.mean.size)
        count = len(sums)
        estimate = fit_prior(sums, base, start=start, iterations=steps)
        own = {}
        if count < LEAVE_ONE_OUT_BELOW:
            for place, user_id in enumerate(members):
                # Not from the estimate: a few steps would leave in it what the user told.
                others = fit_prior(sums.exclude_user(place), base, start=begun.get(user_id), iterations=steps)
                own[user_id] = compute_predictive_prior(others, count - 1, base)
        rewards = sum(state.count for state in members.values())
        shared = compute_predictive_prior(estimate, count, base)
        return cls(estimate, shared, MappingProxyType(own), count, rewards)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "users": self.users,
            "rewards": self.rewards,
            "estimate": self.estimate.to_json(),
            "shared": self.shared.to_json(),
            "own": {user_id: prior.to_json() for user_id, prior in self.leave_one_out.items()},
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
    """Return how many steps of EM for each estimate make :meth:`PopulationPrior.fit` take about half a second.

    For many wide models that is not all the way; every step improves the estimate, and the next refresh goes on.

    >>> refresh_steps(50, 8), refresh_steps(2000, 8), refresh_steps(2000, 8, share=0.5)
    (1000, 88, 44)

    Args:
        users: how many there are to learn from; among few there is an estimate for each of them too.
        d: features.
        share: of the half second, where several priors are due at once.
    """
    estimates = users + 1 if 1 < users < LEAVE_ONE_OUT_BELOW else 1
    step = _STEP + max(1, users) * d * d * (1 + d / 64)
    return min(MAX_ITERATIONS, max(1, int(_WORK * share / (step * estimates))))
