"""Loop: whether decisions were drawn as they were logged, and whether their rewards come back."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from bandstand.bandit.chi_square import LEAST_EXPECTED, tail
from bandstand.service.context import Deployment
from bandstand.store.tables.loop_health import NO_DECISION, Arrivals, Draws, LoopSums, delay_of

DAYS = 31
SIGNIFICANT = 0.001

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_DAY = 86_400


async def health(deployment: Deployment, days: int = DAYS) -> dict[str, Any]:
    """The loop's health over all time and by day for the newest ``days``, of all policies together and of each."""
    return await asyncio.to_thread(_told, await deployment.store.loop(days))  # not between two requests


def condition(draws: Iterable[Draws], arrivals: Iterable[Arrivals]) -> dict[str, Any]:
    """What sums over some decisions say of the loop.

    *Weight*: w = 1/(K·p) of the pick is the weight of a uniform policy in an off-policy estimate, and E[w] is the share
    of the candidates that had a chance at all: 1 under any floor. *Exploration*: the uniform share δ should have drawn
    Σ δ of the decisions. *Draws*: the likeliest candidate should have been picked Σ p times, in each tenth of p by
    itself; χ² = Σ (picked − Σ p)²/Σ p(1 − p) over the tenths where that variance is at least 5. Each is a sum of
    martingale differences given what was logged, and so about normal, however the policy learned meanwhile. What is off
    by more than chance would allow once in 1,000 times is among ``warnings``.
    """
    draws, arrivals = list(draws), list(arrivals)
    decisions = sum(each.decisions for each in draws)
    explores = sum(each.explores for each in draws)
    rewards = sum(each.rewards for each in arrivals)
    answered = sum(each.rewards for each in arrivals if each.bucket != NO_DECISION)
    weight = _weight(draws, decisions)
    exploration = {
        "rate": _ratio(explores, decisions),
        "expected": _ratio(math.fsum(each.floor for each in draws), decisions),
        "p_value": _deviation([(explores, math.fsum(each.floor for each in draws), _sum(draws, "floor_variance"))])[2],
    }
    likeliest = _deviation([_tenth(draws, part) for part in sorted({each.bin for each in draws})])
    return {
        "decisions": decisions,
        "rewards": rewards,
        "mean_reward": _ratio(math.fsum(each.reward_sum for each in arrivals), rewards),
        "answered": answered,
        "arrival_rate": _ratio(answered, decisions),
        "delay": _delay(arrivals, answered),
        "sources": _shares(arrivals, rewards),
        "exploration": exploration,
        "weight": weight,
        "ess": _ratio(_sum(draws, "weight") ** 2, _sum(draws, "weight_squares")),
        "draws": {"chi_square": likeliest[0], "freedom": likeliest[1], "p_value": likeliest[2]},
        "warnings": [
            name
            for name, p_value in (
                ("exploration", exploration["p_value"]),
                ("weight", weight["p_value"]),
                ("draws", likeliest[2]),
            )
            if p_value is not None and p_value < SIGNIFICANT
        ],
    }


def _told(sums: LoopSums) -> dict[str, Any]:
    draws, arrivals = _by_day(sums.draws), _by_day(sums.arrivals)
    days = sorted((draws.keys() | arrivals.keys()) - {None}, reverse=True, key=lambda day: day or 0)
    return {
        **_scope(draws[None], arrivals[None]),
        "days": [{"day": _date(day), **_scope(draws[day], arrivals[day])} for day in days if day is not None],
    }


def _scope(draws: list[Draws], arrivals: list[Arrivals]) -> dict[str, Any]:
    names = sorted({each.policy for each in draws} | {each.policy for each in arrivals})
    return {
        "all": condition(draws, arrivals),
        "policies": {
            name: condition(
                [each for each in draws if each.policy == name], [each for each in arrivals if each.policy == name]
            )
            for name in names
        },
    }


def _weight(draws: list[Draws], decisions: int) -> dict[str, float | None]:
    mean, expected = _ratio(_sum(draws, "weight"), decisions), _ratio(_sum(draws, "support"), decisions)
    error = p_value = None
    if mean is not None and expected is not None and decisions > 1:
        spread = max(0.0, _sum(draws, "weight_squares") / decisions - mean * mean)
        error = math.sqrt(spread / (decisions - 1))
        if error > 0.0 and decisions * spread >= LEAST_EXPECTED:
            p_value = tail(((mean - expected) / error) ** 2, 1)
    return {"mean": mean, "stderr": error, "expected": expected, "p_value": p_value}


def _tenth(draws: list[Draws], part: int) -> tuple[float, float, float]:
    here = [each for each in draws if each.bin == part]
    return _sum(here, "picked"), _sum(here, "likeliest"), _sum(here, "variance")


def _deviation(counts: list[tuple[float, float, float]]) -> tuple[float | None, int, float | None]:
    """χ² of (observed, expected, variance), its degrees of freedom and its p-value, where the variance is enough."""
    terms = [(observed - mean) ** 2 / variance for observed, mean, variance in counts if variance >= LEAST_EXPECTED]
    if not terms:
        return None, 0, None
    statistic = math.fsum(terms)
    return statistic, len(terms), tail(statistic, len(terms))


def _delay(arrivals: list[Arrivals], answered: int) -> dict[str, float] | None:
    """Quantiles of the seconds from decision to reward, to within 9 % of 1 s + the delay."""
    if answered <= 0:
        return None
    counts: dict[int, int] = defaultdict(int)
    for each in arrivals:
        if each.bucket != NO_DECISION:
            counts[each.bucket] += each.rewards
    quantiles, passed = {}, 0
    wanted = list(_QUANTILES.items())
    for bucket in sorted(counts):
        passed += counts[bucket]
        while wanted and passed >= wanted[0][1] * answered:
            quantiles[wanted.pop(0)[0]] = delay_of(bucket)
    return quantiles


def _shares(arrivals: list[Arrivals], rewards: int) -> dict[str, float]:
    counts: dict[str, int] = defaultdict(int)
    for each in arrivals:
        counts[each.source] += each.rewards
    return {source: counts[source] / rewards for source in sorted(counts) if counts[source]}


def _sum(draws: list[Draws], name: str) -> float:
    return math.fsum(getattr(each, name) for each in draws)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _by_day(sums: Iterable[Any]) -> Mapping[int | None, list[Any]]:
    days: dict[int | None, list[Any]] = defaultdict(list)
    for each in sums:
        days[each.day].append(each)
    return days


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * _DAY, UTC).date().isoformat()
