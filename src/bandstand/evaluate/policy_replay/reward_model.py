"""A model of the rewards for estimators that need one; it never predicts a reward that it has seen."""

from collections.abc import Mapping
from typing import Any

from bandstand.bandit.arrays import FloatArray
from bandstand.bandit.disjoint import to_disjoint_posterior
from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.policy_state import PolicyState
from bandstand.bandit.ridge import Prior


class RewardModel:
    """One ridge regression of the reward on the features of a schema, over all users, taught as the log continues.

    q̂(x) = θ·x with (I + Σ x xᵀ) θ = Σ r x over the rewards that came *before* the decision: then the residuals of a
    doubly robust estimate are of rewards that the model has not seen, as they must be. With blocks, one for each.
    """

    def __init__(self, schema: FeatureSchema) -> None:
        self._prior = Prior.build_standard(schema.weight_count)
        self._block_count = schema.block_count
        self._state = PolicyState()

    def learn(self, x: FloatArray, reward: float) -> None:
        """Take in a reward of the features x, (d,)."""
        self._state.learn(x, reward, 1.0)

    def to_json(self) -> dict[str, Any]:
        """Return what it was taught as JSON values, to the last bit."""
        return self._state.to_json()

    def restore(self, document: Mapping[str, Any]) -> None:
        """Put what :meth:`to_json` returned in the place of what it was taught."""
        self._state = PolicyState.from_json(document)

    def predict_rewards(self, x: FloatArray) -> FloatArray:
        """Return the modelled reward of candidates x, (K, d): shape (K,)."""
        belief = self._state.get_posterior(self._prior)
        return (to_disjoint_posterior(belief, self._block_count) if self._block_count else belief).compute_means(x)
