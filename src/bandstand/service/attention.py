"""What needs a person's attention, in words: what is wrong, since when, and what helps."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from bandstand.bandit.policies import Policy
from bandstand.errors import StorageUnavailableError
from bandstand.service.context import ServiceContext
from bandstand.service.gain import format_day
from bandstand.service.judgements import CoverageReport, load_coverage
from bandstand.service.loop import DayConditions, LoopCondition, LoopHealth, load_loop_health
from bandstand.store.records import StoreStatus
from bandstand.store.tables.console_queries import ConsoleSource
from bandstand.store.tables.loop_health import to_day
from bandstand.store.tables.picks import LoggedPick

MIN_DECISIONS = 100
"""Fewer say nothing of whether rewards still come."""

MIN_CHOICES = 200
"""Fewer picks say nothing of whether all get the same."""

MIN_REWARDS = 200
"""Fewer say nothing of how large rewards are."""

_SMALLEST = 0.1
_LARGEST = 10.0
"""A policy that takes rewards to be of the size of 1 learns little from smaller ones, and too fast from larger ones."""

_COLLAPSED = 0.99
_DAYS = 14
_KEPT_S = 60.0
_LONGEST_WAIT_S = 0.25
_UNSCORED_SHARE = 0.2
_DROP = 0.25  # of the arrival rate before
_CHECKS = {
    "exploration": (
        "the uniform share of the picks was drawn {rate:.1%} of the time and not {expected:.1%}",
        "look for a change of the floor or of the deployment's secret since then",
    ),
    "weight": (
        "the mean of 1/(K·p) over the picks is {mean:.3f}, where {weight_expected:.3f} is right",
        "do not trust what the log says of other policies until this is explained",
    ),
    "draws": (
        "the likeliest candidate was not picked as often as its probability says",
        "do not trust what the log says of other policies until this is explained",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionItem:
    """One thing that needs attention.

    Attributes:
        code: what kind, for machines.
        message: what is wrong, one sentence.
        since: the day from which on, in UTC; ``None`` if that is not known.
        advice: what helps.
    """

    code: str
    message: str
    since: str | None
    advice: str


class AttentionList:
    """What needs attention in a deployment, about a minute old at most; nobody waits long for it.

    Args:
        deployment: which.
        sight: its ledger; without, nothing is said of what gets picked.
    """

    def __init__(self, deployment: ServiceContext, sight: ConsoleSource | None = None) -> None:
        self._deployment = deployment
        self._sight = sight
        self._found: Sequence[AttentionItem] = ()
        self._until = 0.0
        self._refreshing: asyncio.Task[None] | None = None

    async def load(self) -> Sequence[AttentionItem]:
        """What needs attention: as of now, or, where the ledger takes long or cannot be read, as of before."""
        if self._refreshing is None and time.monotonic() >= self._until:
            self._refreshing = asyncio.create_task(self._refresh())
        if self._refreshing is not None:
            await asyncio.wait({self._refreshing}, timeout=_LONGEST_WAIT_S)
        return self._found

    async def _refresh(self) -> None:
        try:
            self._found = await load_items(self._deployment, self._sight)
        finally:
            self._until = time.monotonic() + _KEPT_S
            self._refreshing = None


async def load_items(
    deployment: ServiceContext, sight: ConsoleSource | None = None, picks: Sequence[LoggedPick] | None = None
) -> Sequence[AttentionItem]:
    """What needs attention now.

    Args:
        deployment: where.
        sight: its ledger; without, nothing is said of what gets picked.
        picks: the newest, where they have been read already.
    """
    status = deployment.store.status()
    found = [*find_store_items(status), *_find_closed_loops(deployment)]
    if status.state != "ready":  # there is nothing to read from, and /ready says so
        return found
    with suppress(StorageUnavailableError):
        found += find_loop_items(await load_loop_health(deployment, _DAYS))
        if picks is None and sight is not None:
            picks = await sight.list_picks()
        found += find_pick_items(picks or ())
        found += find_reward_items(picks or (), deployment.catalogue.policies[deployment.active_policy])
        if deployment.judge_worker is not None:
            found += find_judge_items(await load_coverage(deployment.judge_worker))
    return found


def find_store_items(status: StoreStatus) -> list[AttentionItem]:
    """What the store has met."""
    found = []
    if status.last_error:
        found.append(
            AttentionItem(
                code="store-error",
                message=f"the store's last write failed: {status.last_error}",
                since=None,
                advice="look at the disk of the state directory: whether it is full, read-only or gone",
            )
        )
    if (configurations := status.details.get("configurations", 1)) > 1:
        found.append(
            AttentionItem(
                code="configurations",
                message=f"{status.details['processes']} processes share the ledger under {configurations} settings",
                since=None,
                advice="give all of them the same policies, experiment, shadows, retention and judge",
            )
        )
    if status.quarantined:
        documents = "one user's document" if status.quarantined == 1 else f"{status.quarantined:,} users' documents"
        found.append(
            AttentionItem(
                code="quarantined",
                message=f"{documents} could not be trusted and went into quarantine/",
                since=None,
                advice="they were made again from the ledger; check the disk, then delete the folder",
            )
        )
    return found


def _find_closed_loops(deployment: ServiceContext) -> list[AttentionItem]:
    """Other loops that take no requests."""
    return [
        AttentionItem(
            code="loop-closed",
            message=f"the loop {name} takes no requests: {fault}",
            since=None,
            advice="mend that and start again, or PUT a definition that it can be opened with",
        )
        for name, fault in deployment.list_closed_loops().items()
    ]


def find_loop_items(health: LoopHealth) -> list[AttentionItem]:
    """Warnings if decisions are not drawn as they are logged, or if their rewards no longer come.

    Of each check that failed over all time, the day is the first of the newest days on which it failed by itself.
    """
    exploration, weight = health.all.exploration, health.all.weight
    numbers = {
        "rate": exploration.rate or 0.0,
        "expected": exploration.expected or 0.0,
        "mean": weight.mean or 0.0,
        "weight_expected": weight.expected or 0.0,
    }
    found = []
    for check in health.all.warnings:
        message, advice = _CHECKS[check]
        failed = [day.day for day in health.days if check in day.all.warnings]
        found.append(
            AttentionItem(
                code=f"loop-{check}",
                message=message.format(**numbers),
                since=min(failed, default=None),
                advice=advice,
            )
        )
    return found + _find_missing_rewards(health.days)


def find_pick_items(picks: Sequence[LoggedPick]) -> list[AttentionItem]:
    """Whether all get the same: one candidate nearly always, from a day on, though there was a choice.

    Args:
        picks: newest first.
    """
    choices = [(to_day(each.ts), each.candidate.tip_id) for each in picks if each.candidate.offered > 1]
    if len(choices) < MIN_CHOICES:
        return []
    ((favourite, _),) = Counter(tip_id for _, tip_id in choices[:MIN_CHOICES]).most_common(1)
    made = picked = 0
    since = None
    for day, of_day in groupby(choices, key=itemgetter(0)):
        mine = [tip_id == favourite for _, tip_id in of_day]
        if sum(mine) < _COLLAPSED * len(mine):
            break
        made, picked, since = made + len(mine), picked + sum(mine), format_day(day)
    if made < MIN_CHOICES:
        return []
    return [
        AttentionItem(
            code="picks-collapsed",
            message=f"{picked / made:.1%} of the {made:,} newest picks are one candidate, though there was a choice",
            since=since,
            advice="if people differ, see under /console/shown and in /stats which features the policy reads: a larger"
            " floor, or a launch of another policy, says whether others would do better",
        )
    ]


def find_reward_items(picks: Sequence[LoggedPick], policy: Policy) -> list[AttentionItem]:
    """Whether rewards are of another size than the policy's prior takes them to be.

    Args:
        picks: newest first.
        policy: that serves. Under ``prior = "auto"`` it finds the size out, and nothing is said.
    """
    rewards = [abs(each.reward) for each in picks if each.reward is not None]
    largest = max(rewards, default=0.0)
    if policy.prior_kind in {None, "auto"} or len(rewards) < MIN_REWARDS or not largest:
        return []
    if _SMALLEST <= largest <= _LARGEST:
        return []
    return [
        AttentionItem(
            code="rewards-scale",
            message=f"the largest of the {len(rewards):,} newest rewards is {largest:.2g}; {policy.name} takes rewards"
            " to be of the size of 1",
            since=None,
            advice=f"define {policy.name} again without a prior (BANDSTAND_CONFIG), and it learns their size",
        )
    ]


def find_judge_items(coverage: CoverageReport) -> list[AttentionItem]:
    """Whether turns are judged."""
    found = []
    if coverage.today.over_budget:
        found.append(
            AttentionItem(
                code="judge-budget",
                message=f"{coverage.today.over_budget:,} turns or calls since the start had no budget left for an LLM",
                since=None,
                advice="raise JUDGE_DAILY_TOKENS or JUDGE_DAILY_USD, or let the local judge decide",
            )
        )
    for name, policy in coverage.policies.items():
        unscored = sum(policy.unscored.values())
        if policy.turns >= MIN_DECISIONS and unscored > _UNSCORED_SHARE * policy.turns:
            reason = max(policy.unscored, key=lambda reason: policy.unscored[reason])
            found.append(
                AttentionItem(
                    code="judge-unscored",
                    message=f"{unscored / policy.turns:.0%} of the turns of {name} could not be judged, most often for"
                    f" {reason}",
                    since=None,
                    advice="see the judge's page; `bandstand judge retry` lets them wait for the judge again",
                )
            )
    return found


def _find_missing_rewards(days: Sequence[DayConditions]) -> list[AttentionItem]:
    """Whether rewards have stopped, or nearly: the newest full day against those before it.

    Today is left out, whose rewards are on their way.
    """
    if len(days) < 3:  # noqa: PLR2004 (today, the day to look at, and one to hold it against)
        return []
    _, newest, *before = days
    earlier, rewarded = sum(day.all.decisions for day in before), sum(day.all.answered for day in before)
    if newest.all.decisions < MIN_DECISIONS or earlier < MIN_DECISIONS or not rewarded:
        return []
    rate, usual = _compute_arrival_rate(newest.all), rewarded / earlier
    if rate >= _DROP * usual:
        return []
    return [
        AttentionItem(
            code="rewards-missing",
            message=f"{rate:.1%} of the decisions of {newest.day} were rewarded, where {usual:.1%} were before",
            since=newest.day,
            advice="check that the product still calls /reward, with the decision_id that /score gave",
        )
    ]


def _compute_arrival_rate(condition: LoopCondition) -> float:
    return condition.answered / condition.decisions if condition.decisions else 0.0
