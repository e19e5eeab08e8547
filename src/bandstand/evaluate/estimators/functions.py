"""The estimators on arrays: one function for each formula.

Below, w_i = π(a_i|x_i)/p_i, q_i = q̂(x_i, a_i) and q_π(x_i) = Σ_a π(a|x_i) q̂(x_i, a). Means are over the n rows.
Standard errors are those of a mean, and by the delta method where the estimator is a ratio (``snips``, ``sndr``,
``replay``). Intervals speak of noise only: where weights are shrunk there is bias too, and no interval covers that.
"""

from typing import Any, Unpack

from numpy.typing import ArrayLike

from bandstand.evaluate.estimators.accumulator import Accumulator, Estimate, IntervalOptions
from bandstand.evaluate.estimators.formulas import FORMULAS, Formula
from bandstand.evaluate.estimators.logged_rows import LoggedRows


class EstimatorOptions(IntervalOptions, total=False):
    """Keywords of an estimator: of its interval, and its own parameter by the parameter's name, where it has one."""

    clip: float
    tau: float
    lambda_: float


class Estimator:
    """A formula as a function of arrays.

    Args:
        name: of the formula, in :data:`bandstand.evaluate.estimators.formulas.FORMULAS`.
        description: what it estimates, where that holds, and its source.
    """

    def __init__(self, name: str, description: str) -> None:
        self.__name__ = name
        self.__doc__ = description

    def __call__(
        self,
        reward: ArrayLike,
        action: ArrayLike | None,
        propensity: ArrayLike,
        target: ArrayLike,
        q_hat: ArrayLike | None = None,
        parameter: float | None = None,
        **options: Unpack[EstimatorOptions],
    ) -> Estimate:
        """Estimate the mean reward of another policy.

        Args:
            reward: what was observed, (n,), finite.
            action: index of the logged action, integers in [0, k), (n,).
            propensity: probability with which the logger drew it, in (0, 1], (n,).
            target: π(a|x_i) of the policy to evaluate, (n, k), rows ≥ 0 and summing to 1 (within 1e-5). For estimators
                without a model also (n,), π(a_i|x_i) alone; then ``action`` may be None.
            q_hat: modelled mean reward of every action, (n, k), fitted on *other* rows; not read without a model.
            parameter: the estimator's own, where it has one; also by its name (``clip``, ``tau`` or ``lambda_``).
            options: ``interval="normal"|"bootstrap"``, ``level=0.95``, ``resamples=1000``, ``seed=0``.

        Raises:
            EvaluationError: names the array and the row.
            TypeError: an option that this estimator does not have.
        """
        given: dict[str, Any] = {**options}
        own = FORMULAS[self.__name__].parameter
        if own is not None and parameter is None:
            parameter = given.pop(own.name, None)
        formula = Formula.named(self.__name__, parameter)
        sums = Accumulator(formula, **given)
        for rows in LoggedRows.split(reward, action, propensity, target, q_hat if formula.uses_model else None):
            sums.add(rows)
        return sums.estimate()


ips = Estimator(
    "ips",
    """Inverse propensity scoring: mean(w r); unbiased where propensities are true and support is full.

    Source: Horvitz & Thompson (1952), "A generalization of sampling without replacement from a finite universe".
    """,
)

snips = Estimator(
    "snips",
    """Self-normalised IPS: Σ w r / Σ w; consistent, within the range of the rewards, NaN where every weight is 0.

    Delta-method s.e.: that of the mean of w (r − V̂) / mean(w).

    Source: Swaminathan & Joachims (2015), "The self-normalized estimator for counterfactual learning".
    """,
)

dm = Estimator(
    "dm",
    """Direct method: mean(q_π); as right as the model, and its s.e. knows nothing of the model's own error.

    Source: Dudík, Langford & Li (2011), "Doubly robust policy evaluation and learning".
    """,
)

dr = Estimator(
    "dr",
    """Doubly robust: mean(q_π + w (r − q_i)); unbiased if either the propensities or the model are right.

    Source: Dudík, Langford & Li (2011); Dudík, Erhan, Langford & Li (2014), "Doubly robust policy evaluation and
    optimization".
    """,
)

sndr = Estimator(
    "sndr",
    """Self-normalised doubly robust: mean(q_π) + Σ w (r − q_i) / Σ w; NaN where every weight is 0.

    Delta-method s.e.: that of the mean of q_π + w (r − q_i − R) / mean(w), R being the ratio.

    Source: Dudík et al. (2014) and Swaminathan & Joachims (2015) together, as the Open Bandit Pipeline has it.
    """,
)

switch_dr = Estimator(
    "switch_dr",
    """Switch-DR: mean(q_π + 1[w ≤ τ] w (r − q_i)); τ ≥ 0, the model alone where the weight is larger; τ = ∞ is DR.

    Source: Wang, Agarwal & Dudík (2017), "Optimal and adaptive off-policy evaluation in contextual bandits".
    """,
)

dr_os = Estimator(
    "dr_os",
    """DR with optimistic shrinkage: mean(q_π + λw/(w² + λ) (r − q_i)); λ ≥ 0, λ = 0 is DM, λ = ∞ is DR.

    Source: Su, Dimakopoulou, Krishnamurthy & Dudík (2020), "Doubly robust off-policy evaluation with
    shrinkage".
    """,
)

clipped_ips = Estimator(
    "clipped_ips",
    """IPS with clipped weights: mean(min(w, c) r); c ≥ 0, biased toward 0 where weights exceed c; c = ∞ is IPS.

    Source: Ionides (2008), "Truncated importance sampling".
    """,
)

clipped_dr = Estimator(
    "clipped_dr",
    """DR with clipped weights: mean(q_π + min(w, c) (r − q_i)); c ≥ 0, biased toward the model; c = ∞ is DR.

    Source: Su et al. (2020), who call it pessimistic shrinkage.
    """,
)

sg_ips = Estimator(
    "sg_ips",
    """Sub-Gaussian IPS: mean(w/(1 − λ + λw) r); λ in [0, 1], weights never exceed 1/λ; λ = 0 is IPS.

    Source: Metelli, Russo & Restelli (2021), "Subgaussian and differentiable importance sampling for off-policy
    evaluation and learning", the power mean with exponent −1.
    """,
)

replay = Estimator(
    "replay",
    """Replay: mean of r over the rows where π(a_i|x_i) = 1; unbiased for a uniform log; NaN where no row matches.

    ``ess`` is the number of matches. Delta-method s.e.

    Source: Li, Chu, Langford & Wang (2011), "Unbiased offline evaluation of contextual-bandit-based news article
    recommendation algorithms", algorithm 2.
    """,
)
