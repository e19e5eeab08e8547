"""Whether it pays: what is earned beside what else could have been.

Written by ``tools/write_client.py`` from the service's ``openapi.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bandstand_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class Estimate(Answer):
    """An estimate of the mean reward, and its normal interval of 95 %; null if there are too few rewards.

    Example:
        >>> client.deployment_stats().shadows is None
        True
    """

    value: float
    stderr: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class GainOverTarget(Answer):
    """What is earned compared with what a target would have earned, for each decision.

    Attributes:
        value: the target's mean reward, doubly robust with the logged means.
        gain: mean reward less that, over the same decisions.
        low: of an interval that may be looked at every day: 95 % for all looks together.
        ess: (Σ w)²/Σ w² of the weights that came.
        expected_ess: the same of those to be expected: on so many effective decisions it rests.
        mean_weight: should be 1.
        supported: all that the target does had a chance; else the log cannot tell.
        verdict: more or less where the interval is on one side of 0, expected_ess is 30 or more, and supported.
        known_in_days: until it is one of these, at the newest days' rate and if it is as it looks; null beyond two
            years.
        warnings: in words.

    Example:
        >>> [name for each in client.deployment_stats().gain.days for name in each.targets if not name]
        []
    """

    value: float
    gain: float
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    ess: float
    expected_ess: float
    mean_weight: float
    supported: bool
    verdict: Literal["more", "less", "early"]
    known_in_days: float | None = None
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GainOfSpan(Answer):
    """What some rewarded decisions earned, and what random and the caller's first would have.

    Attributes:
        since: the day of the first of them, in UTC.
        targets: `random` and `first`.

    Example:
        >>> set(client.deployment_stats().gain.policies) <= set(client.deployment_stats().policies)
        True
    """

    since: str
    until: str
    rewarded: int
    mean_reward: Estimate
    targets: Mapping[str, GainOverTarget]


@dataclass(frozen=True, kw_only=True)
class GainOfDay(Answer):
    """One day, and how the sum of all that was gained stood at its end.

    Attributes:
        since: the day of the first of them, in UTC.
        targets: `random` and `first`.
        cumulative: by target, since the first day, with the lasting interval.

    Example:
        >>> [each.since for each in client.deployment_stats().gain.days if not each.rewarded]
        []
    """

    since: str
    until: str
    rewarded: int
    mean_reward: Estimate
    targets: Mapping[str, GainOverTarget]
    cumulative: Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class GainReport(Answer):
    """Whether it pays.

    Attributes:
        as_of: until when events are in it, a second or two behind.
        all: null where no decision has a reward.
        policies: by the policy that decided.
        spans: of the newest `7d`, `30d` and `90d`, those with a rewarded decision.
        days: the newest 31 with rewarded decisions, the oldest first.

    Example:
        >>> client.deployment_stats().gain.sentence.endswith(".")
        True
    """

    sentence: str
    as_of: str | None = None
    all: GainOfSpan | None = None
    policies: Mapping[str, GainOfSpan]
    spans: Mapping[str, GainOfSpan]
    days: tuple[GainOfDay, ...]


@dataclass(frozen=True, kw_only=True)
class ArmResult(Answer):
    """The result of one arm's users.

    Attributes:
        users: with a decision.
        rewarded: decisions with a reward that stands.
        mean_reward: A rewarded decision; its interval takes a user's together.
        reward_per_user: the sum of a user's rewards.
        difference: of mean_reward to the control's; its interval may be looked at every day. Null for the control.
        verdict: better or worse where that interval is on one side of 0 and each arm has 20 users with a reward.
        known_in_days: at this rate, if it is as it looks; null beyond two years.
        metrics: what rewards bring by name, a decision that brought it.
        metric_differences: of these to the control's, as difference, from 20 users in each arm on.

    Example:
        >>> client.deployment_stats().holdout is None
        True
    """

    users: int
    decisions: int
    rewarded: int
    mean_reward: Estimate | None = None
    reward_per_user: Estimate | None = None
    difference: Estimate | None = None
    verdict: Literal["control", "better", "worse", "early"]
    known_in_days: float | None = None
    metrics: Mapping[str, Estimate]
    metric_differences: Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class ReadoutDay(Answer):
    """How each arm's difference to the control stood at the end of a day.

    Example:
        >>> client.deployment_stats().holdout is None
        True
    """

    day: str
    differences: Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class ArmsReadout(Answer):
    """Who wins, how sure, how much longer.

    Attributes:
        metrics_left_out: values of metrics beyond the first 20 names, counted and not added up.

    Example:
        >>> client.deployment_stats().holdout is None
        True
    """

    sentence: str
    control: str
    arms: Mapping[str, ArmResult]
    days: tuple[ReadoutDay, ...]
    metrics_left_out: int


@dataclass(frozen=True, kw_only=True)
class Holdout(Answer):
    """Users who are served without the bandit, compared with the others.

    Attributes:
        share: of the users, as configured.
        control: what they get.
        p_value: of the sample ratio; null while fewer than 5 are expected in an arm.
        mismatch: p < 0.001: the arms cannot be compared.

    Example:
        >>> client.deployment_stats().holdout is None
        True
    """

    share: float
    control: Literal["random", "first"]
    since: str
    users: int
    p_value: float | None = None
    mismatch: bool
    readout: ArmsReadout
