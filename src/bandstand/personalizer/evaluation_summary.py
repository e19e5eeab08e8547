"""Policy results of an offline evaluation, as Personalizer has them, from our report of it.

With w = π(a|x)/p and r the reward of each of n decisions: Σ w r, n, Σ w, Σ (w r)², how many w > 0, and the half-width
of the 95 % interval of Σ w r / n, by the normal law. Our report states mean and standard error of the same, from which
all of these follow.
"""

from collections.abc import Mapping
from typing import Any

_Z = 1.96


def build_summary(log: Mapping[str, Any], policy: Mapping[str, Any] | None, begins: str, window: str) -> dict[str, Any]:
    """What is known of a policy over all of a range.

    Args:
        log: the report's part about the log.
        policy: the report's part about the policy; ``None`` for what served, whose weights are all 1.
        begins: the beginning of the range.
        window: its length.
    """
    if policy is None:
        n, mean, stderr, mean_weight = log["decisions"], log["mean_reward"], log["stderr"], 1.0
        with_weight = n
    else:
        (estimate,) = [each for each in policy["estimates"] if each["estimator"] == "ips"]
        n, mean, stderr, mean_weight = (estimate[key] for key in ("n", "value", "stderr", "mean_weight"))
        with_weight = n - policy["weights"]["0"]
    mean, stderr = mean or 0.0, stderr or 0.0
    total = mean * n
    return {
        "timeStamp": begins,
        "ipsEstimatorNumerator": total,
        "ipsEstimatorDenominator": float(n),
        "snipsEstimatorDenominator": mean_weight * n,
        "aggregateTimeWindow": window,
        "nonZeroProbability": float(with_weight),
        "sumOfSquares": stderr**2 * n * (n - 1) + total**2 / n if n else 0.0,
        "confidenceInterval": _Z * stderr,
        "averageReward": mean,
    }


def find_best(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The name of the policy of the highest mean reward; the first of equals, and "" of none.

    Args:
        results: the total summary of each by name.
    """
    return max(results, key=lambda name: float(results[name]["averageReward"]), default="")
