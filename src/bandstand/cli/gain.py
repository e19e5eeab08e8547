"""``bandstand report``: whether it pays, from the sums that the service keeps."""

import json
import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from bandstand.cli.report import AsJson, show_rows
from bandstand.cli.state.directory import StateDir, resolve_location
from bandstand.errors import InvalidRequestError

_SECONDS_PER_DAY = 86_400
_TARGETS = {"random": "a random pick", "first": "the caller's first"}


def report(
    *,
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help="Of decisions from this day on, in UTC: 2026-01-31.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="Of decisions up to this day.")] = None,
    days: Annotated[int, typer.Option(min=0, help="How many of the newest days to tell one by one.")] = 14,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Say whether what is served earns more than random, or than the caller's first candidate, would have.

    Beside a running service too, whose sums it reads; they are a second or two behind.
    """
    # Imported here: the other commands need none of it.
    from bandstand.service.gain import build_gain_report  # noqa: PLC0415
    from bandstand.store.maintenance.offline import open_read_only  # noqa: PLC0415 (as above)
    from bandstand.store.tables.gains import load_gain_sums  # noqa: PLC0415 (as above)

    location = resolve_location(state_dir)
    first, last = (_parse_day(flag, day) for flag, day in (("--since", since), ("--until", until)))
    with open_read_only(location.directory, location.catalogue) as opened:
        sums = load_gain_sums(opened.connection)
    today = int(time.time() // _SECONDS_PER_DAY)
    found = build_gain_report(sums, today=today, days=days, since=first, until=last)
    if as_json:
        typer.echo(json.dumps(asdict(found), allow_nan=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(found.sentence, style="bold"))
    if found.all is None:
        return
    spans = {"all": found.all, **found.policies}
    show_rows(
        ["served by", "rewarded", "mean reward", "instead of", "would have earned", "gain", "95 %, every day", "ess"],
        [
            [
                name,
                f"{span.rewarded:,}",
                _format_mean(span.mean_reward.value, span.mean_reward.high),
                _TARGETS[target],
                f"{each.value:.4f}",
                f"{each.gain:+.4f}",
                _format_interval(each.low, each.high),
                f"{each.ess:,.0f}",
            ]
            for name, span in spans.items()
            for target, each in span.targets.items()
        ],
    )
    for target, each in found.all.targets.items():
        for warning in each.warnings:
            console.print(Text(f"{_TARGETS[target]}: {warning}"))
    if found.days:
        show_rows(
            ["day", "rewarded", "mean reward", "over random", "over the first", "gained over random so far"],
            [
                [
                    each.since,
                    f"{each.rewarded:,}",
                    _format_mean(each.mean_reward.value, each.mean_reward.high),
                    *(f"{target.gain:+.4f}" for target in each.targets.values()),
                    f"{each.cumulative['random'].value:+,.1f}",
                ]
                for each in found.days
            ],
        )


def _parse_day(flag: str, day: str | None) -> int | None:
    from bandstand.service.gain import to_day_number  # noqa: PLC0415 (as above)

    try:
        return None if day is None else to_day_number(day)
    except ValueError:
        raise InvalidRequestError(f"{flag}: {day!r} is no day; write 2026-01-31") from None


def _format_mean(value: float, high: float | None) -> str:
    return f"{value:.4f}" + ("" if high is None else f" ± {high - value:.4f}")


def _format_interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"
