"""Loop: whether decisions were drawn as they were logged, and whether their rewards come back."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bandstand.bandit.chi_square import MIN_EXPECTED, compute_p_value
from bandstand.service.context import ServiceContext
from bandstand.store.tables.loop_health import NO_DECISION, Arrivals, Draws, LoopSums, compute_delay

MIN_EFFECTIVE = 30.0
"""Effective decisions below which a mean of weights is not normal: a few large ones make all of it."""

DAYS = 31
SIGNIFICANCE_LEVEL = 0.001

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplorationCheck:
    """How often the uniform share drew, and how often it should have."""

    rate: float | None
    expected: float | None
    p_value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightCheck:
    """The mean of 1/(K·p) over the picks, its standard error, and what it should be."""

    mean: float | None
    stderr: float | None
    expected: float | None
    p_value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawCheck:
    """Whether the likeliest candidate was picked as often as logged: χ² and its degrees of freedom."""

    chi_square: float | None
    freedom: int
    p_value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayQuantiles:
    """Quantiles of the seconds from decision to reward."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopCondition:
    """Whether some decisions were drawn as they were logged, and what came back; see :func:`compute_condition`.

    Attributes:
        rewards: those that stand, also those that answer no decision.
        answered: rewards that answer a decision.
        arrival_rate: answered ÷ decisions.
        sources: the share of the rewards by where they came from.
        ess: (Σ w)²/Σ w².
        warnings: of ``exploration``, ``weight`` and ``draws`` those with p < 0.001.
    """

    decisions: int
    rewards: int
    mean_reward: float | None
    answered: int
    arrival_rate: float | None
    delay: DelayQuantiles | None
    sources: Mapping[str, float]
    exploration: ExplorationCheck
    weight: WeightCheck
    ess: float | None
    draws: DrawCheck
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConditions:
    """The condition of all policies together, and of each by name."""

    all: LoopCondition
    policies: Mapping[str, LoopCondition]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayConditions(LoopConditions):
    """The same of one day's decisions; the day in UTC."""

    day: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftFinding:
    """What a policy's users want has changed, and which of their rewards count since.

    Attributes:
        day: on which it was found, in UTC.
        half_life_days: in which a reward loses half of its weight; ``None`` for never.
        since: the day from which on rewards count; ``None`` if all do.
    """

    policy: str
    day: str
    half_life_days: float | None
    since: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopHealth(LoopConditions):
    """The health of the learning loop; of the newest days those with events, the newest first.

    Attributes:
        drift: the newest change of each policy that finds out which rewards count, where there was one.
    """

    days: Sequence[DayConditions]
    drift: Sequence[DriftFinding]


async def load_loop_health(deployment: ServiceContext, days: int = DAYS) -> LoopHealth:
    """The loop's health over all time and by day for the newest ``days``, of all policies together and of each."""
    sums = await deployment.store.load_loop_sums(days)
    drift = [
        DriftFinding(
            policy=status.policy,
            day=_format_date(int(status.change.ts // _SECONDS_PER_DAY)),
            half_life_days=status.memory.half_life or None,
            since=_format_date(int(status.memory.since // _SECONDS_PER_DAY)) if status.memory.since else None,
        )
        for status in deployment.drift.list_statuses()
        if status.change is not None
    ]
    return await asyncio.to_thread(_build_health, sums, drift)  # not between two requests


def compute_condition(draws: Iterable[Draws], arrivals: Iterable[Arrivals]) -> LoopCondition:
    """What sums over some decisions say of the loop.

    *Weight*: w = 1/(K·p) of the pick is the weight of a uniform policy in an off-policy estimate, and E[w] is the share
    of the candidates that had a chance at all: 1 under any floor. *Exploration*: the uniform share δ should have drawn
    Σ δ of the decisions. *Draws*: the likeliest candidate should have been picked Σ p times, in each tenth of p by
    itself; χ² = Σ (picked − Σ p)²/Σ p(1 − p) over the tenths where that variance is at least 5. Each is a sum of
    martingale differences given what was logged, and so about normal, however the policy learned meanwhile; the weights
    from 30 effective decisions on. What is off
    by more than chance would allow once in 1,000 times is among ``warnings``.
    """
    draws, arrivals = list(draws), list(arrivals)
    decisions = sum(each.decisions for each in draws)
    explores = sum(each.explores for each in draws)
    rewards = sum(each.rewards for each in arrivals)
    answered = sum(each.rewards for each in arrivals if each.bucket != NO_DECISION)
    weight = _compute_weight(draws, decisions)
    floor = _compute_sum(draws, "floor")
    exploration = ExplorationCheck(
        rate=_compute_ratio(explores, decisions),
        expected=_compute_ratio(floor, decisions),
        p_value=_compute_chi_square([(explores, floor, _compute_sum(draws, "floor_variance"))]).p_value,
    )
    likeliest = _compute_chi_square([_compute_bin(draws, part) for part in sorted({each.bin for each in draws})])
    p_values = {"exploration": exploration.p_value, "weight": weight.p_value, "draws": likeliest.p_value}
    return LoopCondition(
        decisions=decisions,
        rewards=rewards,
        mean_reward=_compute_ratio(math.fsum(each.reward_sum for each in arrivals), rewards),
        answered=answered,
        arrival_rate=_compute_ratio(answered, decisions),
        delay=_compute_delay(arrivals, answered),
        sources=_compute_shares(arrivals, rewards),
        exploration=exploration,
        weight=weight,
        ess=_compute_ratio(_compute_sum(draws, "weight") ** 2, _compute_sum(draws, "weight_squares")),
        draws=likeliest,
        warnings=[name for name, p_value in p_values.items() if p_value is not None and p_value < SIGNIFICANCE_LEVEL],
    )


def _build_health(sums: LoopSums, drift: Sequence[DriftFinding]) -> LoopHealth:
    draws, arrivals = _group_by_day(sums.draws), _group_by_day(sums.arrivals)
    days = sorted((draws.keys() | arrivals.keys()) - {None}, reverse=True, key=lambda day: day or 0)
    return LoopHealth(
        all=compute_condition(draws[None], arrivals[None]),
        policies=_compute_by_policy(draws[None], arrivals[None]),
        days=[
            DayConditions(
                day=_format_date(day),
                all=compute_condition(draws[day], arrivals[day]),
                policies=_compute_by_policy(draws[day], arrivals[day]),
            )
            for day in days
            if day is not None
        ],
        drift=drift,
    )


def _compute_by_policy(draws: list[Draws], arrivals: list[Arrivals]) -> dict[str, LoopCondition]:
    names = sorted({each.policy for each in draws} | {each.policy for each in arrivals})
    return {
        name: compute_condition(
            [each for each in draws if each.policy == name], [each for each in arrivals if each.policy == name]
        )
        for name in names
    }


def _compute_weight(draws: list[Draws], decisions: int) -> WeightCheck:
    mean, expected = (
        _compute_ratio(_compute_sum(draws, "weight"), decisions),
        _compute_ratio(_compute_sum(draws, "support"), decisions),
    )
    error = p_value = None
    if mean is not None and expected is not None and decisions > 1:
        spread = max(0.0, _compute_sum(draws, "weight_squares") / decisions - mean * mean)
        error = math.sqrt(spread / (decisions - 1))
        effective = _compute_sum(draws, "weight") ** 2 / _compute_sum(draws, "weight_squares")
        if error > 0.0 and decisions * spread >= MIN_EXPECTED and effective >= MIN_EFFECTIVE:
            p_value = compute_p_value(((mean - expected) / error) ** 2, 1)
    return WeightCheck(mean=mean, stderr=error, expected=expected, p_value=p_value)


def _compute_bin(draws: list[Draws], part: int) -> tuple[float, float, float]:
    in_bin = [each for each in draws if each.bin == part]
    return _compute_sum(in_bin, "picked"), _compute_sum(in_bin, "likeliest"), _compute_sum(in_bin, "variance")


def _compute_chi_square(counts: list[tuple[float, float, float]]) -> DrawCheck:
    """χ² of (observed, expected, variance), its degrees of freedom and its p-value, where the variance is enough."""
    terms = [(observed - mean) ** 2 / variance for observed, mean, variance in counts if variance >= MIN_EXPECTED]
    if not terms:
        return DrawCheck(chi_square=None, freedom=0, p_value=None)
    statistic = math.fsum(terms)
    return DrawCheck(chi_square=statistic, freedom=len(terms), p_value=compute_p_value(statistic, len(terms)))


def _compute_delay(arrivals: list[Arrivals], answered: int) -> DelayQuantiles | None:
    """Quantiles of the seconds from decision to reward, to within 9 % of 1 s + the delay."""
    if answered <= 0:
        return None
    counts: dict[int, int] = defaultdict(int)
    for each in arrivals:
        if each.bucket != NO_DECISION:
            counts[each.bucket] += each.rewards
    quantiles: dict[str, float] = {}
    passed = 0
    wanted = list(_QUANTILES.items())
    for bucket in sorted(counts):
        passed += counts[bucket]
        while wanted and passed >= wanted[0][1] * answered:
            quantiles[wanted.pop(0)[0]] = compute_delay(bucket)
    return DelayQuantiles(**quantiles)


def _compute_shares(arrivals: list[Arrivals], rewards: int) -> dict[str, float]:
    counts: dict[str, int] = defaultdict(int)
    for each in arrivals:
        counts[each.source] += each.rewards
    return {source: counts[source] / rewards for source in sorted(counts) if counts[source]}


def _compute_sum(draws: list[Draws], name: str) -> float:
    return math.fsum(getattr(each, name) for each in draws)


def _compute_ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _group_by_day(sums: Iterable[Any]) -> Mapping[int | None, list[Any]]:
    days: dict[int | None, list[Any]] = defaultdict(list)
    for each in sums:
        days[each.day].append(each)
    return days


def _format_date(day: int) -> str:
    return datetime.fromtimestamp(day * _SECONDS_PER_DAY, UTC).date().isoformat()
