"""Stretches of an exported log, each replayed from what the log had taught by then.

What a policy would do with a decision depends on every reward before it. So one process learns from the log once, in
order; it reads neither requests nor probabilities and decides nothing. The state that each stretch begins with is
written down for the process that replays it. Parts by user would not need that, but for what all users share: the
population prior, the memory that counts, the model of the rewards, the numbers of the rows.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import zstandard

from bandstand.atomic_file import replace_file
from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.evaluation import EvaluationWarning, LogEvaluation, LogEvaluationResult
from bandstand.evaluate.files.event_files import EventFile, EventFiles, FileCounts
from bandstand.evaluate.files.standing_rewards import StandingRewards
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from bandstand.evaluate.policy_replay.replay import LogSummary, PolicyReplay
from bandstand.evaluate.policy_replay.unread_features import FeatureCoverage
from bandstand.evaluate.spec import EvaluationSpec
from bandstand.store.sqlite.errors import storage_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuestion:
    """The question of an evaluation of an exported log.

    Attributes:
        spec: the estimates.
        since: decisions before this time are left out, in seconds since the epoch; None for all.
        until: nothing after this time is read; None for all.
        frozen_since: nothing teaches the policies from then on; None for never.
    """

    spec: EvaluationSpec
    since: float | None = None
    until: float | None = None
    frozen_since: float | None = None

    def build_replay(self, candidates: Sequence[CandidatePolicy], files: EventFiles) -> PolicyReplay:
        """Begin a replay."""
        return PolicyReplay(
            candidates, files.format_location, model=self.spec.uses_model, frozen_since=self.frozen_since
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        times = {"since": self.since, "until": self.until, "frozen_since": self.frozen_since}
        return {"spec": self.spec.to_json(), **times}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read :meth:`to_json` back."""
        return cls(**{**document, "spec": EvaluationSpec.from_json(document["spec"])})


class EventPart(NamedTuple):
    """A stretch of the log, and what it begins with.

    Attributes:
        files: its days.
        first_row: decisions before it that count.
        learned: what the log had taught by then, and what it must know of the rest, as JSON values.
    """

    files: tuple[EventFile, ...]
    first_row: int
    learned: dict[str, Any]


class EventSums:
    """What a part of a log says of some policies.

    Attributes:
        evaluations: of each policy.
        rewards: how many had taught each by the end of the part.
        summary: what the part holds.
        coverage: whether it has anything that the policies read.
    """

    def __init__(
        self,
        evaluations: Sequence[LogEvaluation],
        rewards: Sequence[int],
        summary: LogSummary,
        coverage: FeatureCoverage,
    ) -> None:
        self.evaluations = tuple(evaluations)
        self.rewards = tuple(rewards)
        self.summary = summary
        self.coverage = coverage

    def merge(self, later: "EventSums") -> None:
        """Take in a part that follows."""
        for ours, theirs in zip(self.evaluations, later.evaluations, strict=True):
            ours.merge(theirs)
        self.rewards = tuple(map(max, self.rewards, later.rewards))
        self.summary.merge(later.summary)
        self.coverage.merge(later.coverage)

    def build_results(self, schemas: Sequence[str | None]) -> list[LogEvaluationResult]:
        """What the log says of each policy; its schema, where it believes anything, is looked for in the log.

        Raises:
            EvaluationError: there is no decision to evaluate.
        """
        results = []
        for evaluation, schema in zip(self.evaluations, schemas, strict=True):
            result = evaluation.result()
            lack = None if schema is None else self.coverage.describe_lack(schema)
            doubts = () if lack is None else (EvaluationWarning(lack),)
            results.append(replace(result, warnings=(*doubts, *result.warnings)))
        return results

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values, to the last bit."""
        return {
            "evaluations": [evaluation.to_json() for evaluation in self.evaluations],
            "rewards": list(self.rewards),
            "summary": self.summary.to_json(),
            "coverage": self.coverage.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], spec: EvaluationSpec) -> Self:
        """Read :meth:`to_json` back."""
        evaluations = []
        for sums in document["evaluations"]:
            evaluation = spec.build_evaluation()
            evaluation.restore(sums)
            evaluations.append(evaluation)
        summary = LogSummary.from_json(document["summary"])
        return cls(evaluations, document["rewards"], summary, FeatureCoverage.from_json(document["coverage"]))


def iter_event_parts(
    question: EventQuestion, files: EventFiles, candidates: Sequence[CandidatePolicy], count: int
) -> Iterator[EventPart]:
    """Learn from a log, and yield each part as soon as its initial state is known.

    Args:
        question: what is asked.
        files: the log.
        candidates: the policies, which are taught by it.
        count: how many parts, at most one a file.

    Raises:
        EvaluationError: an event is not as it must be.
    """
    files = files.end_at(question.until)
    counts = files.count_decisions(question.since)
    replay, first_row = question.build_replay(candidates, files), 0
    groups = split_evenly([each.decisions for each in counts], count)
    for group in groups:
        part = files.files[group.start : group.stop]
        standing = files.select_standing(part)
        yield EventPart(part, first_row, {"replay": replay.to_json(), "standing": standing.to_json()})
        first_row += sum(_count_rows(question.spec, each) for each in counts[group.start : group.stop])
        if group is not groups[-1]:
            for page in files.read_events(part, since=question.since, learning=True):
                replay.learn_page(page)


def evaluate_event_part(
    question: EventQuestion,
    files: Mapping[str, Path],
    first_row: int,
    learned: Mapping[str, Any],
    candidates: Sequence[CandidatePolicy],
) -> EventSums:
    """Replay a part.

    Args:
        question: what is asked.
        files: the part's days by what errors call them.
        first_row: decisions before it that count.
        learned: what it begins with, as an :class:`EventPart` has it.
        candidates: the policies, which nothing has taught yet.

    Raises:
        EvaluationError: a file or an event is not as it must be.
    """
    log = EventFiles.open_parts(files, StandingRewards.from_json(learned["standing"]))
    if log is None:
        raise EvaluationError(f"{next(iter(files))}: is no day of an exported log")
    log = log.end_at(question.until)
    replay = question.build_replay(candidates, log)
    replay.restore(learned["replay"])
    evaluations = [question.spec.build_evaluation(first_row) for _ in candidates]
    for page in log.read_events(since=question.since):
        for evaluation, chunk in zip(evaluations, replay.replay_page(page), strict=True):
            evaluation.add(chunk)
    rewards = [candidate.rewards for candidate in candidates]
    return EventSums(evaluations, rewards, replay.summary, replay.coverage)


def split_evenly(sizes: Sequence[int], count: int) -> list[range]:
    """Divide a row of sizes into at most so many stretches of about equal sums.

    >>> split_evenly([5, 1, 1, 1, 4, 4], 3)
    [range(0, 2), range(2, 5), range(5, 6)]
    """
    total, before, first = sum(sizes), 0, 0
    stretches: list[range] = []
    for place, size in enumerate(sizes):
        before += size
        if before * count >= total * (len(stretches) + 1) and len(stretches) < count - 1:
            stretches.append(range(first, place + 1))
            first = place + 1
    return stretches if first == len(sizes) else [*stretches, range(first, len(sizes))]


def write_learned(path: Path, learned: Mapping[str, Any]) -> None:
    """Write what a part begins with, packed.

    Raises:
        StorageFullError, StorageUnavailableError: the disk refused.
    """
    data = zstandard.ZstdCompressor().compress(json.dumps(learned, separators=(",", ":")).encode())
    with storage_errors(path), replace_file(path) as partial:
        partial.touch(mode=0o600)  # it is about people
        partial.write_bytes(data)


def read_learned(path: Path) -> dict[str, Any]:
    """Read what :func:`write_learned` wrote.

    Raises:
        EvaluationError: it is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            learned: dict[str, Any] = json.loads(zstandard.ZstdDecompressor().stream_reader(file).read())
    except OSError as error:
        raise EvaluationError(f"{path}: {error.strerror}") from None
    except (ValueError, zstandard.ZstdError):
        raise EvaluationError(f"{path}: is not as the plan wrote it") from None
    return learned


def _count_rows(spec: EvaluationSpec, counts: FileCounts) -> int:
    return spec.count_rows(counts.decisions, counts.rewarded)
