"""What ``bandstand evaluate plan`` and ``map`` do: find the log and the policies, and write files."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bandstand.atomic_file import replace_file
from bandstand.cli.evaluate.run import (
    AS_ROWS,
    ROW_ESTIMATORS,
    UNNAMED,
    WITH_MODEL,
    EvaluationFlags,
    describe_training,
    is_ledger,
    load_candidates,
    parse_flag_time,
    reject_row_flags,
)
from bandstand.cli.state.directory import resolve_location
from bandstand.config.settings import read_settings
from bandstand.errors import InvalidRequestError
from bandstand.evaluate.files.columns import Columns
from bandstand.evaluate.files.decision_file import DecisionFile
from bandstand.evaluate.files.event_files import EventFiles
from bandstand.evaluate.files.row_file import name_file_in_errors
from bandstand.evaluate.parts.event_parts import EventQuestion
from bandstand.evaluate.parts.map_reduce import map_part, plan_events, plan_rows
from bandstand.evaluate.parts.plan_file import PartedPlan, read_plan, write_plan
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from bandstand.store.sqlite.errors import storage_errors


def plan_evaluation(flags: EvaluationFlags, source: Path, path: Path, count: int | None) -> dict[str, Any]:
    """Write a plan; returns what to say of it.

    Raises:
        BandstandError: a flag, the configuration or the log is not as it must be.
    """
    if is_ledger(source):
        raise InvalidRequestError(f"{source}: is a ledger, and a plan is of files: run `bandstand log export` first")
    with name_file_in_errors(str(source)):
        events = EventFiles.open(source)
        plan = _plan_rows(flags, source, count) if events is None else _plan_events(flags, events, path, count)
    write_plan(path, plan)
    return {"plan": str(path), "parts": len(plan.parts), "files": sum(len(part.files) for part in plan.parts)}


def map_evaluation(path: Path, number: int, to: Path | None, state_dir: str | None, loop: str | None) -> None:
    """Make one part, and write its sums to a file or to standard output.

    Raises:
        BandstandError: the plan, the configuration or the log is not as it must be.
    """

    def build_candidates(plan: PartedPlan) -> Sequence[CandidatePolicy]:
        location, names = resolve_location(state_dir, loop, or_shared=True), [policy.name for policy in plan.policies]
        return load_candidates(names, location, plan.refresh_rewards)

    text = json.dumps(map_part(read_plan(path), path, number, build_candidates), allow_nan=True) + "\n"
    if to is None:
        sys.stdout.write(text)
        return
    with storage_errors(to), replace_file(to) as partial:
        partial.write_text(text, "ascii")


def _plan_rows(flags: EvaluationFlags, source: Path, count: int | None) -> PartedPlan:
    columns = None if flags.columns is None else Columns.parse(flags.columns)
    if columns is None and (decisions := DecisionFile.open(source)) is not None and decisions.form.name == "decisions":
        raise InvalidRequestError(
            "it holds decisions, whose users are known by name alone; a plan is of rows, or of days that "
            "`bandstand log export` wrote"
        )
    reject_row_flags(flags)
    return plan_rows(
        flags.build_question(ROW_ESTIMATORS),
        source,
        columns,
        policy=flags.policies[0] if flags.policies else UNNAMED,
        training=AS_ROWS,
        count=count,
    )


def _plan_events(flags: EvaluationFlags, events: EventFiles, path: Path, count: int | None) -> PartedPlan:
    flags.reject_flags("columns", why="goes with a file of rows only")
    since = parse_flag_time("since", flags.since)
    frozen_since = (since or 0.0) if flags.frozen else None
    refresh_rewards = read_settings().prior_refresh_rewards
    return plan_events(
        EventQuestion(
            spec=flags.build_question(WITH_MODEL),
            since=since,
            until=parse_flag_time("until", flags.until),
            frozen_since=frozen_since,
        ),
        events,
        load_candidates(flags.policies, resolve_location(flags.state_dir, flags.loop, or_shared=True), refresh_rewards),
        path,
        source=str(flags.source),
        training=describe_training(flags),
        refresh_rewards=refresh_rewards,
        count=count,
    )
