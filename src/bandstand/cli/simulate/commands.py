"""``bandstand simulate``: policies meet personas before they meet people."""

import asyncio
import json
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bandstand.cli.report import AsJson
from bandstand.cli.state.directory import LoopName, StateDir, resolve_location
from bandstand.config.settings import read_settings
from bandstand.errors import InvalidRequestError
from bandstand.simulate.limits import DEFAULT_POLICIES, LIMITS

_USERS = 14
_EXIT_INTERRUPTED = 130


class JudgeName(StrEnum):
    """Who decides what users do."""

    RULE = "rule"
    LLM = "llm"
    COMMAND = "command"


class ChatTierName(StrEnum):
    """Who reads what users say."""

    RULES = "rules"
    LOCAL = "local"
    LLM = "llm"
    AUTO = "auto"


class GateName(StrEnum):
    """What a verdict teaches."""

    HARD = "hard"
    SOFT = "soft"


class EventsKept(StrEnum):
    """Whose single decisions are kept."""

    NONE = "none"
    SAMPLE = "sample"
    ALL = "all"


def _make_option(help_: str, *names: str, metavar: str | None = None, hidden: bool = False) -> Any:
    return typer.Option(*names, help=help_, metavar=metavar, hidden=hidden, show_default=False)


def simulate(  # noqa: PLR0913 (each is a flag)
    *,
    policy: Annotated[
        list[str] | None,
        _make_option(
            f"A policy that plays; may be given repeatedly. Without it: {', '.join(DEFAULT_POLICIES)}.", metavar="NAME"
        ),
    ] = None,
    world: Annotated[
        str | None, _make_option("shipped (the default), uniform, signed, or a TOML file of personas.", metavar="WORLD")
    ] = None,
    personas: Annotated[
        int | None,
        _make_option(f"Users; the set starts over when it runs out. Default {_USERS}, or the file's.", metavar="N"),
    ] = None,
    days: Annotated[int | None, _make_option("Length of each user's run. Default 30.", metavar="N")] = None,
    decisions_per_day: Annotated[int | None, _make_option("Default 4.", metavar="N")] = None,
    candidates: Annotated[int | None, _make_option("Candidates of each decision. Default 5.", metavar="N")] = None,
    seeds: Annotated[
        int | None,
        _make_option(
            f"Worlds; the errors are over them. Default {LIMITS['seeds'].default}, 1 with another judge than rule.",
            metavar="N",
        ),
    ] = None,
    first_seed: Annotated[int | None, _make_option("Seed of the first world. Default 0.", metavar="N")] = None,
    day_of_week: Annotated[int | None, _make_option("Hold the weekday, 0 (Monday) to 6.", metavar="DAY")] = None,
    reflex_rate: Annotated[
        float | None,
        _make_option("Share of `done` ticked off unread in under 15 s. Default 0, as the contract has it."),
    ] = None,
    judge: Annotated[JudgeName | None, _make_option("Who decides what users do. Default rule.")] = None,
    judge_model: Annotated[str | None, _make_option("Model of --judge llm.", metavar="NAME")] = None,
    judge_url: Annotated[
        str | None, _make_option("OpenAI-compatible gateway of --judge llm, instead of Anthropic.", metavar="URL")
    ] = None,
    judge_command: Annotated[
        str | None, _make_option("Program of --judge command: prompt on stdin, one word on stdout.", metavar="COMMAND")
    ] = None,
    judge_deadline: Annotated[float | None, _make_option("Longest one judgement may take.", metavar="SECONDS")] = None,
    chat: Annotated[
        ChatTierName | None,
        _make_option(
            "Users talk instead of acting, and this tier of the judge reads it; each policy also plays by the truth."
        ),
    ] = None,
    gate: Annotated[GateName | None, _make_option("What a verdict teaches with --chat. Default JUDGE_GATE.")] = None,
    tau: Annotated[float | None, _make_option("Threshold of the hard gate with --chat. Default JUDGE_TAU.")] = None,
    events: Annotated[
        EventsKept | None,
        _make_option("Which single decisions are kept: none, the first seed's (sample, the default), or all."),
    ] = None,
    url: Annotated[str | None, _make_option("Play against the running service at this address.", metavar="URL")] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            metavar="SECRET", envvar="BANDSTAND_API_KEY", help="A key's secret, for --url.", show_default=False
        ),
    ] = None,
    concurrency: Annotated[
        int | None, _make_option("Users that play at once, with a judge or a service. Default 16.", metavar="N")
    ] = None,
    resume: Annotated[str | None, _make_option("Continue a run by its number, or `last`.", metavar="RUN")] = None,
    html: Annotated[
        Path | None, _make_option("Also write a report that opens anywhere, offline too.", metavar="FILE")
    ] = None,
    state_dir: StateDir = None,
    loop: LoopName = None,
    as_json: AsJson = False,
    supervised: Annotated[bool, _make_option("Played for a service: ends when stdin does.", hidden=True)] = False,
) -> None:
    """Let policies play side by side against personas whose true rewards are known.

    All policies meet the same users, tasks, draws and reactions. Ctrl-C keeps what is done; --resume continues. Runs
    are kept in simulations.db of the state directory, which may be in use by a service.
    """
    # Imported here: the other commands need none of it.
    from bandstand.cli.simulate.chat_judge import build_chat_plan  # noqa: PLC0415
    from bandstand.cli.simulate.run import RunContext, create_run, play_run, resume_run  # noqa: PLC0415
    from bandstand.cli.simulate.tables import show_tables  # noqa: PLC0415

    document: dict[str, Any] = {
        "world": world,
        "personas": personas,
        "days": days,
        "decisions_per_day": decisions_per_day,
        "candidates": candidates,
        "seeds": seeds,
        "first_seed": first_seed,
        "day_of_week": day_of_week,
        "reflex_rate": reflex_rate,
        "events": events,
        "url": url,
    }
    judging: dict[str, Any] = {
        "kind": judge,
        "model": judge_model,
        "url": judge_url,
        "command": None if judge_command is None else shlex.split(judge_command),
        "deadline_s": judge_deadline,
    }
    given, asked, listening = (
        _drop_missing(document),
        _drop_missing(judging),
        _drop_missing({"tier": chat, "gate": gate, "tau": tau}),
    )
    location = resolve_location(state_dir, loop, or_shared=True)
    settings = read_settings(state_dir=str(location.directory))
    setting = RunContext(settings, location.catalogue, api_key=api_key, concurrency=concurrency)
    if resume is not None:
        if given or asked or listening or policy:
            raise InvalidRequestError("--resume continues a run as it was planned: leave the other flags out")
        run = resume_run(setting, resume, supervised=supervised)
    else:
        given["policies"] = policy or DEFAULT_POLICIES
        if "seeds" not in given:
            given["seeds"] = LIMITS["seeds"].default if asked.get("kind", "rule") == "rule" else 1
        if listening:
            given["chat"] = build_chat_plan(settings, listening)
        run = create_run(setting, given | {"judge": asked})
    result = asyncio.run(play_run(setting, run, supervised=supervised))
    if supervised:
        return
    if html is not None:
        _write_report(html, result)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        show_tables(result)
    if result["state"] == "interrupted":
        typer.echo(f"Interrupted; to go on: bandstand simulate --resume {result['run']}", err=True)
        raise typer.Exit(_EXIT_INTERRUPTED)


def _write_report(file: Path, result: dict[str, Any]) -> None:
    from bandstand.simulate.report import render_report  # noqa: PLC0415 - as above

    try:
        file.write_text(render_report(result), encoding="utf-8")
    except OSError as error:
        again = f"bandstand simulate --resume {result['run']} --html FILE"
        raise InvalidRequestError(f"--html {str(file)!r}: {error.strerror}; the run is kept: {again}") from error


def _drop_missing(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
