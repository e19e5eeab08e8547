"""``bandstand evaluate``: what another policy would have earned on the decisions already logged."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bandstand.cli.report import AsJson
from bandstand.cli.state.directory import LoopName, StateDir


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


def evaluate(  # noqa: PLR0913 (each is a flag)
    *,
    policy: Annotated[
        list[str] | None,
        _make_option(
            "A configured policy to evaluate; may be given repeatedly. Of a file of rows, what to call its policy.",
            metavar="NAME",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        _make_option(
            "The log: a state directory, a file (CSV, JSON, Parquet, NumPy), a folder of files, a pattern in quotes "
            "('logs/2026-*/*.parquet'), or - for standard input. Default: the state directory's ledger.",
            "--from",
            metavar="PATH",
        ),
    ] = None,
    estimators: Annotated[
        str | None,
        _make_option("A comma list, each with its parameter if it has one: snips,clipped_ips:20.", metavar="LIST"),
    ] = None,
    frozen: Annotated[
        bool, _make_option("Evaluate what the policies had learned by the start (--since) alone.", "--frozen")
    ] = False,
    since: Annotated[
        str | None,
        _make_option("Evaluate decisions from here on; earlier ones only teach. ISO 8601, UTC.", metavar="TIME"),
    ] = None,
    until: Annotated[str | None, _make_option("Read nothing after this.", metavar="TIME")] = None,
    missing_reward: Annotated[
        float | None,
        _make_option(
            "What a decision without a reward is worth. Default: such decisions are left out.", metavar="VALUE"
        ),
    ] = None,
    interval: Annotated[Interval, _make_option("normal (the default) or bootstrap.")] = Interval.NORMAL,
    columns: Annotated[
        str | None,
        _make_option("What a file's columns are called: reward=click,propensity=pscore.", metavar="NAME=COLUMN,…"),
    ] = None,
    form: Annotated[
        LogForm,
        _make_option("How the log is written; auto tells by what is in it.", "--format"),
    ] = LogForm.AUTO,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that read the files of a log of rows, one each.", show_default=False),
    ] = None,
    html: Annotated[
        Path | None, _make_option("Also write a report that opens anywhere, offline too.", metavar="FILE")
    ] = None,
    state_dir: StateDir = None,
    loop: LoopName = None,
    as_json: AsJson = False,
) -> None:
    """Estimate what policies would have earned on logged decisions, and say how far to trust it.

    From a ledger (beside a running service too) configured policies decide again, learning as the log goes on. A file
    of rows needs no ledger: columns reward, propensity and target, the evaluated policy's probability of the action.
    """
    # Imported here: the other commands need none of it.
    from bandstand.cli.evaluate.run import EvaluationFlags, evaluate_log, show_report  # noqa: PLC0415

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
    if html is not None:
        from bandstand.evaluate.page import render_report  # noqa: PLC0415 (as above)
        from bandstand.store.sqlite.errors import storage_errors  # noqa: PLC0415 (as above)

        with storage_errors(html):
            html.write_text(render_report(result), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(result, allow_nan=False))
    else:
        show_report(result)


def evaluate_run(run: int, *, state_dir: StateDir = None) -> None:
    """Make an evaluation that a service queued; ends when standard input does."""
    from bandstand.cli.evaluate.background import play_evaluation  # noqa: PLC0415 (the other commands need none of it)

    play_evaluation(run, state_dir)
