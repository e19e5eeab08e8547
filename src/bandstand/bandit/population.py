"""What a population of users teaches about each of them: one prior for all, and for few users one each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

from bandstand.bandit.prior import ITERATIONS, UserSums, fit_prior, leave_one_out
from bandstand.bandit.ridge import Prior, RidgeState

FEW = 20
"""With fewer users, the prior of each leaves out their own rewards."""

_WORK = 13_000_000  # about a second, at d = 8 as at d = 64


@dataclass(frozen=True, slots=True, eq=False)
class PopulationPrior:
    """What is believed of a user before their first reward, after what others taught.

    Attributes:
        shared: of a user who was not among those it was learned from, or one among many.
        own: of the users it was learned from, where they are fewer than ``FEW``: what the others alone support.
        users: how many it was learned from.
        rewards: how many rewards they had given.
    """

    shared: Prior
    own: Mapping[str, Prior] = field(default_factory=lambda: MappingProxyType({}))
    users: int = 0
    rewards: int = 0

    def of(self, user_id: str) -> Prior:
        """Return the prior of one user."""
        return self.own.get(user_id, self.shared)

    @classmethod
    def learned(cls, members: Mapping[str, RidgeState], base: Prior, start: Prior | None = None) -> Self:
        """Estimate the prior from the sums of some users; see :func:`bandstand.bandit.prior.fit_prior`.

        Args:
            members: the users.
            base: the centre of the hyperprior.
            start: an earlier estimate. With one, EM takes as many steps as fit into about a second, and where that is
                too few for many wide models it goes on from there the next time. Without, it goes all the way.
        """
        d = base.mean.size
        sums = UserSums.stack(list(members.values()), d)
        steps = ITERATIONS if start is None else refresh_steps(len(sums), d)
        shared = fit_prior(sums, base, start=start, iterations=steps)
        few = len(sums) < FEW
        own = dict(zip(members, leave_one_out(sums, shared, base), strict=True)) if few else {}
        rewards = sum(state.count for state in members.values())
        return cls(shared, MappingProxyType(own), len(sums), rewards)


def refresh_steps(users: int, d: int) -> int:
    """Return how many steps of EM over so many users with d features take about a second."""
    return min(ITERATIONS, max(4, int(_WORK / (max(1, users) * d * d * (1 + d / 64)))))
