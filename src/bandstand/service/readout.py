"""Readout: what the arms of a split earned, and whether they differ, by user and valid at every look."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bandstand.bandit.confidence_sequence import DEFAULT_SCALE, compute_half_width, find_factor
from bandstand.service.gain import format_day
from bandstand.service.shadow_value import ValueEstimate
from bandstand.store.tables.arms import REWARD, ArmHistory, ArmSums

MIN_USERS = 20
"""Users with a reward that each of two arms needs before their difference is believed."""

_LEVEL = 0.95
_NORMAL_QUANTILE = 1.959963984540054
_FARTHEST_DAYS = 730.0
_SECONDS_PER_DAY = 86_400.0

ArmVerdict = Literal["control", "better", "worse", "early"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmReadout:
    """The result of one arm's users.

    Attributes:
        users: with a decision.
        decisions: of theirs.
        rewarded: of these, those with a reward that stands.
        mean_reward: a rewarded decision, with a normal interval by user; ``None`` for none.
        reward_per_user: the sum of a user's rewards, likewise.
        difference: of ``mean_reward`` to the control's, with an interval that may be looked at every day; ``None`` for
            the control, and where too little is known.
        verdict: ``better`` or ``worse`` where that interval is on one side of 0 and both have 20 users with a reward.
        known_in_days: until it is one of these, at this rate and if it is as it looks; ``None`` beyond two years.
        metrics: other metrics a decision that brought them, as ``mean_reward``.
        metric_differences: of these to the control's, as ``difference``; those of which enough is known.
    """

    users: int
    decisions: int
    rewarded: int
    mean_reward: ValueEstimate | None
    reward_per_user: ValueEstimate | None
    difference: ValueEstimate | None
    verdict: ArmVerdict
    known_in_days: float | None
    metrics: Mapping[str, ValueEstimate]
    metric_differences: Mapping[str, ValueEstimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadoutPoint:
    """How each arm's difference to the control stood at the end of a day, in UTC."""

    day: str
    differences: Mapping[str, ValueEstimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readout:
    """Who wins, how sure, how much longer.

    Attributes:
        sentence: the answer.
        control: the arm that the others are compared with.
        arms: by name.
        days: the oldest first.
        metrics_left_out: values of metrics that have no place among the first twenty.
    """

    sentence: str
    control: str
    arms: Mapping[str, ArmReadout]
    days: Sequence[ReadoutPoint]
    metrics_left_out: int


def build_readout(history: ArmHistory, arms: Sequence[str], control: str, *, since: float, now: float) -> Readout:
    """What the sums of a split say.

    Args:
        history: the sums.
        arms: the names of all arms.
        control: the one that the others are compared with.
        since: when it began, seconds since the epoch.
        now: the same of now.
    """
    sums = {arm: history.now.get(REWARD, {}).get(arm, ArmSums(0, arm, REWARD)) for arm in arms}
    level = 1.0 - (1.0 - _LEVEL) / max(1, len(arms) - 1)  # Bonferroni: all differences together
    days = max(now - since, 1.0) / _SECONDS_PER_DAY
    built = {arm: _build_arm(history, sums, arm, control, level, days) for arm in arms}
    return Readout(
        sentence=_describe(built, control),
        control=control,
        arms=built,
        days=[
            ReadoutPoint(
                day=format_day(day),
                differences={
                    arm: difference
                    for arm in arms
                    if arm != control
                    and arm in then
                    and control in then
                    and (difference := compare_arms(then[arm], then[control], level)) is not None
                },
            )
            for day, then in history.days
        ],
        metrics_left_out=history.left_out,
    )


def compare_arms(arm: ArmSums, control: ArmSums, level: float = _LEVEL) -> ValueEstimate | None:
    """The difference of two arms' mean rewards a decision, by user, with an interval for every look.

    A user's decisions are taken together: with t and n a user's sum and number of rewards, the mean Σt/Σn has the
    variance Σ(t − mean·n)²/(Σn)² · U/(U − 1), the linearised ratio's, whatever a user's decisions have in common (Deng,
    Knoblich and Lu 2018, "Applying the delta method in metric analytics"). Looked at again and again, such estimates of
    means behave as a Brownian motion in their information 1/V (Scharfstein, Tsiatis and Robins 1997), to which the
    mixture applies: it is the mSPRT of Johari, Koomen, Pekelis and Walsh (2022), "Always valid inference", as a
    confidence sequence.
    """
    one, other = estimate_mean(arm), estimate_mean(control)
    if one is None or other is None or not math.isfinite(one[1] + other[1]) or one[1] + other[1] <= 0.0:
        return None
    value, variance = one[0] - other[0], one[1] + other[1]
    half = compute_half_width(variance, level=level)
    return ValueEstimate(value=value, stderr=math.sqrt(variance), low=value - half, high=value + half)


def compare_metric(arm: ArmSums, control: ArmSums, level: float = _LEVEL) -> ValueEstimate | None:
    """The difference of two arms' means of a metric, as :func:`compare_arms` has it of the reward.

    A metric may be in any unit, where a reward is in [-1, 1]: the scale of the mixture is in deviations of a user.
    """
    one, other = estimate_mean(arm), estimate_mean(control)
    if one is None or other is None or not math.isfinite(one[1] + other[1]) or one[1] + other[1] <= 0.0:
        return None
    value, variance = one[0] - other[0], one[1] + other[1]
    unit = math.sqrt((one[1] * arm.rewarded + other[1] * control.rewarded) / 2.0)
    half = compute_half_width(variance, scale=DEFAULT_SCALE * unit, level=level)
    return ValueEstimate(value=value, stderr=math.sqrt(variance), low=value - half, high=value + half)


def estimate_metric(sums: ArmSums, level: float) -> tuple[float, float] | None:
    """The mean of a metric a decision that brought it, and how far it may be off, whenever one looks."""
    found = estimate_mean(sums)
    if found is None:
        return None
    mean, variance = found
    unit = math.sqrt(variance * sums.rewarded)
    return mean, compute_half_width(variance, scale=DEFAULT_SCALE * unit, level=level)


def judge_difference(arm: ArmSums, control: ArmSums, difference: ValueEstimate | None) -> ArmVerdict:
    """Whether a difference is sure, and to which side."""
    if difference is None or difference.low is None or difference.high is None:
        return "early"
    if min(arm.rewarded, control.rewarded) < MIN_USERS:
        return "early"
    return "better" if difference.low > 0.0 else "worse" if difference.high < 0.0 else "early"


def estimate_mean(sums: ArmSums) -> tuple[float, float] | None:
    """The mean a decision and its variance by user; infinite if there are fewer than two."""
    if sums.n <= 0:
        return None
    mean, users = sums.total / sums.n, sums.rewarded
    if users < 2:  # noqa: PLR2004 (a variance takes two)
        return mean, math.inf
    squares = max(0.0, sums.tt - 2.0 * mean * sums.nt + mean * mean * sums.nn)
    return mean, squares / sums.n**2 * users / (users - 1)


def _build_arm(
    history: ArmHistory, sums: Mapping[str, ArmSums], arm: str, control: str, level: float, days: float
) -> ArmReadout:
    mine, theirs = sums[arm], sums[control]
    difference = None if arm == control else compare_arms(mine, theirs, level)
    verdict: ArmVerdict = "control" if arm == control else judge_difference(mine, theirs, difference)
    metrics = {metric: by_arm for metric, by_arm in sorted(history.now.items()) if metric != REWARD}
    return ArmReadout(
        users=mine.users,
        decisions=mine.decisions,
        rewarded=mine.n,
        mean_reward=_to_estimate(estimate_mean(mine)),
        reward_per_user=_to_estimate(_estimate_per_user(mine)),
        difference=difference,
        verdict=verdict,
        known_in_days=_compute_wait(difference, level, days) if verdict == "early" else 0.0,
        metrics={
            metric: estimate
            for metric, by_arm in metrics.items()
            if arm in by_arm and (estimate := _to_estimate(estimate_mean(by_arm[arm]))) is not None
        },
        metric_differences={
            metric: compared
            for metric, by_arm in metrics.items()
            if arm != control
            and arm in by_arm
            and control in by_arm
            and min(by_arm[arm].rewarded, by_arm[control].rewarded) >= MIN_USERS
            and (compared := compare_metric(by_arm[arm], by_arm[control], level)) is not None
        },
    )


def _estimate_per_user(sums: ArmSums) -> tuple[float, float] | None:
    """The mean of users' sums and its variance."""
    if sums.users <= 0:
        return None
    mean = sums.total / sums.users
    if sums.users < 2:  # noqa: PLR2004 (as above)
        return mean, math.inf
    return mean, max(0.0, sums.tt - sums.users * mean * mean) / (sums.users - 1) / sums.users


def _to_estimate(found: tuple[float, float] | None) -> ValueEstimate | None:
    if found is None:
        return None
    value, variance = found
    if not math.isfinite(variance):
        return ValueEstimate(value=value, stderr=None, low=None, high=None)
    stderr = math.sqrt(variance)
    half = _NORMAL_QUANTILE * stderr
    return ValueEstimate(value=value, stderr=stderr, low=value - half, high=value + half)


def _compute_wait(difference: ValueEstimate | None, level: float, days: float) -> float | None:
    """Days until the interval leaves 0, where the variance falls with the days as it has so far."""
    if difference is None or not difference.stderr:
        return None
    wait = max(1.0, (find_factor(difference.stderr**2, abs(difference.value), level=level) - 1.0) * days)
    return wait if wait <= _FARTHEST_DAYS else None


def _describe(arms: Mapping[str, ArmReadout], control: str) -> str:
    others = {arm: each for arm, each in arms.items() if arm != control}
    known = {arm: each for arm, each in others.items() if each.difference is not None}
    if not known:
        return f"Too early to tell: {sum(each.users for each in arms.values()):,} users so far, too few with a reward."
    values = {arm: each.difference.value for arm, each in known.items() if each.difference is not None}
    best = max(known, key=lambda arm: (known[arm].verdict == "better", values[arm]))
    each = known[best]
    difference = each.difference
    assert difference is not None  # noqa: S101 (it is known)
    low, high = difference.low or 0.0, difference.high or 0.0
    between = f"{difference.value:+.3f} a decision, between {low:+.3f} and {high:+.3f}"
    if each.verdict == "better":
        return f"{best} wins over {control}: {between}."
    if each.verdict == "worse":
        return f"{control} wins: {best}{'' if len(others) == 1 else ', the best of the others,'} is at {between}."
    wait = "at this rate it will not be known within two years"
    if each.known_in_days is not None:
        wanted = math.ceil(each.known_in_days)
        wait = (
            f"at this rate it would be known in about {wanted:,} day{'' if wanted == 1 else 's'}, if it is as it looks"
        )
    return f"Too early to tell: {best} is at {between} to {control}; {wait}."
