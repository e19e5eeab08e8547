"""The question asked of a log, and how it is answered from rows or from decisions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, Self

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.evaluation import EvaluationWarning, LogEvaluation, LogEvaluationResult
from bandstand.evaluate.estimators.formulas import Formula
from bandstand.evaluate.files.columns import Columns
from bandstand.evaluate.files.log_table import PartedTable, find_parts, open_table
from bandstand.evaluate.files.row_file import RowReader, name_file_in_errors, read_rows
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from bandstand.evaluate.policy_replay.replay import LogSummary, PolicyReplay
from bandstand.store.logged_events import LoggedEvent


@dataclass(frozen=True, slots=True)
class EvaluationSpec:
    """Which estimates to make, and how.

    Args:
        formulas: the estimators, each once.
        missing_reward: what a decision without a reward is worth; None leaves such decisions out.
        interval: how the interval of an estimate is made.
        level: its coverage.
        window_s: length of the windows of time of which sums are kept too; None for none.
    """

    formulas: tuple[Formula, ...]
    missing_reward: float | None = None
    interval: Literal["normal", "bootstrap"] = "normal"
    level: float = 0.95
    window_s: float | None = None

    @property
    def uses_model(self) -> bool:
        """Whether an estimator wants a model of the rewards."""
        return any(formula.uses_model for formula in self.formulas)

    def build_evaluation(self, first_row: int = 0) -> LogEvaluation:
        """Begin an answer, over the log or over a part of it, before which ``first_row`` decisions count."""
        return LogEvaluation(
            self.formulas,
            missing_reward=self.missing_reward,
            window_s=self.window_s,
            interval=self.interval,
            level=self.level,
            first_row=first_row,
        )

    def count_rows(self, decisions: int, rewarded: int) -> int:
        """Describe how many decisions there are, and how many of them have a reward."""
        return rewarded if self.missing_reward is None else decisions

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "formulas": [formula.to_text() for formula in self.formulas],
            "missing_reward": self.missing_reward,
            "interval": self.interval,
            "level": self.level,
            "window_s": self.window_s,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read :meth:`to_json` back."""
        return cls(**{**document, "formulas": tuple(map(Formula.parse, document["formulas"]))})


def evaluate_rows(
    spec: EvaluationSpec, path: Path, columns: Columns | None = None, *, name: str | None = None, jobs: int = 1
) -> LogEvaluationResult:
    """Evaluate the one policy whose probabilities stand in a file of rows.

    Args:
        spec: the estimates.
        path: the file, a folder of files, or a pattern that files match.
        columns: what its columns are called; if left out, what they are usually.
        name: what an error calls it; if left out, its path.
        jobs: processes, each of which reads one file at a time; the estimates are the same.

    Raises:
        EvaluationError: the file, a column or a row is not as it must be; names it.
        ConfigurationError: the file is Parquet and pyarrow is not installed.
    """
    with name_file_in_errors(name or str(path), columns):
        if jobs > 1:
            return evaluate_row_parts(spec, path, columns, jobs).result()
        evaluation = spec.build_evaluation()
        for chunk in read_rows(path, columns, model=spec.uses_model):
            evaluation.add(chunk)
        return evaluation.result()


def evaluate_row_parts(spec: EvaluationSpec, path: Path, columns: Columns | None, jobs: int) -> LogEvaluation:
    """Evaluate each file of a log in a process of its own.

    The draws of a bootstrap go by the rows' numbers, and take far longer than to count the rows first. Nothing else is
    worth that: a text is parsed twice then, so without a bootstrap the curve's slices follow the files.

    The arguments and errors are those of :func:`evaluate_rows`, but that errors do not name the log.
    """
    reader = RowReader.build(open_table(path), columns, model=spec.uses_model)
    parts = [{name: part} for name, part in find_parts(path).items()]
    whole = spec.build_evaluation()
    with run_processes(min(jobs, len(parts))) as pool:
        firsts = [0] * len(parts)
        if spec.interval == "bootstrap":
            counts = [task.result() for task in [pool.submit(count_row_part, spec, reader, part) for part in parts]]
            firsts = list(accumulate(counts[:-1], initial=0))
        tasks = [
            pool.submit(evaluate_row_part, spec, reader, part, first) for part, first in zip(parts, firsts, strict=True)
        ]
        for task in tasks:
            evaluated = task.result()
            if spec.interval != "bootstrap":
                evaluated.move_to(whole.row_count)
            whole.merge(evaluated)
    return whole


@contextmanager
def run_processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Run tasks in processes of their own; if one fails, those that have not begun are dropped.

    Raises:
        EvaluationError: one was killed.
    """
    # A fork would copy whatever locks this process's threads hold.
    pool = ProcessPoolExecutor(count, get_context("spawn"))
    try:
        yield pool
    except BrokenProcessPool:
        raise EvaluationError("a process that read it was killed; is there memory for so many?") from None
    finally:
        pool.shutdown(cancel_futures=True)


def count_row_part(spec: EvaluationSpec, reader: RowReader, files: Mapping[str, Path]) -> int:
    """How many rows of some files of a log count.

    Raises:
        EvaluationError: a file is not as it must be; names it.
    """
    return spec.count_rows(*reader.count_rows(_open_part(files)))


def evaluate_row_part(
    spec: EvaluationSpec, reader: RowReader, files: Mapping[str, Path], first_row: int
) -> LogEvaluation:
    """Evaluate some files of a log, by what errors call them, before which ``first_row`` rows count.

    Raises:
        EvaluationError: a file, or a row, is not as it must be; names it.
    """
    evaluation = spec.build_evaluation(first_row)
    for chunk in reader.read_chunks(_open_part(files)):
        evaluation.add(chunk)
    return evaluation


def _open_part(files: Mapping[str, Path]) -> PartedTable:
    return PartedTable({name: open_table(path) for name, path in files.items()})


def evaluate_decisions(
    spec: EvaluationSpec,
    pages: Iterable[list[LoggedEvent]],
    candidates: Sequence[CandidatePolicy],
    locate: Callable[[int], str],
    *,
    frozen_since: float | None = None,
    on_page: Callable[[], None] = lambda: None,
) -> tuple[LogSummary, list[LogEvaluationResult]]:
    """Evaluate configured policies over logged decisions, each as :class:`PolicyReplay` lets it decide.

    Args:
        spec: the estimates.
        pages: the log, as :func:`bandstand.store.maintenance.decision_log.read_events` reads it.
        candidates: the policies, which are taught by it.
        locate: what an error calls an event, from its number.
        frozen_since: time from which nothing teaches the candidates any more, in seconds since the epoch.
        on_page: called for each page.

    Returns:
        What the log holds, and an answer for each candidate.

    Raises:
        EvaluationError: an event is not as it must be, or there is no decision to evaluate.
    """
    replay = PolicyReplay(candidates, locate, model=spec.uses_model, frozen_since=frozen_since)
    evaluations = [spec.build_evaluation() for _ in candidates]
    for page in pages:
        for evaluation, chunk in zip(evaluations, replay.replay_page(page), strict=True):
            evaluation.add(chunk)
        on_page()
    results = []
    for candidate, evaluation in zip(candidates, evaluations, strict=True):
        result = evaluation.result()
        schema = candidate.read_schema
        lack = None if schema is None else replay.coverage.describe_lack(schema)
        doubts = () if lack is None else (EvaluationWarning(lack),)
        results.append(replace(result, warnings=(*doubts, *result.warnings)))
    return replay.summary, results
