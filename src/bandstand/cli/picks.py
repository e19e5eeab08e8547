"""Tables of what gets picked, by item, source and feature value."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from bandstand.cli.report import show_rows

if TYPE_CHECKING:
    from bandstand.service.picks import PickReport
    from bandstand.service.shadow_value import ValueEstimate


def show_picks(console: Console, report: "PickReport") -> None:
    """Print what the newest decisions picked."""
    console.print(Text(report.sentence, style="bold"))
    if not report.decisions:
        return
    tables = {"candidate": report.items, "source": report.sources, **report.features}
    show_rows(
        ["by", "value", "picked", "share", "rewarded", "mean reward", "to the rest, 95 %"],
        [
            [
                by,
                each.name,
                f"{each.picks:,}",
                f"{each.share:.1%}",
                f"{each.rewarded:,}",
                _format_estimate(each.mean_reward),
                _format_difference(each.difference),
            ]
            for by, table in tables.items()
            for each in [*table.groups, *([] if table.others is None else [table.others])]
        ],
    )


def _format_estimate(estimate: "ValueEstimate | None") -> str:
    if estimate is None:
        return "–"
    return f"{estimate.value:.4f}" + ("" if estimate.high is None else f" ± {estimate.high - estimate.value:.4f}")


def _format_difference(estimate: "ValueEstimate | None") -> str:
    if estimate is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:+.4f}"
    return f"{estimate.value:+.4f} ({estimate.low:+.4f} to {estimate.high:+.4f})"
