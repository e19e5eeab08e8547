"""A stretch of a log under one target policy, rewarded or not: what every source of decisions is turned into."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bandstand.evaluate.estimators.logged_rows import FloatArray, LoggedRows, RowLocator


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """n decisions in the order of their log.

    Attributes:
        reward: what was observed, (n,); NaN where no reward came.
        propensity: probability with which the logger drew the action, (n,).
        target: π of every action, (n, k), or of the logged one, (n,).
        action: index of the logged action, (n,); None with a target of (n,).
        q_hat: modelled reward of every action, (n, k), or None.
        model: where actions differ from decision to decision, and ``target`` is (n,): the modelled reward of the logged
            action and the mean of all under π, (2, n), or None.
        supported: the target's probability of all actions that the logger could have taken, (n,); None if the log does
            not tell.
        means: as ``model``, of the means that were logged with each decision, (2, n); None if none were.
        ts: when each was made, seconds since the epoch, (n,); None if the log does not tell.
        locate: what errors call a row.
    """

    reward: FloatArray
    propensity: FloatArray
    target: FloatArray
    action: NDArray[np.intp] | None = None
    q_hat: FloatArray | None = None
    model: FloatArray | None = None
    supported: FloatArray | None = None
    means: FloatArray | None = None
    ts: FloatArray | None = None
    locate: RowLocator | None = None

    def __len__(self) -> int:
        """Return n."""
        return len(self.reward)

    def to_logged_rows(self, missing_reward: float = 0.0) -> LoggedRows:
        """Check all n decisions, with ``missing_reward`` where no reward came.

        Raises:
            EvaluationError: as :meth:`LoggedRows.of`.
        """
        reward = np.where(np.isnan(self.reward), missing_reward, self.reward)
        rows = LoggedRows.of(reward, self.action, self.propensity, self.target, self.q_hat, locate=self.locate)
        if self.model is not None:
            rows = replace(rows, model_logged=self.model[0], model_target=self.model[1])
        return rows if self.means is None else replace(rows, means=self.means)

    def select_rows(self, mask: NDArray[np.bool_]) -> "Chunk":
        """Return some of the decisions, already checked."""
        return Chunk(
            reward=self.reward[mask],
            propensity=self.propensity[mask],
            target=self.target[mask],
            action=None if self.action is None else self.action[mask],
            q_hat=None if self.q_hat is None else self.q_hat[mask],
            model=None if self.model is None else self.model[:, mask],
            supported=None if self.supported is None else self.supported[mask],
            means=None if self.means is None else self.means[:, mask],
            ts=None if self.ts is None else self.ts[mask],
        )
