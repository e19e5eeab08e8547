"""``bandstand evaluate-run``: an evaluation that a service queued, made by a child of it."""

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator

from bandstand.cli.state.directory import StateLocation, open_event_log, resolve_location
from bandstand.config.settings import read_settings
from bandstand.errors import BandstandError
from bandstand.evaluate.errors import UnknownEvaluationError
from bandstand.evaluate.feature_importance import FeatureImportance
from bandstand.evaluate.plan import EvaluationPlan
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from bandstand.evaluate.report import AS_TRAINED, PolicyResult, build_report
from bandstand.evaluate.spec import evaluate_decisions
from bandstand.store.logged_events import LoggedDecision, LoggedEvent
from bandstand.store.run_protocol import EvaluationStore
from bandstand.store.tables.evaluations import Evaluations
from bandstand.store.tables.run_table import RunClaim, RunProgress
from bandstand.times import parse_bound

INPUT_THREAD = "evaluate-run input"
"""Name of the thread that waits for the end of standard input."""

_SAVE_EVERY_S = 0.5
_SOURCE = "the ledger"  # a caller need not know where it lies


class EvaluationStoppedError(BandstandError):
    """The service stopped this evaluation, or is gone."""

    code = "evaluation-stopped"


def play_evaluation(run: int, state_dir: str | None, loop: str | None = None) -> None:
    """Make an evaluation that a service has queued; ends when standard input does.

    Raises:
        UnknownEvaluationError: it does not wait.
    """
    location = resolve_location(state_dir, loop, or_shared=True)
    evaluations = _open_evaluations(location)
    record = evaluations.get(run, time.time())
    claim = evaluations.claim(run, now=time.time(), only_queued=True)
    if record is None or claim is None:
        raise UnknownEvaluationError(f"evaluation {run} does not wait to be made")
    log = _SupervisedLog(evaluations, claim)
    try:
        with evaluations.keep_open():
            report = _evaluate(EvaluationPlan.from_json(record.plan), location, log)
    except EvaluationStoppedError:
        log.end(RunProgress(done=log.done, state="interrupted"))
    except BandstandError as error:
        log.end(RunProgress(done=log.done, state="failed", error=error.detail))
    else:
        log.end(RunProgress(done=log.total, summary=json.dumps(report, allow_nan=False), state="done"))


def _open_evaluations(location: StateLocation) -> EvaluationStore:
    if location.address is None:
        return Evaluations(location.directory)
    from bandstand.store.postgres.evaluation_runs import SharedEvaluationRuns  # noqa: PLC0415 (its driver is an extra)

    return SharedEvaluationRuns(location.address, holder="")


class _SupervisedLog:
    """Pages of the log on their way to the estimators, as a supervised reader passes them on.

    Attributes:
        done: events passed on.
        total: events of the log.
    """

    def __init__(self, evaluations: EvaluationStore, claim: RunClaim) -> None:
        self.done = 0
        self.total = 0
        self._evaluations = evaluations
        self._claim = claim
        self._saved_at = 0.0
        self._stopped = threading.Event()
        threading.Thread(target=self._wait_for_end_of_input, name=INPUT_THREAD, daemon=True).start()

    def supervise_pages(self, pages: Iterable[list[LoggedEvent]]) -> Iterator[list[LoggedEvent]]:
        """Each page, with how far it brings us written down first.

        Raises:
            EvaluationStoppedError: the evaluation was stopped.
        """
        for page in pages:
            if self._stopped.is_set() or not self._save_sometimes():
                raise EvaluationStoppedError("stopped by the service")
            yield page
            self.done += len(page)

    def end(self, progress: RunProgress) -> None:
        """Write the last of it."""
        self._evaluations.save(self._claim, progress, time.time())

    def _save_sometimes(self) -> bool:
        now = time.time()
        if now - self._saved_at < _SAVE_EVERY_S:
            return True
        self._saved_at = now
        return self._evaluations.save(self._claim, RunProgress(done=self.done, total=self.total), now)

    def _wait_for_end_of_input(self) -> None:
        # Not through the buffer, whose lock this thread would hold when the interpreter ends and wants to close it.
        while os.read(sys.stdin.fileno(), 1):
            pass
        self._stopped.set()


def _evaluate(plan: EvaluationPlan, location: StateLocation, log: _SupervisedLog) -> dict[str, object]:
    spec = plan.build_spec()
    since, until = (None if text is None else parse_bound(text) for text in (plan.since, plan.until))
    refresh_rewards = read_settings().prior_refresh_rewards
    candidates = [CandidatePolicy(policy, refresh_rewards) for policy in plan.build_policies(location.catalogue)]
    importance = FeatureImportance()
    with open_event_log(location) as events:
        pages = log.supervise_pages(events.read_events(since=since, until=until))
        log.total = events.count_events()
        summary, results = evaluate_decisions(
            spec,
            pages if plan.importance_of is None else _watch_pages(importance, pages),
            candidates,
            lambda number: f"the decision of event {number}",
            frozen_since=(since or 0.0) if plan.frozen else None,
        )
    how = f"frozen as of {plan.since or 'the start of the log'}" if plan.frozen else AS_TRAINED
    answers = [
        PolicyResult(candidate.policy.name, how, candidate.rewards, result)
        for candidate, result in zip(candidates, results, strict=True)
    ]
    scores = [importance.compute_scores(each) for each in candidates if each.policy.name == plan.importance_of]
    return build_report(_SOURCE, spec, answers, summary, scores[0] if scores else None)


def _watch_pages(importance: FeatureImportance, pages: Iterable[list[LoggedEvent]]) -> Iterator[list[LoggedEvent]]:
    for page in pages:
        importance.add(event for event in page if isinstance(event, LoggedDecision))
        yield page
