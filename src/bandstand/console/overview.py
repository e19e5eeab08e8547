"""The first page: how much is decided, what it earns, and whether the loop is sound."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from bandstand.console.activity_figures import build_activity_figures
from bandstand.console.auth import get_visit
from bandstand.console.changes import MAX_MARKED_DAYS, DayMark, load_marks
from bandstand.console.figures import build_gain_figure
from bandstand.console.pages import Pages
from bandstand.service.attention import load_items
from bandstand.service.context import ServiceContext
from bandstand.service.gain import GainReport, load_gain_report
from bandstand.service.latency import ListLatencies
from bandstand.service.picks import build_pick_report
from bandstand.service.stats import DeploymentSummary, load_deployment_stats
from bandstand.store.tables.console_queries import ConsoleSource, PolicyActivity

_HOUR = 3600
_DAY_HOURS = 24


@dataclass(frozen=True, slots=True)
class _TimeSpan:
    title: str
    hours: int
    width: int  # hours in a point of a curve


@dataclass(frozen=True, slots=True, kw_only=True)
class _Totals:
    mean_reward: float | None
    reward_rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _RecentTotals:
    decisions: int
    rewards: int
    mean_reward: float | None
    reward_rate: float | None
    exploration_rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _PolicyRow:
    policy: str
    decisions: int
    share: float | None
    exploration_rate: float | None
    rewards: int
    reward_rate: float | None
    mean_reward: float | None


_SPANS = {
    "24h": _TimeSpan("24 hours", 24, 1),
    "7d": _TimeSpan("7 days", 7 * 24, 6),
    "30d": _TimeSpan("30 days", 30 * 24, 24),
    "90d": _TimeSpan("90 days", 90 * 24, 24),
}
_DEFAULT = "7d"
_TABLE_DAYS = 14
_MAX_PICKED = 10
_HELP = {
    "store-error": ("#service", "How the store is"),
    "quarantined": ("#service", "How the store is"),
    "configurations": ("#service", "How the store is"),
    "loop-exploration": ("#loop", "The loop's numbers"),
    "loop-weight": ("#loop", "The loop's numbers"),
    "loop-draws": ("#loop", "The loop's numbers"),
    "loop-closed": ("/loops", "The loops"),
    "picks-collapsed": ("/shown", "What gets picked, by feature"),
    "rewards-scale": ("/shown", "The newest decisions and their rewards"),
    "rewards-missing": ("/shown", "The newest decisions and their rewards"),
    "judge-budget": ("/judge", "The judge's budget"),
    "judge-unscored": ("/judge?status=unscored", "The turns without a verdict"),
}
"""Where in the console is what helps, by what needs attention."""


def add_overview_routes(
    routes: APIRouter,
    pages: Pages,
    deployment: ServiceContext,
    sight: ConsoleSource,
    list_latencies: ListLatencies,
) -> None:
    """Add the first page and its figures."""

    def get_hours(span: _TimeSpan) -> range:
        until = (int(deployment.clock() // _HOUR) // span.width + 1) * span.width
        return range(until - span.hours, until, span.width)

    async def load_activity(span: _TimeSpan) -> list[PolicyActivity]:
        points = get_hours(span)
        return await sight.load_activity(points.start, points.stop, points.step)

    @routes.get("")
    async def show_overview(request: Request, span: str = _DEFAULT) -> Response:
        chosen = span if span in _SPANS else _DEFAULT
        stats, recent, marks, picks = await asyncio.gather(
            load_deployment_stats(deployment, days=_TABLE_DAYS),
            load_activity(_SPANS[chosen]),
            load_marks(deployment, sight),
            sight.list_picks(),
        )
        return pages.render(
            "overview.html",
            get_visit(request),
            address=str(request.base_url).rstrip("/"),
            stats=stats,
            marks=_group_by_day(marks),
            totals=_compute_totals(stats),
            rows=_build_rows(recent),
            recent=_compute_recent(recent),
            daily={1: "an hour", 6: "six hours"}.get(_SPANS[chosen].width),
            span=chosen,
            spans={name: each.title for name, each in _SPANS.items()},
            active=deployment.active_policy,
            store=deployment.store.status(),
            coverage=stats.judge,
            caps=None if deployment.judge_worker is None else deployment.judge_worker.options.caps,
            latencies=list_latencies(),
            picks=await asyncio.to_thread(build_pick_report, picks, _MAX_PICKED, shows_features=False),
            attention=await load_items(deployment, sight, picks),
            help=_HELP,
        )

    @routes.get("/gain.json")
    async def get_gain_figure() -> Response:
        report = await load_gain_report(deployment, days=MAX_MARKED_DAYS)
        marks = _group_by_day(await load_marks(deployment, sight))
        return JSONResponse({"random": build_gain_figure(report.days, marks)}, headers={"cache-control": "no-store"})

    @routes.get("/overview.json")
    async def get_overview_figures(span: str = _DEFAULT) -> Response:
        chosen = _SPANS.get(span, _SPANS[_DEFAULT])
        points = get_hours(chosen)
        since = points.start - (_DAY_HOURS if chosen.width < _DAY_HOURS else 0)
        recent, gains = await asyncio.gather(
            sight.load_activity(since, points.stop, points.step), load_gain_report(deployment, days=0)
        )
        former = {each.policy for each in recent} - set(deployment.catalogue.policies)
        names = [*deployment.catalogue.policies, *sorted(former)]
        figures = build_activity_figures(recent, names, points, _list_deviations(gains))
        return JSONResponse(figures, headers={"cache-control": "no-store"})


def _list_deviations(report: GainReport) -> dict[str, float]:
    """The standard deviation of a reward, by policy."""
    return {
        name: span.mean_reward.stderr * span.rewarded**0.5
        for name, span in report.policies.items()
        if span.mean_reward.stderr is not None
    }


def _group_by_day(marks: Sequence[DayMark]) -> dict[str, list[DayMark]]:
    groups: dict[str, list[DayMark]] = {}
    for each in marks:
        groups.setdefault(each.day, []).append(each)
    return groups


def _compute_totals(stats: DeploymentSummary) -> _Totals:
    total = sum(each.mean_reward * each.rewards for each in stats.policies.values())
    return _Totals(
        mean_reward=total / stats.rewards if stats.rewards else None,
        reward_rate=stats.rewards / stats.decisions if stats.decisions else None,
    )


def _compute_recent(activity: list[PolicyActivity]) -> _RecentTotals:
    rewards, total = sum(each.rewards for each in activity), sum(each.reward_sum for each in activity)
    decisions, explores = sum(each.decisions for each in activity), sum(each.explores for each in activity)
    return _RecentTotals(
        decisions=decisions,
        rewards=rewards,
        mean_reward=total / rewards if rewards else None,
        reward_rate=rewards / decisions if decisions else None,
        exploration_rate=explores / decisions if decisions else None,
    )


def _build_rows(activity: list[PolicyActivity]) -> list[_PolicyRow]:
    """One row a policy, the busiest first."""
    names = sorted({each.policy for each in activity})
    decided = sum(each.decisions for each in activity)
    rows = []
    for name in names:
        mine = [each for each in activity if each.policy == name]
        decisions, rewards = sum(each.decisions for each in mine), sum(each.rewards for each in mine)
        rows.append(
            _PolicyRow(
                policy=name,
                decisions=decisions,
                share=decisions / decided if decided else None,
                exploration_rate=sum(each.explores for each in mine) / decisions if decisions else None,
                rewards=rewards,
                reward_rate=rewards / decisions if decisions else None,
                mean_reward=sum(each.reward_sum for each in mine) / rewards if rewards else None,
            )
        )
    return sorted(rows, key=lambda row: -row.decisions)
