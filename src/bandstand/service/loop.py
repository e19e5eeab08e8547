"""Loop: whether decisions were drawn as they were logged, and whether their rewards come back."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from bandstand.bandit.chi_square import MIN_EXPECTED, compute_p_value
from bandstand.service.context import ServiceContext
from bandstand.store.tables.loop_health import NO_DECISION, Arrivals, Draws, LoopSums, compute_delay

DAYS = 31
SIGNIFICANCE_LEVEL = 0.001

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_SECONDS_PER_DAY = 86_400


async def load_loop_health(deployment: ServiceContext, days: int = DAYS) -> dict[str, Any]:
    """The loop's health over all time and by day for the newest ``days``, of all policies together and of each."""
    return await asyncio.to_thread(
        _to_response, await deployment.store.load_loop_sums(days)
    )  # not between two requests


def compute_condition(draws: Iterable[Draws], arrivals: Iterable[Arrivals]) -> dict[str, Any]:
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
    weight = _compute_weight(draws, decisions)
    exploration = {
        "rate": _compute_ratio(explores, decisions),
        "expected": _compute_ratio(math.fsum(each.floor for each in draws), decisions),
        "p_value": _compute_chi_square(
            [(explores, math.fsum(each.floor for each in draws), _compute_sum(draws, "floor_variance"))]
        )[2],
    }
    likeliest = _compute_chi_square([_compute_bin(draws, part) for part in sorted({each.bin for each in draws})])
    return {
        "decisions": decisions,
        "rewards": rewards,
        "mean_reward": _compute_ratio(math.fsum(each.reward_sum for each in arrivals), rewards),
        "answered": answered,
        "arrival_rate": _compute_ratio(answered, decisions),
        "delay": _compute_delay(arrivals, answered),
        "sources": _compute_shares(arrivals, rewards),
        "exploration": exploration,
        "weight": weight,
        "ess": _compute_ratio(_compute_sum(draws, "weight") ** 2, _compute_sum(draws, "weight_squares")),
        "draws": {"chi_square": likeliest[0], "freedom": likeliest[1], "p_value": likeliest[2]},
        "warnings": [
            name
            for name, p_value in (
                ("exploration", exploration["p_value"]),
                ("weight", weight["p_value"]),
                ("draws", likeliest[2]),
            )
            if p_value is not None and p_value < SIGNIFICANCE_LEVEL
        ],
    }


def _to_response(sums: LoopSums) -> dict[str, Any]:
    draws, arrivals = _group_by_day(sums.draws), _group_by_day(sums.arrivals)
    days = sorted((draws.keys() | arrivals.keys()) - {None}, reverse=True, key=lambda day: day or 0)
    return {
        **_build_scope(draws[None], arrivals[None]),
        "days": [
            {"day": _format_date(day), **_build_scope(draws[day], arrivals[day])} for day in days if day is not None
        ],
    }


def _build_scope(draws: list[Draws], arrivals: list[Arrivals]) -> dict[str, Any]:
    names = sorted({each.policy for each in draws} | {each.policy for each in arrivals})
    return {
        "all": compute_condition(draws, arrivals),
        "policies": {
            name: compute_condition(
                [each for each in draws if each.policy == name], [each for each in arrivals if each.policy == name]
            )
            for name in names
        },
    }


def _compute_weight(draws: list[Draws], decisions: int) -> dict[str, float | None]:
    mean, expected = (
        _compute_ratio(_compute_sum(draws, "weight"), decisions),
        _compute_ratio(_compute_sum(draws, "support"), decisions),
    )
    error = p_value = None
    if mean is not None and expected is not None and decisions > 1:
        spread = max(0.0, _compute_sum(draws, "weight_squares") / decisions - mean * mean)
        error = math.sqrt(spread / (decisions - 1))
        if error > 0.0 and decisions * spread >= MIN_EXPECTED:
            p_value = compute_p_value(((mean - expected) / error) ** 2, 1)
    return {"mean": mean, "stderr": error, "expected": expected, "p_value": p_value}


def _compute_bin(draws: list[Draws], part: int) -> tuple[float, float, float]:
    in_bin = [each for each in draws if each.bin == part]
    return _compute_sum(in_bin, "picked"), _compute_sum(in_bin, "likeliest"), _compute_sum(in_bin, "variance")


def _compute_chi_square(counts: list[tuple[float, float, float]]) -> tuple[float | None, int, float | None]:
    """χ² of (observed, expected, variance), its degrees of freedom and its p-value, where the variance is enough."""
    terms = [(observed - mean) ** 2 / variance for observed, mean, variance in counts if variance >= MIN_EXPECTED]
    if not terms:
        return None, 0, None
    statistic = math.fsum(terms)
    return statistic, len(terms), compute_p_value(statistic, len(terms))


def _compute_delay(arrivals: list[Arrivals], answered: int) -> dict[str, float] | None:
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
            quantiles[wanted.pop(0)[0]] = compute_delay(bucket)
    return quantiles


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
