"""A model of the rewards for the estimators that want one, never asked about a reward it has seen."""

import numpy as np

from bandstand.bandit.arrays import FloatArray
from bandstand.bandit.ridge import Posterior, Prior, RidgeState, advance, posterior


class RewardModel:
    """One ridge regression of the reward on the features of a schema, over all users, taught as the log goes on.

    q̂(x) = θ·x with (I + Σ x xᵀ) θ = Σ r x over the rewards that came *before* the decision: then the residuals of a
    doubly robust estimate are of rewards that the model has not seen, as they must be.
    """

    def __init__(self, dimension: int) -> None:
        self._prior = Prior.standard(dimension)
        self._sums = RidgeState.zero(dimension)
        self._posterior: Posterior | None = None

    def learn(self, x: FloatArray, reward: float) -> None:
        """Take in a reward of the features x, (d,)."""
        self._sums = self._sums.updated(x, reward)
        self._posterior = advance(self._posterior, self._sums, self._prior, x, reward)

    def rewards(self, x: FloatArray) -> FloatArray:
        """Return the modelled reward of candidates x, (K, d): shape (K,)."""
        if self._posterior is None:
            self._posterior = posterior(self._sums, self._prior)
        return np.asarray(x.dot(self._posterior.mean))
