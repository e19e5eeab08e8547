"""A small bandit world whose true values are known, to draw logs from."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
CONTEXTS, ACTIONS = 5, 4


class Log(NamedTuple):
    """Arguments of an estimator, in their order, q_hat included."""

    reward: FloatArray
    action: NDArray[np.int64]
    propensity: FloatArray
    target: FloatArray
    q_hat: FloatArray


class World:
    """Five contexts, four actions, click-like rewards, a logger with a floor, a target that differs from it."""

    def __init__(self) -> None:
        generator = np.random.default_rng(7)
        self.logger = 0.9 * _compute_softmax(generator.normal(size=(CONTEXTS, ACTIONS)) * 0.7) + 0.1 / ACTIONS
        self.target = _compute_softmax(generator.normal(size=(CONTEXTS, ACTIONS)))
        self.reward = generator.uniform(0.1, 0.9, (CONTEXTS, ACTIONS))
        self.model = np.clip(self.reward + generator.normal(size=self.reward.shape) * 0.15, 0, 1)
        self.uniform = np.full((CONTEXTS, ACTIONS), 1 / ACTIONS)
        self.pure = np.eye(ACTIONS)[generator.integers(ACTIONS, size=CONTEXTS)]

    def value(self, policy: FloatArray) -> float:
        """The exact expected reward of a policy; contexts are equally likely."""
        return float((policy * self.reward).sum(axis=1).mean())

    def draw_log(
        self,
        n: int,
        seed: int,
        *,
        logger: FloatArray | None = None,
        target: FloatArray | None = None,
        model: FloatArray | None = None,
    ) -> Log:
        """A log of n rows; the keywords replace this world's logger, target or model."""
        logger = self.logger if logger is None else logger
        generator = np.random.default_rng(seed)
        context = generator.integers(CONTEXTS, size=n)
        action = (generator.random(n)[:, np.newaxis] > logger[context].cumsum(axis=1)).sum(axis=1).clip(0, ACTIONS - 1)
        reward = (generator.random(n) < self.reward[context, action]).astype(np.float64)
        return Log(
            reward,
            action,
            logger[context, action],
            (self.target if target is None else target)[context],
            (self.model if model is None else model)[context],
        )


def _compute_softmax(scores: FloatArray) -> FloatArray:
    weights = np.exp(scores)
    share: FloatArray = weights / weights.sum(axis=1, keepdims=True)
    return share
