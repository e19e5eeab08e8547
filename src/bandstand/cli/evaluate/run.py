"""What ``bandstand evaluate`` does: finds the log, asks it, and shows what it says."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bandstand.bandit.policies import Policy
from bandstand.cli.report import progress
from bandstand.cli.state.directory import Place, place
from bandstand.config.settings import read_settings
from bandstand.definition import unknown
from bandstand.errors import InvalidRequestError
from bandstand.evaluate import Formula
from bandstand.evaluate.files import decision_file
from bandstand.evaluate.files.columns import Columns
from bandstand.evaluate.files.row_file import named
from bandstand.evaluate.page import HEADS, doubts, facts, heading, rows
from bandstand.evaluate.replay.candidate import Candidate
from bandstand.evaluate.replay.policy_replay import LogFacts
from bandstand.evaluate.report import AS_TRAINED, Answer, report
from bandstand.evaluate.spec import Question, ask_decisions, ask_rows
from bandstand.store.maintenance import decision_log
from bandstand.store.maintenance.offline import observed
from bandstand.store.records import seq_at

_ESTIMATORS = "ips,snips"
_WITH_MODEL = "ips,snips,dr"
_LEDGER = "ledger.db"
_UNNAMED = "target"
_WIDTH = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
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
    state_dir: str | None

    def question(self, default: str) -> Question:
        """The estimates asked for, or those of ``default``."""
        names = (self.estimators or default).split(",")
        formulas = {formula.label: formula for formula in map(Formula.parse, names)}
        return Question(tuple(formulas.values()), missing_reward=self.missing_reward, interval=self.interval)

    def refuse(self, *names: str, why: str) -> None:
        """Refuse flags that were given and mean nothing here."""
        for name in names:
            if getattr(self, name):
                raise InvalidRequestError(f"--{name} {why}")


def answered(asked: Asked) -> dict[str, Any]:
    """Ask the log, and put what it says into one document.

    Raises:
        BandstandError: a flag, the configuration or the log is not as it must be.
    """
    source = asked.source
    if source is None or source.is_dir() or source.name == _LEDGER:
        return _ledger(asked)
    if source.suffixes[-1:] == [".jsonl"] or source.suffixes[-2:] == [".jsonl", ".gz"]:
        with named(source):
            decisions = decision_file.is_decision_file(source)
        if decisions:
            return _decisions(asked, source)
    return _rows(asked, source)


def show(result: Mapping[str, Any]) -> None:
    """Print what the log holds, then a table for each policy and what speaks against it."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    told = Table.grid(padding=(0, 2))
    for name, fact in facts(result).items():
        told.add_row(Text(name, style="dim"), Text(fact, overflow="fold"))
    console.print(Text("Off-policy evaluation", style="bold"))
    console.print(told)
    for policy in result["policies"]:
        table = Table(*HEADS, title=Text(heading(policy), style="bold"), title_justify="left", box=SIMPLE)
        for column in table.columns:
            column.justify = "left" if column is table.columns[0] else "right"
            column.no_wrap = True
        for cells in rows(policy):
            table.add_row(*map(Text, cells))
        console.print()
        console.print(table)
        for doubt in doubts(policy):
            console.print(Text(f"! {doubt}", style="yellow"), soft_wrap=True)


def _ledger(asked: Asked) -> dict[str, Any]:
    asked.refuse("columns", why="goes with a file of rows only")
    source = asked.source
    where = place(asked.state_dir if source is None else str(source if source.is_dir() else source.parent))
    question = asked.question(_WITH_MODEL)
    candidates = _candidates(asked, where)
    since, until = _time("since", asked.since), _time("until", asked.until)
    with observed(where.directory, where.catalogue) as state, progress("pages of the log") as steps:
        log, evaluated = ask_decisions(
            question,
            decision_log.read(state, since=since, until=until),
            candidates,
            lambda number: f"the decision of event {number}",
            frozen_from=max(1, 0 if since is None else seq_at(since)) if asked.frozen else None,
            tick=steps.one,
        )
    return _report(asked, str(where.directory / _LEDGER), question, candidates, evaluated, log)


def _decisions(asked: Asked, source: Path) -> dict[str, Any]:
    asked.refuse("columns", why="goes with a file of rows only")
    asked.refuse("since", "until", why="goes with a ledger only")
    question = asked.question(_WITH_MODEL)
    candidates = _candidates(asked, place(asked.state_dir))
    with named(source), progress("pages of the log") as steps:
        log, evaluated = ask_decisions(
            question,
            decision_file.read_decisions(source),
            candidates,
            decision_file.place,
            frozen_from=1 if asked.frozen else None,
            tick=steps.one,
        )
    return _report(asked, str(source), question, candidates, evaluated, log)


def _rows(asked: Asked, source: Path) -> dict[str, Any]:
    asked.refuse("frozen", "since", "until", why="goes with decisions, not with rows that hold the probabilities")
    if len(asked.policies) > 1:
        raise InvalidRequestError("a file of rows holds the probabilities of one policy; give --policy once, or not")
    question = asked.question(_ESTIMATORS)
    evaluated = ask_rows(question, source, None if asked.columns is None else Columns.parse(asked.columns))
    name = asked.policies[0] if asked.policies else _UNNAMED
    return report(str(source), question, [Answer(name, "as its probabilities in the file have it", None, evaluated)])


def _candidates(asked: Asked, where: Place) -> list[Candidate]:
    names = (*where.catalogue.policies, *where.catalogue.aliases)
    if not asked.policies:
        raise InvalidRequestError(f"name a policy with --policy; configured are {', '.join(names)}")
    for name in asked.policies:
        if name not in names:
            raise InvalidRequestError(f"--policy: {unknown(name, names)}")
    chosen: dict[str, Policy] = {}
    for name in asked.policies:
        policy = where.catalogue.policy(name)
        chosen[policy.name] = policy
    refresh_rewards = read_settings().prior_refresh_rewards
    return [Candidate(policy, refresh_rewards) for policy in chosen.values()]


def _report(
    asked: Asked, source: str, question: Question, candidates: list[Candidate], evaluated: list[Any], log: LogFacts
) -> dict[str, Any]:
    how = f"frozen as of {asked.since or 'the start of the log'}" if asked.frozen else AS_TRAINED
    answers = [
        Answer(candidate.policy.name, how, candidate.rewards, each)
        for candidate, each in zip(candidates, evaluated, strict=True)
    ]
    return report(source, question, answers, log)


def _time(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequestError(
            f"--{name} must be a date or a time, such as 2026-05-01 or 2026-05-01T12:00"
        ) from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
