"""What shadow policies would have earned on the same decisions, compared with what was earned."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bandstand.service.context import ServiceContext
from bandstand.store.tables.shadows import ShadowSums

NORMAL_QUANTILE = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""

_MIN_ESS = 30
"""Below so many effective decisions, an interval that takes sums for normal is too narrow to be believed."""
_MIN_ESS_SHARE = 0.01
_MAX_WEIGHT_SIGMAS = 3.0
_ZERO_WEIGHT = 1e-9
"""A mean weight below this is what taking others back left in the sum, not a weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueEstimate:
    """An estimate of a mean reward and its normal interval of 95 %; no interval of fewer than two rewards."""

    value: float
    stderr: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowComparison:
    """A shadow policy compared with what was served, on the same decisions; see :func:`build_comparison`.

    Attributes:
        hash: of the definition that the numbers are of.
        agreement: the share of the decisions in which it would have picked the same.
        rewarded: the decisions with a reward that stands; what follows is over these.
        mean_weight: should be 1.
        ess: (Σ w)²/Σ w².
        warnings: ``weight`` and ``ess``; see :func:`_collect_warnings`.
    """

    hash: str
    decisions: int
    agreement: float | None
    rewarded: int
    live: ValueEstimate | None
    ips: ValueEstimate | None
    snips: ValueEstimate | None
    gain: ValueEstimate | None
    mean_weight: float | None
    ess: float | None
    warnings: Sequence[str]


async def load_shadow_values(deployment: ServiceContext) -> Mapping[str, ShadowComparison] | None:
    """Every policy in the shadow, live and estimated, side by side; ``None`` if none is there.

    The sums are of its present definition, from all the times that it was a shadow.
    """
    if deployment.shadows is None:
        return None
    sums = await deployment.store.load_shadow_sums()
    refs = [deployment.policy_refs[policy.name] for policy in deployment.shadows.policies]
    return {ref.name: build_comparison(ref.hash, sums.get(ref, ShadowSums())) for ref in refs}


def build_comparison(policy_hash: str, sums: ShadowSums) -> ShadowComparison:
    """What sums over n decisions with a reward r and a weight w = π(pick)/p say of the policy π.

    *live* is mean(r); *ips* mean(w r) (Horvitz and Thompson 1952); *snips* V = Σ w r/Σ w (Swaminathan and Joachims
    2015), with the standard error of mean(w (r − V))/mean(w); *gain* is V − mean(r), with that of the mean of
    w (r − V)/mean(w) − (r − mean(r)): both are of the same decisions, and what moves both moves no difference.
    Intervals are normal, of 95 %. The policy learned all the while: each term is of what it would have done then.
    """
    n = sums.rewarded
    live, ips, snips, gain = (None, None, None, None) if n <= 0 else _compute_values(sums)
    mean_weight = sums.w / n if n > 0 else None
    ess = sums.w * sums.w / sums.ww if n > 0 and sums.ww > 0.0 else None
    return ShadowComparison(
        hash=policy_hash,
        decisions=sums.decisions,
        agreement=sums.agreed / sums.decisions if sums.decisions else None,
        rewarded=n,
        live=live,
        ips=ips,
        snips=snips,
        gain=gain,
        mean_weight=mean_weight,
        ess=ess,
        warnings=_collect_warnings(sums, mean_weight, ess),
    )


def _compute_values(
    sums: ShadowSums,
) -> tuple[ValueEstimate, ValueEstimate, ValueEstimate | None, ValueEstimate | None]:
    """*live*, *ips*, *snips* and *gain*; the latter two are ``None`` if no weight is left."""
    n = sums.rewarded
    live, ips = sums.r / n, sums.wr / n
    of_live, of_ips = sums.rr - n * live * live, sums.wwrr - n * ips * ips
    without_weights = compute_estimate(live, of_live, n), compute_estimate(ips, of_ips, n)
    if sums.w <= _ZERO_WEIGHT * n:
        return *without_weights, None, None
    snips, mean_weight = sums.wr / sums.w, sums.w / n
    of_snips = (sums.wwrr - 2 * snips * sums.wwr + snips * snips * sums.ww) / mean_weight**2
    shared = (sums.wrr - (snips + live) * sums.wr + snips * live * sums.w) / mean_weight
    gain = compute_estimate(snips - live, of_snips - 2 * shared + of_live, n)
    return *without_weights, compute_estimate(snips, of_snips, n), gain


def compute_estimate(value: float, squares: float, n: int) -> ValueEstimate:
    """A mean and its normal interval; ``squares`` is the sum of its n terms' squares, less their mean."""
    stderr = math.sqrt(max(0.0, squares) / (n - 1) / n) if n > 1 else None
    half = None if stderr is None else NORMAL_QUANTILE * stderr
    return ValueEstimate(
        value=value,
        stderr=stderr,
        low=None if half is None else value - half,
        high=None if half is None else value + half,
    )


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
