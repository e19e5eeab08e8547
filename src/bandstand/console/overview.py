"""The first page: how much is decided, what comes of it, and whether the loop is sound."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from bandstand.console.auth import visit_of
from bandstand.console.figures import activity_figures
from bandstand.console.pages import Pages
from bandstand.service.context import Deployment
from bandstand.service.judgements import coverage
from bandstand.service.stats import deployment_stats
from bandstand.store.tables.console_queries import Activity, Sight

_HOUR = 3600


@dataclass(frozen=True, slots=True)
class _Span:
    title: str
    hours: int
    width: int  # hours in a point of a curve


_SPANS = {
    "24h": _Span("24 hours", 24, 1),
    "7d": _Span("7 days", 7 * 24, 6),
    "30d": _Span("30 days", 30 * 24, 24),
    "90d": _Span("90 days", 90 * 24, 24),
}
_DEFAULT = "7d"


def overview_routes(routes: APIRouter, pages: Pages, deployment: Deployment, sight: Sight) -> None:
    """Add the first page and its figures."""

    def hours(span: _Span) -> range:
        until = (int(deployment.clock() // _HOUR) // span.width + 1) * span.width
        return range(until - span.hours, until, span.width)

    async def activity(span: _Span) -> list[Activity]:
        points = hours(span)
        return await sight.activity(points.start, points.stop, points.step)

    @routes.get("")
    async def overview(request: Request, span: str = _DEFAULT) -> Response:
        chosen = span if span in _SPANS else _DEFAULT
        stats, recent = await asyncio.gather(deployment_stats(deployment, days=0), activity(_SPANS[chosen]))
        judged = {} if deployment.judging is None else (await coverage(deployment.judging))["policies"]
        return pages.render(
            "overview.html",
            visit_of(request),
            address=str(request.base_url).rstrip("/"),
            stats=stats,
            totals=_totals(stats),
            rows=_rows(recent),
            span=chosen,
            spans={name: each.title for name, each in _SPANS.items()},
            active=deployment.active,
            store=deployment.store.status(),
            judged=judged,
        )

    @routes.get("/overview.json")
    async def overview_figures(span: str = _DEFAULT) -> Response:
        chosen = _SPANS.get(span, _SPANS[_DEFAULT])
        recent = await activity(chosen)
        former = {each.policy for each in recent} - set(deployment.catalogue.policies)
        names = [*deployment.catalogue.policies, *sorted(former)]
        return JSONResponse(activity_figures(recent, names, hours(chosen)), headers={"cache-control": "no-store"})


def _totals(stats: Mapping[str, Any]) -> dict[str, float | None]:
    policies = stats["policies"].values()
    rewards = stats["rewards"]
    total = sum(each["mean_reward"] * each["rewards"] for each in policies)
    return {
        "mean_reward": total / rewards if rewards else None,
        "reward_rate": rewards / stats["decisions"] if stats["decisions"] else None,
    }


def _rows(activity: list[Activity]) -> list[dict[str, Any]]:
    """One row a policy, the busiest first."""
    names = sorted({each.policy for each in activity})
    decided = sum(each.decisions for each in activity)
    rows = []
    for name in names:
        mine = [each for each in activity if each.policy == name]
        decisions, rewards = sum(each.decisions for each in mine), sum(each.rewards for each in mine)
        rows.append(
            {
                "policy": name,
                "decisions": decisions,
                "share": decisions / decided if decided else None,
                "exploration_rate": sum(each.explores for each in mine) / decisions if decisions else None,
                "rewards": rewards,
                "reward_rate": rewards / decisions if decisions else None,
                "mean_reward": sum(each.reward_sum for each in mine) / rewards if rewards else None,
            }
        )
    return sorted(rows, key=lambda row: -row["decisions"])
