"""``bandstand evaluate``: what another policy would have earned on the decisions already logged."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bandstand.cli.report import AsJson, show_result
from bandstand.cli.state.directory import LoopName, StateDir
from bandstand.errors import InvalidRequestError


class Interval(StrEnum):
    """How intervals are made."""

    NORMAL = "normal"
    BOOTSTRAP = "bootstrap"


class LogForm(StrEnum):
    """How a log is written."""

    AUTO = "auto"
    ROWS = "rows"
    DECISIONS = "decisions"
    DSJSON = "dsjson"
    PERSONALIZER = "personalizer"
    OBP = "obp"
    RECOGYM = "recogym"


def _make_option(help_: str, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help_, metavar=metavar, show_default=False)


Policies = Annotated[
    list[str] | None,
    _make_option(
        "A configured policy to evaluate; may be given repeatedly. Of a file of rows, what to call its policy.",
        "--policy",
        metavar="NAME",
    ),
]
Source = Annotated[
    Path | None,
    _make_option(
        "The log: a state directory, a file (CSV, JSON, Parquet, NumPy), a folder of files, a pattern in quotes "
        "('logs/2026-*/*.parquet'), or - for standard input. Default: the state directory's ledger.",
        "--from",
        metavar="PATH",
    ),
]
Estimators = Annotated[
    str | None,
    _make_option("A comma list, each with its parameter if it has one: snips,clipped_ips:20.", metavar="LIST"),
]
Frozen = Annotated[
    bool, _make_option("Evaluate what the policies had learned by the start (--since) alone.", "--frozen")
]
Since = Annotated[
    str | None,
    _make_option("Evaluate decisions from here on; earlier ones only teach. ISO 8601, UTC.", metavar="TIME"),
]
Until = Annotated[str | None, _make_option("Read nothing after this.", metavar="TIME")]
MissingReward = Annotated[
    float | None,
    _make_option("What a decision without a reward is worth. Default: such decisions are left out.", metavar="VALUE"),
]
IntervalKind = Annotated[Interval, _make_option("normal (the default) or bootstrap.", "--interval")]
ColumnNames = Annotated[
    str | None,
    _make_option(
        "What a file's columns are called: reward=click,propensity=pscore.", "--columns", metavar="NAME=COLUMN,…"
    ),
]
Html = Annotated[
    Path | None, _make_option("Also write a report that opens anywhere, offline too.", "--html", metavar="FILE")
]
PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="The plan, a file.")]

evaluate = typer.Typer(
    name="evaluate",
    epilog="plan, map and reduce do the same in parts, on as many machines as there are.",
    invoke_without_command=True,
)


@evaluate.callback()
def evaluate_log_at_once(  # noqa: PLR0913 (each is a flag)
    context: typer.Context,
    *,
    policy: Policies = None,
    source: Source = None,
    estimators: Estimators = None,
    frozen: Frozen = False,
    since: Since = None,
    until: Until = None,
    missing_reward: MissingReward = None,
    interval: IntervalKind = Interval.NORMAL,
    columns: ColumnNames = None,
    form: Annotated[
        LogForm,
        _make_option("How the log is written; auto tells by what is in it.", "--format"),
    ] = LogForm.AUTO,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes, for a log of rows or of exported days in several files.",
            show_default=False,
        ),
    ] = None,
    html: Html = None,
    state_dir: StateDir = None,
    loop: LoopName = None,
    as_json: AsJson = False,
) -> None:
    """Estimate what policies would have earned on logged decisions, and say how far to trust it.

    From a ledger (beside a running service too) configured policies decide again, learning along the log. A file
    of rows needs no ledger: columns reward, propensity and target, the evaluated policy's probability of the action.
    """
    if context.invoked_subcommand is not None:
        if _has_flags(context):
            raise InvalidRequestError(f"flags go after {context.invoked_subcommand}")
        return
    # Imported here: the other commands need none of it.
    from bandstand.cli.evaluate.run import EvaluationFlags, evaluate_log  # noqa: PLC0415

    flags = EvaluationFlags(
        policies=policy or [],
        source=source,
        estimators=estimators,
        frozen=frozen,
        since=since,
        until=until,
        missing_reward=missing_reward,
        interval=interval.value,
        columns=columns,
        form=form.value,
        jobs=jobs,
        state_dir=state_dir,
        loop=loop,
    )
    result = evaluate_log(flags)
    _show_report(result, html, as_json=as_json)


def _has_flags(context: typer.Context) -> bool:
    sources = (context.get_parameter_source(name) for name in context.params)
    return any(source is not None and source.name != "DEFAULT" for source in sources)


@evaluate.command()
def plan(  # noqa: PLR0913 (each is a flag)
    file: Annotated[
        Path, typer.Argument(metavar="PLAN", help="Where to write the plan; files for its parts go beside it.")
    ],
    *,
    source: Annotated[
        Path,
        _make_option(
            "The log: files of rows, or the days of `bandstand log export`; a folder, or a pattern in quotes.",
            "--from",
            metavar="PATH",
        ),
    ],
    policy: Policies = None,
    estimators: Estimators = None,
    frozen: Frozen = False,
    since: Since = None,
    until: Until = None,
    missing_reward: MissingReward = None,
    interval: IntervalKind = Interval.NORMAL,
    columns: ColumnNames = None,
    parts: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many parts; one for each file if left out.", show_default=False),
    ] = None,
    state_dir: StateDir = None,
    loop: LoopName = None,
    as_json: AsJson = False,
) -> None:
    """Divide an evaluation into parts: `map` makes one of them, `reduce` sums them up to the same report.

    An exported log is learned from once, in order, because each part must know what the log had taught by then.
    """
    from bandstand.cli.evaluate.parts import plan_evaluation  # noqa: PLC0415 (the other commands need none of it)
    from bandstand.cli.evaluate.run import EvaluationFlags  # noqa: PLC0415 (as above)

    flags = EvaluationFlags(
        policies=policy or [],
        source=source,
        estimators=estimators,
        frozen=frozen,
        since=since,
        until=until,
        missing_reward=missing_reward,
        interval=interval.value,
        columns=columns,
        form=LogForm.AUTO.value,
        jobs=None,
        state_dir=state_dir,
        loop=loop,
    )
    show_result("Planned", plan_evaluation(flags, source, file, parts), as_json=as_json)


@evaluate.command("map")
def map_(
    file: PlanFile,
    part: Annotated[int, typer.Argument(min=0, metavar="PART", help="Its number, from 0.")],
    to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write; standard output if left out.", show_default=False),
    ] = None,
    state_dir: StateDir = None,
    loop: LoopName = None,
) -> None:
    """Make one part of a planned evaluation: its sums, as JSON.

    It needs the plan, the files beside it, the part's files, and the configuration that the plan was made with.
    """
    from bandstand.cli.evaluate.parts import map_evaluation  # noqa: PLC0415 (the other commands need none of it)

    map_evaluation(file, part, to, state_dir, loop)


@evaluate.command()
def reduce(
    file: PlanFile,
    sums: Annotated[list[Path], typer.Argument(metavar="SUMS", help="What `map` wrote of every part, in any order.")],
    html: Html = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Sum up the parts of a planned evaluation, and print the report that a single command over the log would print."""
    from bandstand.evaluate.parts.map_reduce import reduce_parts  # noqa: PLC0415 (the other commands need none of it)
    from bandstand.evaluate.parts.plan_file import read_plan  # noqa: PLC0415 (as above)

    _show_report(reduce_parts(read_plan(file), sums), html, as_json=as_json)


def _show_report(result: dict[str, Any], html: Path | None, *, as_json: bool) -> None:
    from bandstand.cli.evaluate.run import show_report  # noqa: PLC0415 (the other commands need none of it)

    if html is not None:
        from bandstand.evaluate.page import render_report  # noqa: PLC0415 (as above)
        from bandstand.store.sqlite.errors import storage_errors  # noqa: PLC0415 (as above)

        with storage_errors(html):
            html.write_text(render_report(result), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(result, allow_nan=False))
    else:
        show_report(result)


def evaluate_run(run: int, *, state_dir: StateDir = None, loop: LoopName = None) -> None:
    """Make an evaluation that a service queued; ends when standard input does."""
    from bandstand.cli.evaluate.background import play_evaluation  # noqa: PLC0415 (the other commands need none of it)

    play_evaluation(run, state_dir, loop)
