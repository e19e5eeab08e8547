"""Plan, map and reduce: files in and out, so that anything that runs commands can spread an evaluation out."""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.files.columns import Columns
from bandstand.evaluate.files.event_files import EventFiles
from bandstand.evaluate.files.log_table import find_parts, open_table
from bandstand.evaluate.files.row_file import RowReader
from bandstand.evaluate.parts.event_parts import (
    EventQuestion,
    EventSums,
    evaluate_event_part,
    iter_event_parts,
    read_learned,
    split_evenly,
    write_learned,
)
from bandstand.evaluate.parts.plan_file import (
    PartedPlan,
    PartFile,
    PlannedPart,
    PlannedPolicy,
    compute_definition,
    compute_digest,
    get_learned_path,
    read_document,
    require_unchanged,
)
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from bandstand.evaluate.policy_replay.replay import LogSummary
from bandstand.evaluate.policy_replay.unread_features import FeatureCoverage
from bandstand.evaluate.report import PolicyResult, build_report
from bandstand.evaluate.spec import EvaluationSpec, count_row_part, evaluate_row_part
from bandstand.store.sqlite.errors import storage_errors

BuildPolicies = Callable[[PartedPlan], Sequence[CandidatePolicy]]
"""Makes the policies that a plan names, which nothing has taught."""


def plan_rows(
    spec: EvaluationSpec, path: Path, columns: Columns | None, *, policy: str, training: str, count: int | None = None
) -> PartedPlan:
    """Plan a log of rows; each part is some of its files.

    Args:
        spec: the estimates.
        path: the file, a folder of files, or a pattern that files match.
        columns: what its columns are called; if left out, what they are usually.
        policy: what its policy is called.
        training: in what state it is evaluated, in a few words.
        count: how many parts, at most; one a file if left out.

    Raises:
        EvaluationError: a file is not as it must be.
        ConfigurationError: one is Parquet and pyarrow is not installed.
    """
    reader = RowReader.build(open_table(path), columns, model=spec.uses_model)
    files = find_parts(path)
    rows = [count_row_part(spec, reader, {name: file}) for name, file in files.items()]
    names = list(files)
    groups = split_evenly(rows, min(count or len(files), len(files)))
    firsts = accumulate((sum(rows[group.start : group.stop]) for group in groups[:-1]), initial=0)
    parts = [
        PlannedPart(tuple(_describe_file(name, files[name]) for name in names[group.start : group.stop]), first)
        for group, first in zip(groups, firsts, strict=True)
    ]
    return PartedPlan(
        kind="rows",
        source=str(path),
        question=EventQuestion(spec=spec),
        training=training,
        policies=(PlannedPolicy(policy),),
        refresh_rewards=None,
        reader=reader,
        parts=tuple(parts),
    )


def plan_events(
    question: EventQuestion,
    files: EventFiles,
    candidates: Sequence[CandidatePolicy],
    path: Path,
    *,
    source: str,
    training: str,
    refresh_rewards: int | None,
    count: int | None = None,
) -> PartedPlan:
    """Plan an exported log; the state that each part begins with is learned now, and written beside the plan.

    Args:
        question: what is asked.
        files: the log.
        candidates: the policies.
        path: where the plan will be.
        source: what the report calls the log.
        training: in what state the policies are evaluated, in a few words.
        refresh_rewards: after how many rewards a prior is learned again; None as they grow.
        count: how many parts, at most; one a file if left out.

    Raises:
        EvaluationError: an event is not as it must be.
        StorageFullError, StorageUnavailableError: the disk refused.
    """
    folder = get_learned_path(path, 0).parent
    with storage_errors(folder):
        folder.mkdir(exist_ok=True)
        for left in folder.glob("*.json.zst"):  # of an earlier plan of that name
            left.unlink()
    planned = []
    most = min(count or len(files.files), len(files.files))
    for number, part in enumerate(iter_event_parts(question, files, candidates, most)):
        learned = get_learned_path(path, number)
        write_learned(learned, part.learned)
        described = tuple(_describe_file(file.name, file.path) for file in part.files)
        planned.append(PlannedPart(described, part.first_row, compute_digest(learned)))
    policies = [
        PlannedPolicy(each.policy.name, compute_definition(each.policy), each.read_schema) for each in candidates
    ]
    return PartedPlan(
        kind="events",
        source=source,
        question=question,
        training=training,
        policies=tuple(policies),
        refresh_rewards=refresh_rewards,
        reader=None,
        parts=tuple(planned),
    )


def map_part(plan: PartedPlan, path: Path, number: int, build: BuildPolicies) -> dict[str, Any]:
    """Evaluate one part of a plan; returns its sums as JSON values, which say of which plan they are.

    Args:
        plan: the plan.
        path: where it is.
        number: of the part.
        build: makes its policies.

    Raises:
        EvaluationError: there is no such part, or its files have changed since the plan.
    """
    part, spec = plan.get_part(number), plan.question.spec
    require_unchanged(part)
    files = {file.name: Path(file.path) for file in part.files}
    if plan.reader is not None:
        evaluation = evaluate_row_part(spec, plan.reader, files, part.first_row)
        sums = EventSums([evaluation], [0], LogSummary(), FeatureCoverage({}))
    else:
        candidates = build(plan)
        plan.require_same_policies([candidate.policy for candidate in candidates])
        learned = get_learned_path(path, number)
        if compute_digest(learned) != part.learned:
            raise EvaluationError(f"{learned}: is not of this plan; plan again")
        sums = evaluate_event_part(plan.question, files, part.first_row, read_learned(learned), candidates)
    return {"plan": plan.digest, "part": number, "sums": sums.to_json()}


def reduce_parts(plan: PartedPlan, paths: Sequence[Path]) -> dict[str, Any]:
    """Sum up the parts, given in any order, and return the report.

    Raises:
        EvaluationError: a part is of another plan, there twice, or missing; names it. Or there is no decision.
    """
    found: dict[int, tuple[Path, Mapping[str, Any]]] = {}
    for path in paths:
        document = read_document(path, "what a part came to")
        number, sums = document.get("part"), document.get("sums")
        if not isinstance(number, int) or not isinstance(sums, dict):
            raise EvaluationError(f"{path}: is not what a part came to")
        if document.get("plan") != plan.digest:
            raise EvaluationError(f"{path}: is of another plan")
        plan.get_part(number)
        if number in found:
            raise EvaluationError(f"{path}: is part {number}, as {found[number][0]} is")
        found[number] = path, sums
    missing = [str(number) for number in range(len(plan.parts)) if number not in found]
    if missing:
        parts = f"part {missing[0]} is" if len(missing) == 1 else f"parts {', '.join(missing)} are"
        raise EvaluationError(f"{parts} missing, of {len(plan.parts)}")
    spec = plan.question.spec
    whole: EventSums | None = None
    for number in range(len(plan.parts)):
        sums_of_part = _read_sums(*found[number], spec)
        if whole is None:
            whole = sums_of_part
        else:
            whole.merge(sums_of_part)
    if whole is None:
        raise EvaluationError("the plan has no part")
    return _build_report(plan, whole)


def _read_sums(path: Path, document: Mapping[str, Any], spec: EvaluationSpec) -> EventSums:
    try:
        return EventSums.from_json(document, spec)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise EvaluationError(f"{path}: is not what a part came to") from None


def _build_report(plan: PartedPlan, sums: EventSums) -> dict[str, Any]:
    results = sums.build_results([policy.schema for policy in plan.policies])
    is_rows = plan.kind == "rows"
    answers = [
        PolicyResult(policy.name, plan.training, None if is_rows else rewards, result)
        for policy, rewards, result in zip(plan.policies, sums.rewards, results, strict=True)
    ]
    return build_report(plan.source, plan.question.spec, answers, None if is_rows else sums.summary)


def _describe_file(name: str, path: Path) -> PartFile:
    return PartFile(name, str(path), compute_digest(path))
