"""The health of the learning loop.

Written by ``tools/write_client.py`` from the service's ``openapi.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bandstand_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class Delays(Answer):
    """Quantiles of the seconds from decision to reward, to within 9 % of 1 s + the delay.

    Example:
        >>> client.score("ada", ["tea"]).reward(0.5).applied
        True
        >>> client.deployment_stats().loop.all.delay.p50 >= 0.0
        True
    """

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, kw_only=True)
class ExplorationCheck(Answer):
    """How often the uniform share drew, and how often it should have.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> 0.0 <= client.deployment_stats().loop.all.exploration.rate <= 1.0
        True
    """

    rate: float | None = None
    expected: float | None = None
    p_value: float | None = None


@dataclass(frozen=True, kw_only=True)
class WeightCheck(Answer):
    """The mean of 1/(K·p) over the picks: what a uniform policy's estimate on this log would weigh them with.

    Attributes:
        expected: the share of the candidates that had a chance: 1 under any floor.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> client.deployment_stats().loop.all.weight.mean > 0.0
        True
    """

    mean: float | None = None
    stderr: float | None = None
    expected: float | None = None
    p_value: float | None = None


@dataclass(frozen=True, kw_only=True)
class DrawCheck(Answer):
    """Whether the likeliest candidate was picked as often as logged, by tenths of its probability.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> client.deployment_stats().loop.all.draws.freedom >= 0
        True
    """

    chi_square: float | None = None
    freedom: int
    p_value: float | None = None


@dataclass(frozen=True, kw_only=True)
class LoopCondition(Answer):
    """Whether some decisions were drawn as they were logged, and what came back for them.

    Attributes:
        rewards: that stand; also those that answer no decision.
        answered: rewards that answer a decision.
        arrival_rate: answered over decisions.
        sources: share of the rewards by where they came from.
        ess: (Σ w)²/Σ w²: how many uniform picks this log is worth.
        warnings: those with p < 0.001.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> client.deployment_stats().loop.all.decisions >= 1
        True
    """

    decisions: int
    rewards: int
    mean_reward: float | None = None
    answered: int
    arrival_rate: float | None = None
    delay: Delays | None = None
    sources: Mapping[str, float]
    exploration: ExplorationCheck
    weight: WeightCheck
    ess: float | None = None
    draws: DrawCheck
    warnings: tuple[Literal["exploration", "weight", "draws"], ...]


@dataclass(frozen=True, kw_only=True)
class LoopDay(Answer):
    """A day, in UTC, of the decisions.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> client.deployment_stats().loop.days[0].all.decisions >= 1
        True
    """

    all: LoopCondition
    policies: Mapping[str, LoopCondition]
    day: str


@dataclass(frozen=True, kw_only=True)
class LoopDrift(Answer):
    """What a policy's users want has changed, and which of their rewards count since.

    Attributes:
        day: on which it was found, in UTC.
        half_life_days: in which a reward loses half of its weight; null for never.
        since: the day from which on rewards count; null where all do.

    Example:
        >>> client.deployment_stats().loop.drift
        ()
    """

    policy: str
    day: str
    half_life_days: float | None = None
    since: str | None = None


@dataclass(frozen=True, kw_only=True)
class LoopHealth(Answer):
    """The health of the learning loop.

    Attributes:
        days: of the newest 31 days those with events, the newest first.
        drift: the newest change of each policy with half_life = "auto".

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> client.deployment_stats().loop.policies["linucb-v2"].decisions >= 1
        True
    """

    all: LoopCondition
    policies: Mapping[str, LoopCondition]
    days: tuple[LoopDay, ...]
    drift: tuple[LoopDrift, ...]
