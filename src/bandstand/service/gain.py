"""Gain: whether what is served earns more than random, or than the caller's first candidate, would have."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from bandstand.bandit.confidence_sequence import compute_half_width, find_factor
from bandstand.errors import UnsupportedByEngineError
from bandstand.service.context import ServiceContext, format_time
from bandstand.service.shadow_value import ValueEstimate, compute_estimate
from bandstand.store.records import to_time
from bandstand.store.tables.gains import TARGETS, GainDay, GainSums

MIN_ESS = 30.0
"""Below so many effective decisions, nothing is said: sums of so few are not normal."""
MIN_ESS_SHARE = 0.01
RATE_DAYS = 7
SPAN_DAYS = (7, 30, 90)
_FARTHEST_DAYS = 730.0
_MAX_SIGMAS = 3.0
_ROUNDING = 1e-9
_SECONDS_PER_DAY = 86_400

Verdict = Literal["more", "less", "early"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetGain:
    """What is earned compared with what a target would have earned, for each decision.

    Attributes:
        value: the target's mean reward, doubly robust.
        gain: mean(r − φ).
        stderr: its standard error; like the interval, ``None`` for fewer than two decisions.
        low: lower end of an interval that may be looked at every day, 95 % for all looks together.
        ess: (Σ w)²/Σ w² of the weights π(A)/p.
        expected_ess: n²/Σ v with v = Σ π²/p, the expectation of w²: the number of decisions that the estimate rests on.
        mean_weight: should be 1.
        supported: everything that the target does had a chance; else the log cannot tell.
        verdict: ``more`` or ``less`` where the interval is on one side of 0, supported, and ``expected_ess`` is 30.
        known_in_days: until it is one of these, at the rate of the newest days and if the gain is as it looks now; 0
            where it is one; ``None`` if that is not within two years, or nothing is known of the rate.
        warnings: in words.
    """

    value: float
    gain: float
    stderr: float | None
    low: float | None
    high: float | None
    ess: float
    expected_ess: float
    mean_weight: float
    supported: bool
    verdict: Verdict
    known_in_days: float | None
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class GainSpan:
    """What some rewarded decisions earned, and what each target would have.

    Attributes:
        since: the day of the first of them, in UTC.
        until: the day of the last.
        rewarded: how many.
        mean_reward: of what was served, with a normal interval.
        targets: ``random`` and ``first``.
    """

    since: str
    until: str
    rewarded: int
    mean_reward: ValueEstimate
    targets: Mapping[str, TargetGain]


@dataclass(frozen=True, slots=True, kw_only=True)
class GainDayReport(GainSpan):
    """One day, and how the cumulative gain stood at its end.

    Attributes:
        cumulative: Σ (r − φ) from the first day on, by target, with its interval.
    """

    cumulative: Mapping[str, ValueEstimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class GainReport:
    """Whether it pays.

    Attributes:
        sentence: the answer.
        as_of: until when events are in it.
        all: over everything; ``None`` if no decision has a reward.
        policies: by the policy that decided.
        spans: the newest 7, 30 and 90 days, today among them: those with a rewarded decision.
        days: by day, the oldest first.
    """

    sentence: str
    as_of: str | None
    all: GainSpan | None
    policies: Mapping[str, GainSpan]
    spans: Mapping[str, GainSpan]
    days: Sequence[GainDayReport]


async def load_gain_report(deployment: ServiceContext, *, days: int) -> GainReport:
    """The gain over all time, and by day for the newest ``days``; where the engine sums none, the sentence says so."""
    today = int(deployment.clock() // _SECONDS_PER_DAY)
    try:
        sums = await deployment.store.load_gain_sums()
    except UnsupportedByEngineError as error:
        sentence = f"Nothing can be told: {error.detail}."
        return GainReport(sentence=sentence, as_of=None, all=None, policies={}, spans={}, days=[])
    control = None if deployment.holdout is None else deployment.holdout.policy
    # Not between two requests: the sums of a year take a tenth of a second.
    return await asyncio.to_thread(build_gain_report, sums, today=today, days=days, control=control)


def build_gain_report(
    sums: GainSums,
    *,
    today: int,
    days: int,
    since: int | None = None,
    until: int | None = None,
    control: str | None = None,
) -> GainReport:
    """What sums say.

    Args:
        sums: of all days.
        today: days since the epoch.
        days: how many of the newest are listed one by one.
        since: the first day that counts; ``None`` for the first there is.
        until: the last; ``None`` for the last there is.
        control: the policy that serves a holdout: what it decided is not the bandit's, and left out of the whole.
    """
    counted = [
        each
        for each in sums.days
        if each.rewarded > 0 and (since is None or each.day >= since) and (until is None or each.day <= until)
    ]
    bandit = [each for each in counted if each.policy != control]
    whole = build_span(bandit, today)
    by_policy: dict[str, list[GainDay]] = defaultdict(list)
    for each in counted:
        by_policy[each.policy].append(each)
    return GainReport(
        sentence=describe_gain(whole),
        as_of=format_time(to_time(sums.seq)) if sums.seq else None,
        all=whole,
        policies={name: span for name in sorted(by_policy) if (span := build_span(by_policy[name], today)) is not None},
        spans=_build_spans(bandit, today),
        days=_build_days(bandit, today)[-days:] if days else [],
    )


def build_span(days: Sequence[GainDay], today: int) -> GainSpan | None:
    """What the sums of some days and policies say together; ``None`` if they are of no decision.

    The gain over a target is mean(r − φ): a mean of martingale differences around what was gained in expectation, so
    that its interval holds at every look (:func:`bandstand.bandit.confidence_sequence.compute_half_width`). φ is
    the doubly robust term of Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro (2024), "Anytime-valid off-policy
    inference for contextual bandits", ACM/IMS Journal of Data Science 1(3).
    """
    n = sum(each.rewarded for each in days)
    if n <= 0:
        return None
    r, rr = math.fsum(each.r for each in days), math.fsum(each.rr for each in days)
    rate = _compute_rate(days, today)
    return GainSpan(
        since=format_day(min(each.day for each in days)),
        until=format_day(max(each.day for each in days)),
        rewarded=n,
        mean_reward=compute_estimate(r / n, rr - r * r / n, n),
        targets={target: _build_target(days, target, n, r, rr, rate) for target in TARGETS},
    )


def describe_gain(span: GainSpan | None) -> str:
    """The answer in one sentence or two."""
    if span is None:
        return "Nothing can be told yet: no decision has a reward."
    random, first = span.targets["random"], span.targets["first"]
    since = f"Since {span.since}"
    if random.verdict == "early":
        decisions = f"{span.rewarded:,} rewarded decisions"
        words = f"Too early to tell: {decisions} {_describe_lean(random)}; {_describe_wait(random)}."
        return words if first.verdict == "early" else f"{words} {_describe_first(first)}"
    if random.verdict == "less":
        return (
            f"{since} the bandit loses {_describe_interval(random, -1)} a decision to random: look at the reward and"
            f" the floor first. {_describe_first(first)}"
        )
    return f"{since} the bandit earns {_describe_interval(random, 1)} more a decision than random would have. " + (
        _describe_first(first)
    )


def format_day(day: int) -> str:
    """A day since the epoch as a date."""
    return datetime.fromtimestamp(day * _SECONDS_PER_DAY, UTC).date().isoformat()


def to_day_number(day: str) -> int:
    """A date as a day since the epoch."""
    return (date.fromisoformat(day) - date(1970, 1, 1)).days


def _describe_first(first: TargetGain) -> str:
    if first.verdict == "more":
        return f"Over the caller's first it gains {_describe_interval(first, 1)}."
    if first.verdict == "less":
        return f"To the caller's first it loses {_describe_interval(first, -1)}."
    return f"Over the caller's first it cannot be told yet; {_describe_wait(first)}."


def _describe_interval(target: TargetGain, sign: int) -> str:
    low, high = sorted((sign * (target.low or 0.0), sign * (target.high or 0.0)))
    return f"{sign * target.gain:.3f}, between {low:.3f} and {high:.3f},"


def _describe_lean(target: TargetGain) -> str:
    if target.low is None or target.high is None:
        return "do not say what random would have earned"
    return f"put the gain over random between {target.low:+.3f} and {target.high:+.3f}"


def _describe_wait(target: TargetGain) -> str:
    if not target.supported:
        return "the log cannot tell, for some candidates had no chance"
    if target.known_in_days is None:
        return "at this rate it will not be known within two years"
    days = math.ceil(target.known_in_days)
    return f"at this rate it would be known in about {days:,} day{'' if days == 1 else 's'}, if it is as it looks"


def _build_target(days: Sequence[GainDay], target: str, n: int, r: float, rr: float, rate: float | None) -> TargetGain:
    """One target.

    The variance of the mean is that of the terms (1 − w)(r − q(A)) + q(A) − q_π, but not less than what the chances
    of the picks alone make of the first of them, (v̄ − 1) · mean (r − q)², v = Σ π²/p: before a pick of large weight has
    come, the terms themselves do not know of it. Nor do the weights, so what suffices is judged by n²/Σ v.
    """
    phi, squares, cross, w, ww, v, lost = _sum_target(days, target)
    gain = (r - phi) / n
    variance = None
    if n > 1:
        of_terms = max(0.0, rr - 2.0 * cross + squares - n * gain * gain) / (n - 1)
        of_picks = max(0.0, v / n - 1.0) * math.fsum(each.residuals for each in days) / n
        variance = max(of_terms, of_picks) / n
    half = None if variance is None else compute_half_width(variance)
    expected_ess = n * n / v if v > 0.0 else 0.0
    supported = lost <= _ROUNDING * n
    verdict: Verdict = "early"
    if half is not None and supported and expected_ess >= MIN_ESS and abs(gain) > half:
        verdict = "more" if gain > 0.0 else "less"
    return TargetGain(
        value=phi / n,
        gain=gain,
        stderr=None if variance is None else math.sqrt(variance),
        low=None if half is None else gain - half,
        high=None if half is None else gain + half,
        ess=w * w / ww if ww > 0.0 else 0.0,
        expected_ess=expected_ess,
        mean_weight=w / n,
        supported=supported,
        verdict=verdict,
        known_in_days=0.0
        if verdict != "early"
        else _compute_wait(gain, variance, n, expected_ess, rate if supported else None),
        warnings=_collect_warnings(n, w, ww, expected_ess, lost),
    )


def _sum_target(days: Iterable[GainDay], target: str) -> tuple[float, ...]:
    """Σ φ, Σ φ², Σ φ r, Σ w, Σ w², Σ v, and what had no chance."""
    names = (target, *(f"{target}_{name}" for name in ("squares", "r", "w", "ww", "v", "lost")))
    return tuple(math.fsum(getattr(each, name) for each in days) for name in names)


def _compute_wait(gain: float, variance: float | None, n: int, ess: float, rate: float | None) -> float | None:
    """Days until the interval leaves 0 and the effective decisions suffice, both of which n alone moves."""
    if not rate or not variance or ess <= 0.0:
        return None
    needed = n * max(find_factor(variance, abs(gain)), MIN_ESS / ess)
    wait = max(1.0, (needed - n) / rate)
    return wait if wait <= _FARTHEST_DAYS else None


def _compute_rate(days: Sequence[GainDay], today: int) -> float | None:
    """Rewarded decisions a day, over the newest full days; of a deployment that began today, of today."""
    first = min(each.day for each in days)
    if first >= today:
        return float(sum(each.rewarded for each in days))
    since = max(first, today - RATE_DAYS)
    return sum(each.rewarded for each in days if since <= each.day < today) / (today - since)


def _collect_warnings(n: int, w: float, ww: float, ess: float, lost: float) -> list[str]:
    warnings = []
    if lost > _ROUNDING * n:
        warnings.append(
            f"{lost / n:.1%} of its picks had no chance here, so that the log cannot tell how they do: only a floor, or"
            " a holdout, can"
        )
    if ess < MIN_ESS or ess < MIN_ESS_SHARE * n:
        nothing = f", and nothing is said below {MIN_ESS:.0f}" if ess < MIN_ESS else ""
        warnings.append(
            f"it rests on about {ess:,.0f} effective decisions of {n:,}{nothing}: a larger floor, or a holdout, tells"
            " sooner"
        )
    mean, error = w / n, math.sqrt(max(0.0, ww - w * w / n) / max(n - 1, 1) / n)
    if lost <= _ROUNDING * n and ess >= MIN_ESS and abs(mean - 1.0) > _MAX_SIGMAS * error + _ROUNDING:
        warnings.append(f"the mean weight is {mean:.3f} and should be 1: picks were not drawn as they were logged")
    return warnings


def _build_spans(counted: Sequence[GainDay], today: int) -> dict[str, GainSpan]:
    found = {}
    for length in SPAN_DAYS:
        span = build_span([each for each in counted if each.day > today - length], today)
        if span is not None:
            found[f"{length}d"] = span
    return found


def _build_days(counted: Sequence[GainDay], today: int) -> list[GainDayReport]:
    groups: dict[int, list[GainDay]] = defaultdict(list)
    for each in counted:
        groups[each.day].append(each)
    reports, so_far = [], list[GainDay]()
    for day in sorted(groups):
        so_far = [_merge(so_far + groups[day], day)]
        span, until_now = build_span(groups[day], today), build_span(so_far, today)
        if span is None or until_now is None:
            continue
        reports.append(
            GainDayReport(
                since=span.since,
                until=span.until,
                rewarded=span.rewarded,
                mean_reward=span.mean_reward,
                targets=span.targets,
                cumulative={name: _scale(each, until_now.rewarded) for name, each in until_now.targets.items()},
            )
        )
    return reports


def _merge(days: Sequence[GainDay], day: int) -> GainDay:
    rewarded, *sums = (math.fsum(column) for column in zip(*(each[2:] for each in days), strict=True))
    return GainDay(day, "", int(rewarded), *sums)


def _scale(target: TargetGain, n: int) -> ValueEstimate:
    """A mean gain as the sum over n decisions."""

    def times(value: float | None) -> float | None:
        return None if value is None else n * value

    return ValueEstimate(
        value=n * target.gain, stderr=times(target.stderr), low=times(target.low), high=times(target.high)
    )
