"""Auto optimization: at set times a loop looks for a policy that would have earned more, and applies it.

What it looks at is the log since the time before. Experiments are evaluated offline; the best of them is applied where
its 95 % interval lies above that of what served. Who changes the loop by hand has the last word until the next time:
nothing is applied that was evaluated before that.
"""

import asyncio
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from bandstand.errors import BandstandError
from bandstand.personalizer.admin import AdminCalls
from bandstand.personalizer.configuration import ServiceConfiguration
from bandstand.personalizer.durations import parse_duration
from bandstand.personalizer.evaluation_request import EvaluationCall
from bandstand.personalizer.evaluation_results import iter_policies
from bandstand.personalizer.evaluation_summary import SummarySums
from bandstand.personalizer.evaluations import EvaluationCalls
from bandstand.personalizer.loop import PersonalizerLoop
from bandstand.personalizer.policy_arguments import PolicyArguments
from bandstand.store.tables.run_table import RunRecord
from bandstand.times import parse_bound

CLIENT: Final = "auto-optimization"
"""Who changes a loop where this does."""

MIN_EVENTS: Final = 100
"""Fewest events of a look: an interval by the normal law means little below."""

_LOOK_SECONDS: Final = 60.0


class AutoOptimizer:
    """Looks after one loop.

    Args:
        loop: which.
        evaluations: has evaluations made.
        admin: changes the loop.
    """

    def __init__(self, loop: PersonalizerLoop, evaluations: EvaluationCalls, admin: AdminCalls) -> None:
        self._loop = loop
        self._evaluations = evaluations
        self._admin = admin

    async def run(self) -> None:
        """Look every minute, for as long as the loop runs."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            with suppress(BandstandError):  # nothing to evaluate, or not now
                await self.begin_or_apply()

    async def begin_or_apply(self) -> None:
        """Begin an evaluation that is due, or apply what the newest one found.

        Raises:
            BandstandError: there is nothing to evaluate, or it cannot be now.
        """
        configuration = self._loop.configuration
        if not configuration.optimizes:
            return
        due, frequency = find_due(configuration, self._loop.clock())
        newest = await self._find_newest()
        if newest is None or newest.created < due:
            if due > (configuration.edited or 0.0):
                await self._evaluations.start(EvaluationCall.build_auto(due - frequency, due), CLIENT)
        elif newest.state == "done" and newest.created > (configuration.edited or 0.0):
            await self._apply(await self._evaluations.runs.queue.get(newest.id))

    async def _find_newest(self) -> RunRecord | None:
        runs = self._evaluations.runs
        return next((run for run in await runs.list_all() if runs.read_note(run).get("kind") == "Auto"), None)

    async def _apply(self, run: RunRecord) -> None:
        note = self._evaluations.runs.read_note(run)
        better = find_better(json.loads(run.summary or "{}"), note)
        if better is not None:
            await self._admin.change_policy(better, CLIENT, evaluation=note["id"])


def find_due(configuration: ServiceConfiguration, now: float) -> tuple[float, float]:
    """The last time to look that has come, in seconds since the epoch, and the seconds between two."""
    frequency = parse_duration(configuration.optimization_frequency) or math.inf
    start = parse_bound(configuration.optimization_start, needs_zone=False)
    if now < start:
        return -math.inf, frequency
    return start + math.floor((now - start) / frequency) * frequency, frequency


def find_better(report: Mapping[str, Any], note: Mapping[str, Any]) -> PolicyArguments | None:
    """The best experiment of an evaluation, if it surely earns more than what served did.

    Args:
        report: what the evaluation came to.
        note: what was asked.
    """
    sums = {policy: SummarySums.from_report(report["log"], policy.report) for policy in iter_policies(report, note)}
    (online,) = [each for policy, each in sums.items() if policy.source == "Online"]
    experiments = [policy for policy in sums if policy.source == "OfflineExperimentation"]
    if not experiments or online.n < MIN_EVENTS:
        return None
    best = max(experiments, key=lambda policy: sums[policy].mean)
    if sums[best].mean - sums[best].half_width <= online.mean + online.half_width:
        return None
    return PolicyArguments.parse(best.name, best.arguments)
