"""``bandstand judge``: how good the judge is on labelled turns, and what a team's own labels make of it."""

import asyncio
import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bandstand.cli.judge.turns import reapply, retry
from bandstand.cli.report import AsJson, show_result
from bandstand.cli.state.directory import StateDir
from bandstand.config.settings import read_settings

judge = typer.Typer(
    name="judge",
    help="Measure the judge of what users say next, and train it on labelled turns.",
    epilog="A file of turns is JSON, CSV or Parquet (gz too, or - for standard input): query_t, answer_t, query_t1 and "
    "label, polarity or topic_shift; or OpenAI messages, ShareGPT conversations, exports of Langfuse or LangSmith.",
    no_args_is_help=True,
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="Labelled turns; - for standard input.")]
Turns = Annotated[Path, typer.Argument(metavar="FILE", help="Turns; - for standard input.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse the file for one bad line, instead of skipping it.")]


class TierName(StrEnum):
    """Who judges."""

    RULES = "rules"
    LOCAL = "local"
    LLM = "llm"
    AUTO = "auto"


class Half(StrEnum):
    """Which turns of the balanced set."""

    ALL = "all"
    BUILT = "built"
    KEPT = "kept"


class MethodName(StrEnum):
    """How confidence is mapped."""

    ISOTONIC = "isotonic"
    PLATT = "platt"


TierOption = Annotated[
    TierName, typer.Option(help="Which tier judges; auto asks the LLM of JUDGE_MODEL, if set, where local is not sure.")
]
TaxonomyName = Annotated[
    str | None,
    typer.Option(
        "--taxonomy", metavar="NAME", help="The taxonomy of the labels. Default: the deployment's.", show_default=False
    ),
]


@judge.command()
def evaluate(
    file: File,
    *,
    tier: TierOption = TierName.AUTO,
    taxonomy: TaxonomyName = None,
    strict: Strict = False,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Judge labelled turns, and say how often the verdicts are right and what the gate would teach.

    The judge is configured as in the service, with the deployment's weights and calibrations if there are any.
    """
    # Imported here: the other commands need none of it.
    from bandstand.cli.judge.labelled_files import evaluate_judge, open_judge, read_labelled_file  # noqa: PLC0415
    from bandstand.cli.judge.tables import show_evaluation  # noqa: PLC0415

    settings = read_settings(state_dir=state_dir)

    async def run_evaluation() -> dict[str, Any]:
        async with open_judge(tier.value, taxonomy, settings) as chosen_judge:
            return await evaluate_judge(
                read_labelled_file(file, chosen_judge.taxonomy, strict=strict), chosen_judge, settings
            )

    _show_result(asyncio.run(run_evaluation()), show_evaluation, as_json=as_json)


@judge.command()
def symmetry(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE.jsonl]", help="Labelled turns; the balanced set that ships if left out.", show_default=False
        ),
    ] = None,
    *,
    half: Annotated[
        Half, typer.Option(help="Of the balanced set: the half that rules were written against, or the other.")
    ] = Half.ALL,
    tier: TierOption = TierName.AUTO,
    taxonomy: TaxonomyName = None,
    strict: Strict = False,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Say how many praises and how many complaints teach, and what bias the gate gives to a mean."""
    from bandstand.cli.judge.labelled_files import (  # noqa: PLC0415 - as above
        evaluate_judge,
        open_judge,
        read_balanced,
        read_labelled_file,
    )
    from bandstand.cli.judge.tables import show_symmetry  # noqa: PLC0415 - as above

    settings = read_settings(state_dir=state_dir)

    async def run_evaluation() -> dict[str, Any]:
        async with open_judge(tier.value, taxonomy, settings) as chosen_judge:
            labels = chosen_judge.taxonomy
            turns = (
                read_balanced(labels, None if half is Half.ALL else half.value)
                if file is None
                else read_labelled_file(file, labels, strict=strict)
            )
            return await evaluate_judge(turns, chosen_judge, settings)

    _show_result(asyncio.run(run_evaluation()), show_symmetry, as_json=as_json)


@judge.command()
def calibrate(
    file: File,
    *,
    tier: TierOption = TierName.AUTO,
    taxonomy: TaxonomyName = None,
    method: Annotated[MethodName, typer.Option(help="How confidence is calibrated.")] = MethodName.ISOTONIC,
    target_precision: Annotated[
        float, typer.Option(metavar="SHARE", help="The share of the negative verdicts above τ that must be right.")
    ] = 0.8,
    strict: Strict = False,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Fit the judge's confidence to labelled turns, and pick the threshold τ; kept in the state directory.

    Each tier that gave verdicts gets a calibration of its own. The gate applies it to verdicts of the same tier and
    model, and records its name.
    """
    from bandstand.cli.judge.labelled_files import calibrate_judge, open_judge, read_labelled_file  # noqa: PLC0415 - as above
    from bandstand.cli.judge.tables import show_calibrations  # noqa: PLC0415 - as above

    settings = read_settings(state_dir=state_dir)

    async def run_calibration() -> dict[str, Any]:
        async with open_judge(tier.value, taxonomy, settings) as chosen_judge:
            return await calibrate_judge(
                read_labelled_file(file, chosen_judge.taxonomy, strict=strict),
                chosen_judge,
                settings,
                method=method.value,
                target_precision=target_precision,
            )

    _show_result(asyncio.run(run_calibration()), show_calibrations, as_json=as_json)


@judge.command()
def train(
    file: File,
    *,
    name: Annotated[str, typer.Option(metavar="NAME", help="The name of the weights in verdicts.")] = "own",
    taxonomy: TaxonomyName = None,
    strict: Strict = False,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Train the text model further on a team's own labels; kept in the state directory.

    Training starts from the shipped weights. The printed figures are measured on rows that the weights have not seen.
    """
    from bandstand.cli.judge.labelled_files import open_judge, read_labelled_file, train_judge  # noqa: PLC0415 - as above
    from bandstand.cli.judge.tables import show_training  # noqa: PLC0415 - as above

    settings = read_settings(state_dir=state_dir)

    async def run_training() -> dict[str, Any]:
        async with open_judge("local", taxonomy, settings) as chosen_judge:
            turns = read_labelled_file(file, chosen_judge.taxonomy, strict=strict)
            return await train_judge(turns, chosen_judge.taxonomy, settings, name=name)

    _show_result(asyncio.run(run_training()), show_training, as_json=as_json)


@judge.command()
def label(
    file: Turns,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where to write. Default: beside the file, as NAME.labelled.jsonl.", show_default=False
        ),
    ] = None,
    tier: TierOption = TierName.AUTO,
    taxonomy: TaxonomyName = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Judge the turns of a file, and write each with its verdict, confidence and reward.

    A run that was stopped is continued; turns whose LLM could not be reached are judged again.
    """
    from bandstand.cli.judge.label import get_output_path, label_file  # noqa: PLC0415 - as above
    from bandstand.cli.judge.labelled_files import open_judge  # noqa: PLC0415 - as above
    from bandstand.judging import gate  # noqa: PLC0415 - as above

    settings = read_settings(state_dir=state_dir)

    async def run_labelling() -> dict[str, Any]:
        async with open_judge(tier.value, taxonomy, settings) as chosen_judge:
            return await label_file(file, output or get_output_path(file), chosen_judge, gate(settings))

    result = asyncio.run(run_labelling())
    skipped = result if as_json else result | {"skipped": len(result["skipped"])}
    show_result("Labelled turns", skipped, as_json=as_json)


judge.command()(retry)
judge.command()(reapply)


def _show_result(result: Mapping[str, Any], show: Callable[[Mapping[str, Any]], None], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result, allow_nan=False))
    else:
        show(result)
