"""``bandstand shown``: decisions by what they showed, from a ledger at rest or beside a service."""

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from bandstand.cli.report import AsJson, show_rows
from bandstand.cli.state.directory import LoopName, StateDir, StateLocation, resolve_location
from bandstand.store.records import LAST_SEQ

if TYPE_CHECKING:
    from bandstand.store.tables.shown import DecisionPage, DecisionSearch


def shown(  # noqa: PLR0913 (the flags of a command)
    *,
    words: Annotated[str, typer.Option(help="All of them must occur in one candidate's content.")] = "",
    candidate: Annotated[str, typer.Option(metavar="ID", help="A candidate's id.")] = "",
    among: Annotated[
        Literal["picked", "offered"], typer.Option(help="Search what was picked, or all that was offered.")
    ] = "picked",
    user: Annotated[str, typer.Option(metavar="ID", help="The user it was for.")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="Decided at that time or later: ISO 8601.")] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="Decided before that time.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many decisions, newest first.")] = 50,
    before: Annotated[
        int, typer.Option(min=0, max=LAST_SEQ, help="Where to continue: `next` of an earlier call.")
    ] = LAST_SEQ,
    state_dir: StateDir = None,
    loop: LoopName = None,
    as_json: AsJson = False,
) -> None:
    """Find decisions by words of what they showed, by candidate, user or time, newest first.

    Looks through the whole ledger, whereas `GET /decisions` looks at 10,000 decisions a call.
    """
    # Imported here: the other commands need none of it.
    from bandstand.service.shown import SearchQuestion, build_matches, parse_question  # noqa: PLC0415

    question = SearchQuestion(words=words, candidate_id=candidate, among=among, user_id=user, since=since, until=until)
    wanted = parse_question(question)
    location = resolve_location(state_dir, loop, or_shared=True)
    found = build_matches(_search(location, wanted, before, limit))
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    console = Console(highlight=False, soft_wrap=True)
    if not found.decisions:
        console.print(Text(f"None of the {found.searched:,} decisions looked at fits."))
        return
    show_rows(
        ["when", "decision", "user", "policy", "candidate", "probability", "reward", "content"],
        [
            [
                each.ts[:19],
                each.decision_id,
                each.user_id,
                each.policy,
                each.tip_id,
                f"{each.propensity:.1%}",
                "–" if each.reward is None else f"{each.reward:.2f}",
                "–" if each.content is None else " ".join(each.content.split()),
            ]
            for each in found.decisions
        ],
    )
    if found.next is not None:
        console.print(Text(f"There may be more: --before {found.next}"))


def _search(location: StateLocation, wanted: "DecisionSearch", before: int, limit: int) -> "DecisionPage":
    if location.address is not None:
        from bandstand.store.postgres.shown import search_ledger  # noqa: PLC0415 (its driver is an extra)

        return asyncio.run(search_ledger(location.address, wanted, before, limit))
    from bandstand.store.maintenance.offline import open_read_only  # noqa: PLC0415 (the other commands need none of it)
    from bandstand.store.tables.shown import search_decisions  # noqa: PLC0415 (as above)

    with open_read_only(location.directory, location.catalogue) as opened:
        return search_decisions(opened.connection, wanted, before, limit, LAST_SEQ)
