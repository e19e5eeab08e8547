"""What ``bandstand evaluate`` does: finds the log, asks it, and shows what it says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bandstand.bandit.policies import Policy
from bandstand.cli.log_input import LogInput, open_log
from bandstand.cli.report import show_progress
from bandstand.cli.state.directory import StateLocation, open_event_log, resolve_location
from bandstand.cli.times import parse_time
from bandstand.config.settings import read_settings
from bandstand.definition import describe_unknown
from bandstand.errors import InvalidRequestError
from bandstand.evaluate import Formula
from bandstand.evaluate.files.columns import Columns
from bandstand.evaluate.files.decision_file import DecisionFile
from bandstand.evaluate.files.event_files import EventFiles
from bandstand.evaluate.files.forms.score_request import ScoreRequestForm
from bandstand.evaluate.files.log_table import list_log_files, open_table
from bandstand.evaluate.files.row_file import name_file_in_errors
from bandstand.evaluate.page import COLUMN_HEADINGS, format_heading, format_rows, format_summary, format_warnings
from bandstand.evaluate.parts.event_jobs import evaluate_event_jobs
from bandstand.evaluate.parts.event_parts import EventQuestion
from bandstand.evaluate.policy_replay.candidate import CandidatePolicy
from bandstand.evaluate.policy_replay.replay import LogSummary
from bandstand.evaluate.report import AS_TRAINED, PolicyResult, build_report
from bandstand.evaluate.spec import EvaluationSpec, evaluate_decisions, evaluate_rows

ROW_ESTIMATORS = "ips,snips"
"""Of rows, unless asked."""
WITH_MODEL = "ips,snips,dr"
"""Of decisions, unless asked."""
AS_ROWS = "as its probabilities in the file have it"
UNNAMED = "target"
_LEDGER = "ledger.db"
_SHARED_LEDGER = "the ledger of STATE_URL"
_WIDTH = 120
_AUTO = "auto"
_ROWS = "rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFlags:
    """The flags as they were given."""

    policies: list[str]
    source: Path | None
    estimators: str | None
    frozen: bool
    since: str | None
    until: str | None
    missing_reward: float | None
    interval: Literal["normal", "bootstrap"]
    columns: str | None
    form: str
    jobs: int | None
    state_dir: str | None
    loop: str | None

    def build_question(self, default: str) -> EvaluationSpec:
        """The requested estimates, or those of ``default``."""
        names = (self.estimators or default).split(",")
        formulas = {formula.label: formula for formula in map(Formula.parse, names)}
        return EvaluationSpec(tuple(formulas.values()), missing_reward=self.missing_reward, interval=self.interval)

    def reject_flags(self, *names: str, why: str) -> None:
        """Refuse flags that were given and mean nothing here."""
        for name in names:
            if getattr(self, name):
                raise InvalidRequestError(f"--{name} {why}")


def evaluate_log(flags: EvaluationFlags) -> dict[str, Any]:
    """Ask the log, and put what it says into one document.

    Raises:
        BandstandError: a flag, the configuration or the log is not as it must be.
    """
    source = flags.source
    if source is None or is_ledger(source):
        if flags.form != _AUTO:
            raise InvalidRequestError("--format goes with a file only")
        return _evaluate_ledger(flags)
    with open_log(source) as log:
        events = _open_events(flags, log)
        if events is not None:
            return _evaluate_events(flags, log, events)
        decisions = _open_decisions(flags, log)
        return _evaluate_rows(flags, log) if decisions is None else _evaluate_decisions(flags, log, decisions)


def is_ledger(source: Path) -> bool:
    """Whether a path names a state directory, or the ledger in it."""
    is_directory = source.is_dir() and ((source / _LEDGER).exists() or not list_log_files(source))
    return source.name == _LEDGER or is_directory


def _open_events(flags: EvaluationFlags, log: LogInput) -> EventFiles | None:
    """Open a log as what `bandstand log export` wrote; None if it is none."""
    if flags.form != _AUTO:
        return None
    with name_file_in_errors(log.name):
        return EventFiles.open(log.path)


def _open_decisions(flags: EvaluationFlags, log: LogInput) -> DecisionFile | None:
    """Open a log as decisions; None if it holds rows."""
    if flags.form == _ROWS:
        return None
    with name_file_in_errors(log.name):
        if flags.form != _AUTO:
            return DecisionFile.open(log.path, flags.form)
        decisions = DecisionFile.open(log.path)
        if decisions is None or decisions.form is ScoreRequestForm:
            return decisions
        header = open_table(log.path).read_header()
        rows = flags.columns is not None or Columns.recognise(header.names).is_row_log(header)
        return None if rows else decisions


def show_report(result: Mapping[str, Any]) -> None:
    """Print what the log holds, then a table for each policy and what speaks against it."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    details = Table.grid(padding=(0, 2))
    for name, fact in format_summary(result).items():
        details.add_row(Text(name, style="dim"), Text(fact, overflow="fold"))
    console.print(Text("Off-policy evaluation", style="bold"))
    console.print(details)
    for policy in result["policies"]:
        table = Table(
            *COLUMN_HEADINGS, title=Text(format_heading(policy), style="bold"), title_justify="left", box=SIMPLE
        )
        for column in table.columns:
            column.justify = "left" if column is table.columns[0] else "right"
            column.no_wrap = True
        for cells in format_rows(policy):
            table.add_row(*map(Text, cells))
        console.print()
        console.print(table)
        for doubt in format_warnings(policy):
            console.print(Text(f"! {doubt}", style="yellow"), soft_wrap=True)


def _evaluate_ledger(flags: EvaluationFlags) -> dict[str, Any]:
    flags.reject_flags("columns", why="goes with a file of rows only")
    flags.reject_flags("jobs", why="goes with files of rows, or of exported days, only")
    source = flags.source
    location = resolve_location(
        flags.state_dir if source is None else str(source if source.is_dir() else source.parent),
        flags.loop,
        or_shared=source is None,
    )
    question = flags.build_question(WITH_MODEL)
    candidates = _select_candidates(flags, location)
    since, until = parse_flag_time("since", flags.since), parse_flag_time("until", flags.until)
    with open_event_log(location) as events, show_progress("pages of the log") as steps:
        log, evaluated = evaluate_decisions(
            question,
            events.read_events(since=since, until=until),
            candidates,
            lambda number: f"the decision of event {number}",
            frozen_since=(since or 0.0) if flags.frozen else None,
            on_page=steps.advance,
        )
    source_name = _SHARED_LEDGER if location.address is not None else str(location.directory / _LEDGER)
    return _build_report(flags, source_name, question, candidates, evaluated, log)


def _evaluate_decisions(flags: EvaluationFlags, log: LogInput, decisions: DecisionFile) -> dict[str, Any]:
    flags.reject_flags("columns", why="goes with a file of rows only")
    flags.reject_flags("jobs", why="goes with files of rows, or of exported days, only")
    flags.reject_flags("since", "until", why="goes with a ledger, or with exported days, only")
    question = flags.build_question(WITH_MODEL)
    candidates = _select_candidates(flags, resolve_location(flags.state_dir, flags.loop, or_shared=True))
    with name_file_in_errors(log.name), show_progress("pages of the log") as steps:
        summary, evaluated = evaluate_decisions(
            question,
            decisions.read_events(),
            candidates,
            decisions.format_location,
            frozen_since=0.0 if flags.frozen else None,
            on_page=steps.advance,
        )
    return _build_report(flags, log.name, question, candidates, evaluated, summary)


def _evaluate_events(flags: EvaluationFlags, log: LogInput, events: EventFiles) -> dict[str, Any]:
    flags.reject_flags("columns", why="goes with a file of rows only")
    question = flags.build_question(WITH_MODEL)
    candidates = build_candidates(flags)
    since, until = parse_flag_time("since", flags.since), parse_flag_time("until", flags.until)
    frozen_since = (since or 0.0) if flags.frozen else None
    if (flags.jobs or 1) > 1:
        asked = EventQuestion(spec=question, since=since, until=until, frozen_since=frozen_since)
        with name_file_in_errors(log.name):
            sums = evaluate_event_jobs(asked, events, partial(build_candidates, flags), flags.jobs or 1)
            results = sums.build_results([candidate.read_schema for candidate in candidates])
        for candidate, rewards in zip(candidates, sums.rewards, strict=True):
            candidate.rewards = rewards
        return _build_report(flags, log.name, question, candidates, results, sums.summary)
    with name_file_in_errors(log.name), show_progress("pages of the log") as steps:
        summary, evaluated = evaluate_decisions(
            question,
            events.end_at(until).read_events(since=since),
            candidates,
            events.format_location,
            frozen_since=frozen_since,
            on_page=steps.advance,
        )
    return _build_report(flags, log.name, question, candidates, evaluated, summary)


def build_candidates(flags: EvaluationFlags) -> list[CandidatePolicy]:
    """The policies that the flags name, which nothing has taught yet; also in a process of its own."""
    return _select_candidates(flags, resolve_location(flags.state_dir, flags.loop, or_shared=True))


def parse_flag_time(flag: str, text: str | None) -> float | None:
    """Read the time that a flag gives, in seconds since the epoch; None if it is not given."""
    return None if text is None else parse_time(flag, text).timestamp()


def _evaluate_rows(flags: EvaluationFlags, log: LogInput) -> dict[str, Any]:
    reject_row_flags(flags)
    question = flags.build_question(ROW_ESTIMATORS)
    columns = None if flags.columns is None else Columns.parse(flags.columns)
    evaluated = evaluate_rows(question, log.path, columns, name=log.name, jobs=flags.jobs or 1)
    name = flags.policies[0] if flags.policies else UNNAMED
    return build_report(log.name, question, [PolicyResult(name, AS_ROWS, None, evaluated)])


def reject_row_flags(flags: EvaluationFlags) -> None:
    """Refuse flags that mean nothing of rows.

    Raises:
        InvalidRequestError: one was given.
    """
    flags.reject_flags("frozen", "since", "until", why="goes with decisions, not with rows that hold the probabilities")
    if len(flags.policies) > 1:
        raise InvalidRequestError("a file of rows holds the probabilities of one policy; give --policy once, or not")


def _select_candidates(flags: EvaluationFlags, location: StateLocation) -> list[CandidatePolicy]:
    return load_candidates(flags.policies, location, read_settings().prior_refresh_rewards)


def load_candidates(
    policies: Sequence[str], location: StateLocation, refresh_rewards: int | None
) -> list[CandidatePolicy]:
    """The configured policies of these names, each once, which nothing has taught yet.

    Raises:
        InvalidRequestError: none is named, or one is not configured.
    """
    names = (*location.catalogue.policies, *location.catalogue.aliases)
    if not policies:
        raise InvalidRequestError(f"name a policy with --policy; configured are {', '.join(names)}")
    for name in policies:
        if name not in names:
            raise InvalidRequestError(f"--policy: {describe_unknown(name, names)}")
    chosen: dict[str, Policy] = {}
    for name in policies:
        policy = location.catalogue.get_policy(name)
        chosen[policy.name] = policy
    return [CandidatePolicy(policy, refresh_rewards) for policy in chosen.values()]


def describe_training(flags: EvaluationFlags) -> str:
    """In what state policies are evaluated, in a few words."""
    return f"frozen as of {flags.since or 'the start of the log'}" if flags.frozen else AS_TRAINED


def _build_report(
    flags: EvaluationFlags,
    source: str,
    question: EvaluationSpec,
    candidates: list[CandidatePolicy],
    evaluated: list[Any],
    log: LogSummary,
) -> dict[str, Any]:
    answers = [
        PolicyResult(candidate.policy.name, describe_training(flags), candidate.rewards, each)
        for candidate, each in zip(candidates, evaluated, strict=True)
    ]
    return build_report(source, question, answers, log)
