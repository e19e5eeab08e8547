"""The estimators on arrays.

All take the same arguments in the same order, whether they use them or not:

Args:
    reward: what was observed, (n,), finite.
    action: index of the logged action, integers in [0, k), (n,).
    propensity: probability with which the logger drew it, in (0, 1], (n,).
    target: π(a|x_i) of the policy to evaluate, (n, k), rows ≥ 0 and summing to 1 (within 1e-5). For estimators without
        a model also (n,), π(a_i|x_i) alone; then ``action`` may be None.
    q_hat: modelled mean reward of every action, (n, k), fitted on *other* rows; None, and not read, without a model.
    clip, tau, lambda_: the estimator's own parameter, where it has one.
    options: ``interval="normal"|"bootstrap"``, ``level=0.95``, ``resamples=1000``, ``seed=0``.

and return an ``Estimate``, or raise ``EvaluationError`` naming the array and the row. Below, w_i = π(a_i|x_i)/p_i,
q_i = q̂(x_i, a_i) and q_π(x_i) = Σ_a π(a|x_i) q̂(x_i, a). Means are over the n rows. Standard errors are those of a mean,
and by the delta method where the estimator is a ratio (``snips``, ``sndr``, ``replay``). Intervals speak of noise only:
where weights are shrunk there is bias too, and no interval here covers that.
"""

from typing import Unpack

from numpy.typing import ArrayLike

from bandstand.evaluate.estimators.accumulator import Accumulator, Estimate, IntervalOptions
from bandstand.evaluate.estimators.formulas import Formula
from bandstand.evaluate.estimators.logged_rows import LoggedRows


def ips(
    reward: ArrayLike,
    action: ArrayLike | None,
    propensity: ArrayLike,
    target: ArrayLike,
    q_hat: ArrayLike | None = None,
    **options: Unpack[IntervalOptions],
) -> Estimate:
    """Inverse propensity scoring: mean(w r); unbiased where propensities are true and support is full.

    Source: Horvitz & Thompson (1952), "A generalization of sampling without replacement from a finite universe".
    """
    return _run_estimator(Formula.named("ips"), reward, action, propensity, target, q_hat, options)


def snips(
    reward: ArrayLike,
    action: ArrayLike | None,
    propensity: ArrayLike,
    target: ArrayLike,
    q_hat: ArrayLike | None = None,
    **options: Unpack[IntervalOptions],
) -> Estimate:
    """Self-normalised IPS: Σ w r / Σ w; consistent, within the range of the rewards, NaN where every weight is 0.

    Delta-method s.e.: that of the mean of w (r − V̂) / mean(w).

    Source: Swaminathan & Joachims (2015), "The self-normalized estimator for counterfactual learning".
    """
    return _run_estimator(Formula.named("snips"), reward, action, propensity, target, q_hat, options)


def dm(
    reward: ArrayLike,
    action: ArrayLike | None,
    propensity: ArrayLike,
    target: ArrayLike,
    q_hat: ArrayLike | None = None,
    **options: Unpack[IntervalOptions],
) -> Estimate:
    """Direct method: mean(q_π); as right as the model, and its s.e. knows nothing of the model's own error.

    Source: Dudík, Langford & Li (2011), "Doubly robust policy evaluation and learning".
    """
    return _run_estimator(Formula.named("dm"), reward, action, propensity, target, q_hat, options)


def dr(
    reward: ArrayLike,
    action: ArrayLike | None,
    propensity: ArrayLike,
    target: ArrayLike,
    q_hat: ArrayLike | None = None,
    **options: Unpack[IntervalOptions],
) -> Estimate:
    """Doubly robust: mean(q_π + w (r − q_i)); unbiased if either the propensities or the model are right.

    Source: Dudík, Langford & Li (2011); Dudík, Erhan, Langford & Li (2014), "Doubly robust policy evaluation and
    optimization".
    """
    return _run_estimator(Formula.named("dr"), reward, action, propensity, target, q_hat, options)


def sndr(
    reward: ArrayLike,
    action: ArrayLike | None,
    propensity: ArrayLike,
    target: ArrayLike,
    q_hat: ArrayLike | None = None,
    **options: Unpack[IntervalOptions],
) -> Estimate:
    """Self-normalised doubly robust: mean(q_π) + Σ w (r − q_i) / Σ w; NaN where every weight is 0.

    Delta-method s.e.: that of the mean of q_π + w (r − q_i − R) / mean(w), R being the ratio.

    Source: Dudík et al. (2014) and Swaminathan & Joachims (2015) together, as the Open Bandit Pipeline has it.
    """
    return _run_estimator(Formula.named("sndr"), reward, action, propensity, target, q_hat, options)


def switch_dr(
    reward: ArrayLike,
    action: ArrayLike | None,
    propensity: ArrayLike,
    target: ArrayLike,
    q_hat: ArrayLike | None = None,
    tau: float = 10.0,
    **options: Unpack[IntervalOptions],
) -> Estimate:
    """Switch-DR: mean(q_π + 1[w ≤ τ] w (r − q_i)); τ ≥ 0, the model alone where the weight is larger; τ = ∞ is DR.

    Source: Wang, Agarwal & Dudík (2017), "Optimal and adaptive off-policy evaluation in contextual bandits".
    """
    return _run_estimator(Formula.named("switch_dr", tau), reward, action, propensity, target, q_hat, options)


def dr_os(
    reward: ArrayLike,
    action: ArrayLike | None,
    propensity: ArrayLike,
    target: ArrayLike,
    q_hat: ArrayLike | None = None,
    lambda_: float = 100.0,
    **options: Unpack[IntervalOptions],
) -> Estimate:
    """DR with optimistic shrinkage: mean(q_π + λw/(w² + λ) (r − q_i)); λ ≥ 0, λ = 0 is DM, λ = ∞ is DR.

    Source: Su, Dimakopoulou, Krishnamurthy & Dudík (2020), "Doubly robust off-policy evaluation with
    shrinkage".
    """
    return _run_estimator(Formula.named("dr_os", lambda_), reward, action, propensity, target, q_hat, options)


def clipped_ips(
    reward: ArrayLike,
    action: ArrayLike | None,
    propensity: ArrayLike,
    target: ArrayLike,
    q_hat: ArrayLike | None = None,
    clip: float = 10.0,
    **options: Unpack[IntervalOptions],
) -> Estimate:
    """IPS with clipped weights: mean(min(w, c) r); c ≥ 0, biased toward 0 where weights exceed c; c = ∞ is IPS.

    Source: Ionides (2008), "Truncated importance sampling".
    """
    return _run_estimator(Formula.named("clipped_ips", clip), reward, action, propensity, target, q_hat, options)


def clipped_dr(
    reward: ArrayLike,
    action: ArrayLike | None,
    propensity: ArrayLike,
    target: ArrayLike,
    q_hat: ArrayLike | None = None,
    clip: float = 10.0,
    **options: Unpack[IntervalOptions],
) -> Estimate:
    """DR with clipped weights: mean(q_π + min(w, c) (r − q_i)); c ≥ 0, biased toward the model; c = ∞ is DR.

    Source: Su et al. (2020), who call it pessimistic shrinkage.
    """
    return _run_estimator(Formula.named("clipped_dr", clip), reward, action, propensity, target, q_hat, options)


def sg_ips(
    reward: ArrayLike,
    action: ArrayLike | None,
    propensity: ArrayLike,
    target: ArrayLike,
    q_hat: ArrayLike | None = None,
    lambda_: float = 0.1,
    **options: Unpack[IntervalOptions],
) -> Estimate:
    """Sub-Gaussian IPS: mean(w/(1 − λ + λw) r); λ in [0, 1], weights never exceed 1/λ; λ = 0 is IPS.

    Source: Metelli, Russo & Restelli (2021), "Subgaussian and differentiable importance sampling for off-policy
    evaluation and learning", the power mean with exponent −1.
    """
    return _run_estimator(Formula.named("sg_ips", lambda_), reward, action, propensity, target, q_hat, options)


def replay(
    reward: ArrayLike,
    action: ArrayLike | None,
    propensity: ArrayLike,
    target: ArrayLike,
    q_hat: ArrayLike | None = None,
    **options: Unpack[IntervalOptions],
) -> Estimate:
    """Replay: mean of r over the rows where π(a_i|x_i) = 1; unbiased for a uniform log; NaN where no row matches.

    ``ess`` is the number of matches. Delta-method s.e.

    Source: Li, Chu, Langford & Wang (2011), "Unbiased offline evaluation of contextual-bandit-based news article
    recommendation algorithms", algorithm 2.
    """
    return _run_estimator(Formula.named("replay"), reward, action, propensity, target, q_hat, options)


def _run_estimator(
    formula: Formula,
    reward: ArrayLike,
    action: ArrayLike | None,
    propensity: ArrayLike,
    target: ArrayLike,
    q_hat: ArrayLike | None,
    options: IntervalOptions,
) -> Estimate:
    sums = Accumulator(formula, **options)
    for rows in LoggedRows.split(reward, action, propensity, target, q_hat if formula.uses_model else None):
        sums.add(rows)
    return sums.estimate()
