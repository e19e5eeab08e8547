"""``bandstand report``: whether it pays, from the sums that the service keeps."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from bandstand.bandit.experiment import Experiment
from bandstand.bandit.holdout import Holdout
from bandstand.bandit.loop_definition import DEFAULT_LOOP
from bandstand.cli.picks import show_picks
from bandstand.cli.report import AsJson, show_rows
from bandstand.cli.state.directory import LoopName, StateDir, StateLocation, resolve_location
from bandstand.config.settings import read_settings
from bandstand.errors import InvalidRequestError

if TYPE_CHECKING:
    from bandstand.service.gain import GainReport
    from bandstand.service.readout import Readout
    from bandstand.store.report_rows import ReportRows
    from bandstand.store.tables.arms import ArmHistory

_SECONDS_PER_DAY = 86_400
_TARGETS = {"random": "a random pick", "first": "the caller's first"}


def report(
    *,
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help="Count decisions from this day on, in UTC: 2026-01-31.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="Count decisions up to this day.")] = None,
    days: Annotated[int, typer.Option(min=0, help="How many of the newest days to list one by one.")] = 14,
    picks: Annotated[
        int, typer.Option(min=0, max=1000, help="Rows in each table of what gets picked; 0 for none.")
    ] = 10,
    state_dir: StateDir = None,
    loop: LoopName = None,
    as_json: AsJson = False,
) -> None:
    """Say whether what is served earns more than random, or than the caller's first candidate, would have.

    It works beside a running service too, and reads the service's sums, which are a second or two behind.
    """
    # Imported here: the other commands need none of it.
    from bandstand.service.gain import build_gain_report  # noqa: PLC0415
    from bandstand.service.picks import build_pick_report  # noqa: PLC0415 (as above)

    location = resolve_location(state_dir, loop, or_shared=True)
    first, last = (_parse_day(flag, day) for flag, day in (("--since", since), ("--until", until)))
    settings = read_settings(state_dir=state_dir)
    split = settings if location.definition.name == DEFAULT_LOOP else None  # the settings split nobody else's users
    experiment = None if split is None else split.experiment
    holdout = None if split is None or split.holdout is None else Holdout(split.holdout, split.holdout_control)
    read = _read_directory if location.address is None else _read_shared
    sums, histories, newest = read(location, _list_definitions(experiment, holdout), has_picks=bool(picks))
    splits = _build_readouts(histories, experiment)
    picked = None if newest is None else build_pick_report(newest, picks)
    found = build_gain_report(
        sums,
        today=int(time.time() // _SECONDS_PER_DAY),
        days=days,
        since=first,
        until=last,
        control=None if holdout is None else holdout.policy,
    )
    if as_json:
        told = {**asdict(found), **{name: asdict(each) for name, each in splits.items()}}
        typer.echo(json.dumps(told if picked is None else {**told, "picks": asdict(picked)}))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(found.sentence, style="bold"))
    for name, readout in splits.items():
        console.print(Text(f"{name.capitalize()}: {readout.sentence}", style="bold"))
        _show_arms(readout)
        _show_metrics(console, readout)
    if found.all is not None:
        _show_spans(console, found)
    if picked is not None:
        show_picks(console, picked)


def _show_spans(console: Console, found: "GainReport") -> None:
    """What was earned compared with what would have been, by policy and by day."""
    assert found.all is not None  # noqa: S101 (whoever calls has looked)
    spans = {"all": found.all, **{f"last {name}": each for name, each in found.spans.items()}, **found.policies}
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
                f"{each.expected_ess:,.0f}",
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


def _list_definitions(experiment: Experiment | None, holdout: Holdout | None) -> dict[str, str]:
    """The splits that the settings have, by kind."""
    splits = {"experiment": experiment, "holdout": holdout}
    return {kind: split.to_canonical_json() for kind, split in splits.items() if split is not None}


def _read_directory(location: StateLocation, definitions: Mapping[str, str], *, has_picks: bool) -> "ReportRows":
    from bandstand.store.maintenance.report_rows import read_report  # noqa: PLC0415 (as above)

    return read_report(location.directory, location.catalogue, definitions, has_picks=has_picks)


def _read_shared(location: StateLocation, definitions: Mapping[str, str], *, has_picks: bool) -> "ReportRows":
    from bandstand.store.postgres.report_reader import read_report  # noqa: PLC0415 (its driver is an extra)

    assert location.address is not None  # noqa: S101 (whoever calls has looked)
    return asyncio.run(read_report(location.address, location.catalogue, definitions, has_picks=has_picks))


def _build_readouts(
    histories: "Mapping[str, tuple[ArmHistory, float]]", experiment: Experiment | None
) -> dict[str, "Readout"]:
    """What the arms of the running experiment and holdout earned."""
    from bandstand.service.readout import build_readout  # noqa: PLC0415 (as above)
    from bandstand.store.tables.splits import BANDIT_ARM, CONTROL_ARM  # noqa: PLC0415 (as above)

    found = {}
    for kind, (history, since) in histories.items():
        arms: tuple[str, ...] = (BANDIT_ARM, CONTROL_ARM)
        control = CONTROL_ARM
        if kind == "experiment" and experiment is not None:
            arms, control = tuple(experiment.compute_shares()), experiment.leading_policy
        found[kind] = build_readout(history, arms, control, since=since, now=time.time())
    return found


def _show_arms(readout: "Readout") -> None:
    show_rows(
        ["arm", "users", "decisions", "rewarded", "mean reward", "a user", "difference", "95 %, every day"],
        [
            [
                name,
                f"{arm.users:,}",
                f"{arm.decisions:,}",
                f"{arm.rewarded:,}",
                "–" if arm.mean_reward is None else _format_mean(arm.mean_reward.value, arm.mean_reward.high),
                "–" if arm.reward_per_user is None else f"{arm.reward_per_user.value:.4f}",
                "–" if arm.difference is None else f"{arm.difference.value:+.4f}",
                "–" if arm.difference is None else _format_interval(arm.difference.low, arm.difference.high),
            ]
            for name, arm in readout.arms.items()
        ],
    )


def _show_metrics(console: Console, readout: "Readout") -> None:
    """What rewards brought by name, arm by arm."""
    rows = [
        [
            metric,
            name,
            _format_mean(mean.value, mean.high),
            "–" if compared is None else f"{compared.value:+.4f}",
            "–" if compared is None else _format_interval(compared.low, compared.high),
        ]
        for metric in sorted({metric for arm in readout.arms.values() for metric in arm.metrics})
        for name, arm in readout.arms.items()
        if (mean := arm.metrics.get(metric)) is not None
        for compared in [arm.metric_differences.get(metric)]
    ]
    if rows:
        show_rows(["metric", "arm", "mean", "difference", "95 %, every day"], rows)
    if readout.metrics_left_out:
        console.print(
            Text(f"{readout.metrics_left_out:,} values of further metrics are left out: 20 names have a place")
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
