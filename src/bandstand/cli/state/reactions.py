"""``bandstand state reapply-reactions``: the present table for reactions of the past."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from bandstand.cli.report import AsJson, show_result
from bandstand.cli.state.access import ApiKey, Url, call_service, run_on_directory
from bandstand.cli.state.directory import LoopName, StateDir, build_path, resolve_location
from bandstand.cli.state.undo import Time, build_reach_notes
from bandstand.cli.times import parse_time
from bandstand.service.reactions import reapply_reactions
from bandstand.store.maintenance.import_ import CLIENT

_SECONDS = 600.0  # with many reactions, and wide priors to learn again


def reapply(
    since: Time = None,
    state_dir: StateDir = None,
    url: Url = None,
    api_key: ApiKey = None,
    *,
    loop: LoopName = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it nothing is changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give past reactions the rewards of the present table; a dry run without --yes.

    Each is taken back and taught again, decision by decision; running it again changes nothing.
    """
    time = None if since is None else parse_time("since", since)
    if url is not None:
        body: dict[str, Any] = {"dry_run": not yes} | ({} if time is None else {"since": time.isoformat()})
        path = build_path("/reactions/reapply", loop)
        answer = call_service(url, api_key, "POST", path, json=body, timeout=_SECONDS)
    else:
        seconds = None if time is None else time.timestamp()
        location = resolve_location(state_dir, loop)
        result = run_on_directory(
            location, lambda deployment: reapply_reactions(deployment, CLIENT, since=seconds, dry_run=not yes)
        )
        answer = asdict(result)
    title = "Revised" if yes else "Would be revised (nothing was changed; --yes does it)"
    shown = answer if as_json else _flatten_answer(answer, dry_run=not yes)
    show_result(title, shown, as_json=as_json, notes=build_reach_notes(answer))


def _flatten_answer(answer: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    """The answer as rows for a person; which priors would be learned again, a dry run does not find out."""
    table = answer["table"]
    counts = {name: answer[name] for name in ("reactions", "revised", "unchanged", "unmapped", "users")}
    priors = {} if dry_run else {"priors": answer["priors"]}
    return {"table": f"{table['name']}, version {table['version']}", **counts, **priors, **answer["passed_over"]}
