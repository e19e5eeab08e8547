"""A log of some days with everything in it that policies share, and what one reader says of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bandstand.evaluate.estimators.evaluation import LogEvaluationResult
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from bandstand.evaluate.policy_replay.replay import LogSummary
from bandstand.evaluate.spec import EvaluationSpec, evaluate_decisions
from bandstand.store.event_files.day_reader import DirectoryDays
from bandstand.store.event_files.export import export_days
from bandstand.store.maintenance.decision_log import read_events
from bandstand.store.maintenance.offline import open_read_only
from tests.store.given import DAY
from tests.store.populated import Served, catalogue_of, trim_directory

CATALOGUE = catalogue_of(
    {
        "policies": {
            "drifting": {"kind": "linucb", "schema": "tips-v2", "floor": 0.1, "half_life": "auto"},
            "settled": {"kind": "thompson", "schema": "tips-v2", "prior": "population"},
        }
    }
)
NAMES = ("drifting", "settled", "egreedy-v1", "uniform-v1")
"""Whose memory, and whose priors, all users' rewards make; and two that share nothing."""

USERS = tuple(f"user-{number}" for number in range(5))


@dataclass(frozen=True)
class ExportedLog:
    """A ledger and its days."""

    state: Path
    folder: Path

    def evaluate_ledger(
        self,
        spec: EvaluationSpec,
        names: Sequence[str],
        *,
        since: float | None = None,
        until: float | None = None,
        frozen_since: float | None = None,
    ) -> tuple[LogSummary, list[LogEvaluationResult]]:
        with open_read_only(self.state, CATALOGUE) as state:
            return evaluate_decisions(
                spec,
                read_events(state, since=since, until=until),
                build_candidates(names),
                str,
                frozen_since=frozen_since,
            )


def build_candidates(names: Sequence[str]) -> list[CandidatePolicy]:
    """Taught by nobody."""
    return [CandidatePolicy(CATALOGUE.get_policy(name), 20) for name in names]


async def write_log(folder: Path) -> ExportedLog:
    """Some days of users who come and are reset, with late rewards, rewards in the old form, and a first baseline."""
    log = ExportedLog(folder / "state", folder / "log")
    async with Served(log.state, CATALOGUE) as served:
        waiting: list[str] = []
        for day in range(6):
            for number, user_id in enumerate(USERS):
                for policy in ("uniform-v1", "egreedy-v1"):
                    decision_id = await served.decide(user_id, policy)
                    if (number + day) % 3:
                        await served.reward(decision_id)
                    else:
                        waiting.append(decision_id)
                if (number + day) % 5 == 0:
                    await served.reward_legacy(user_id)
            for decision_id in waiting[: len(waiting) // 2]:
                await served.reward(decision_id)
            waiting = waiting[len(waiting) // 2 :]
            if day == 4:
                await served.store.reset(USERS[1], "tests")
            served.clock.now += DAY
        now, first = served.clock.now, served.clock.now - 6 * DAY
    trim_directory(log.state, first + 1.5 * DAY, CATALOGUE)
    with open_read_only(log.state, CATALOGUE) as state:
        export_days(DirectoryDays(state), log.folder, now=now + DAY)
    return log
