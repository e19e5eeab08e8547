"""What policies in the shadow would have earned, beside what was earned, on the same decisions."""

import math
from typing import Any

from bandstand.service.context import ServiceContext
from bandstand.store.tables.shadows import ShadowSums

_NORMAL_QUANTILE = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""

_MIN_ESS = 30
"""Below so many effective decisions, an interval that takes sums for normal is too narrow to be believed."""
_MIN_ESS_SHARE = 0.01
_MAX_WEIGHT_SIGMAS = 3.0
_ZERO_WEIGHT = 1e-9
"""A mean weight below this is what taking others back left in the sum, not a weight."""


async def load_shadow_values(deployment: ServiceContext) -> dict[str, Any] | None:
    """Every policy in the shadow, live and estimated, side by side; ``None`` where none is there.

    The sums are of its definition as it is configured, from all the times that it was in the shadow.
    """
    if deployment.shadows is None:
        return None
    sums = await deployment.store.load_shadow_sums()
    refs = [deployment.policy_refs[policy.name] for policy in deployment.shadows.policies]
    return {ref.name: {"hash": ref.hash, **build_comparison(sums.get(ref, ShadowSums()))} for ref in refs}


def build_comparison(sums: ShadowSums) -> dict[str, Any]:
    """What sums over n decisions with a reward r and a weight w = π(pick)/p say of the policy π.

    *live* is mean(r); *ips* mean(w r) (Horvitz and Thompson 1952); *snips* V = Σ w r/Σ w (Swaminathan and Joachims
    2015), with the standard error of mean(w (r − V))/mean(w); *gain* is V − mean(r), with that of the mean of
    w (r − V)/mean(w) − (r − mean(r)): both are of the same decisions, and what moves both moves no difference.
    Intervals are normal, of 95 %. The policy learned all the while: each term is of what it would have done then.
    """
    n = sums.rewarded
    values = dict.fromkeys(("live", "ips", "snips", "gain"), None) if n <= 0 else _compute_values(sums)
    mean_weight = sums.w / n if n > 0 else None
    ess = sums.w * sums.w / sums.ww if n > 0 and sums.ww > 0.0 else None
    return {
        "decisions": sums.decisions,
        "agreement": sums.agreed / sums.decisions if sums.decisions else None,
        "rewarded": n,
        **values,
        "mean_weight": mean_weight,
        "ess": ess,
        "warnings": _collect_warnings(sums, mean_weight, ess),
    }


def _compute_values(sums: ShadowSums) -> dict[str, Any]:
    n = sums.rewarded
    live, ips = sums.r / n, sums.wr / n
    of_live, of_ips = sums.rr - n * live * live, sums.wwrr - n * ips * ips
    values = {
        "live": _compute_value(live, of_live, n),
        "ips": _compute_value(ips, of_ips, n),
        "snips": None,
        "gain": None,
    }
    if sums.w > _ZERO_WEIGHT * n:
        snips, mean_weight = sums.wr / sums.w, sums.w / n
        of_snips = (sums.wwrr - 2 * snips * sums.wwr + snips * snips * sums.ww) / mean_weight**2
        shared = (sums.wrr - (snips + live) * sums.wr + snips * live * sums.w) / mean_weight
        values["snips"] = _compute_value(snips, of_snips, n)
        values["gain"] = _compute_value(snips - live, of_snips - 2 * shared + of_live, n)
    return values


def _compute_value(value: float, squares: float, n: int) -> dict[str, float | None]:
    """An estimate and its interval; ``squares`` is the sum of its n terms' squares, less their mean."""
    stderr = math.sqrt(max(0.0, squares) / (n - 1) / n) if n > 1 else None
    half = None if stderr is None else _NORMAL_QUANTILE * stderr
    return {
        "value": value,
        "stderr": stderr,
        "low": None if half is None else value - half,
        "high": None if half is None else value + half,
    }


def _collect_warnings(sums: ShadowSums, mean_weight: float | None, ess: float | None) -> list[str]:
    """*weight*: its mean is off 1 by more than 3 standard errors; *ess*: below 30, or below 1 % of the n decisions."""
    n, warnings = sums.rewarded, []
    if mean_weight is not None and n > 1:
        stderr = math.sqrt(max(0.0, sums.ww - n * mean_weight * mean_weight) / (n - 1) / n)
        if abs(mean_weight - 1.0) > _MAX_WEIGHT_SIGMAS * stderr + 1e-9:
            warnings.append("weight")
    if n > 0 and (ess is None or ess < max(_MIN_ESS, _MIN_ESS_SHARE * n)):
        warnings.append("ess")
    return warnings
