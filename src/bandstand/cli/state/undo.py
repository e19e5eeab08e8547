"""``bandstand state revoke``: take rewards back, in a running service or in a directory that none uses."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from bandstand.cli.report import AsJson, show_result
from bandstand.cli.state.access import ApiKey, Url, call_service, run_on_directory
from bandstand.cli.state.directory import LoopName, StateDir, build_path, resolve_location
from bandstand.cli.times import parse_time
from bandstand.service.undo import undo
from bandstand.store.maintenance.import_ import CLIENT
from bandstand.store.tables.undo import Selection

_SECONDS = 600.0  # with many rewards, and wide priors to learn again

Time = Annotated[
    str | None, typer.Option(metavar="TIME", help="ISO 8601, such as 2026-01-31 or 2026-01-31T12:00+01:00; else UTC.")
]


def revoke(  # noqa: PLR0913 (each is a flag)
    decision: Annotated[str | None, typer.Option(metavar="ID", help="The reward of this decision.")] = None,
    client: Annotated[
        str | None, typer.Option(metavar="NAME", help="Rewards given with the API key of this name.")
    ] = None,
    judge_version: Annotated[
        str | None, typer.Option(metavar="V", help="Rewards from verdicts of this model, or of this prompt hash.")
    ] = None,
    since: Time = None,
    until: Time = None,
    state_dir: StateDir = None,
    url: Url = None,
    api_key: ApiKey = None,
    *,
    loop: LoopName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would happen.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take rewards back out of what they taught, as if they had never come.

    Takes back all rewards that match everything given or, if anything goes wrong, none; the log keeps that they were
    given. What was decided meanwhile stays. Running it again changes nothing.
    """
    times = {name: parse_time(name, text) for name, text in (("since", since), ("until", until)) if text is not None}
    if url is not None:
        texts = {"decision_id": decision, "client": client, "judge_version": judge_version}
        named = {name: text for name, text in texts.items() if text is not None}
        body = {**named, **{name: time.isoformat() for name, time in times.items()}, "dry_run": dry_run}
        answer = call_service(url, api_key, "POST", build_path("/revocations", loop), json=body, timeout=_SECONDS)
    else:
        seconds = {name: time.timestamp() for name, time in times.items()}
        selection = Selection(decision, client, judge_version, seconds.get("since"), seconds.get("until"))
        result = run_on_directory(
            resolve_location(state_dir, loop), lambda deployment: undo(deployment, selection, CLIENT, dry_run=dry_run)
        )
        answer = asdict(result)
    title = "Would be taken back (nothing was changed)" if dry_run else "Taken back"
    show_result(
        title,
        answer if as_json else _flatten_answer(answer, dry_run=dry_run),
        as_json=as_json,
        notes=build_reach_notes(answer),
    )


def _flatten_answer(answer: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    """The answer as rows for a person; which priors would be learned again, a dry run does not find out."""
    policies = [f"{name}: {count:,}" for name, count in answer["policies"].items()]
    priors = {} if dry_run else {"priors": answer["priors"]}
    return {
        "rewards": answer["rewards"],
        "users": answer["users"],
        "policies": policies,
        **priors,
        **answer["passed_over"],
    }


def build_reach_notes(answer: dict[str, Any]) -> list[str]:
    """What an answer says is out of reach, for a person."""
    beyond = answer["out_of_reach"]
    if not beyond["users"]:
        return []
    note = (
        f"{beyond['users']:,} users have a state that retention kept in place of events up to {beyond['until']}: "
        "what was given before then cannot be told apart, and stays."
    )
    return [note]
