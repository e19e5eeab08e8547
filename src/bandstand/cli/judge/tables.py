"""What ``bandstand judge`` found, for a person: who judged what, how often that was right, and what it would teach."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bandstand.judge.taxonomy import POLARITIES

_WIDTH = 120
_PLACEHOLDER = "–"


def show_evaluation(result: Mapping[str, Any]) -> None:
    """Print an evaluation: the facts, the confusion of polarities and of labels, and every measure."""
    console, judge = _make_console(), result["judge"]
    _show_facts(
        console,
        "Judge evaluation",
        {
            "file": f"{result['file']}: {result['n']:,} turns, {len(result['skipped']):,} lines skipped",
            "judge": f"{judge['tier']}, {judge['model']}",
            "gate": f"{judge['gate']}, τ = {judge['tau']:g}, calibration {', '.join(judge['calibrations']) or 'none'}",
            "unscored": ", ".join(f"{reason} {count:,}" for reason, count in result["unscored"].items()) or "none",
            "LLM calls": f"{result['llm_calls']:,}; {result['llm_calls_saved']:,} turns cost none",
            "cost": "not known" if result["cost"] is None else f"${result['cost']:.4f}",
        },
    )
    for name, order in (("polarity", POLARITIES), ("labels", None)):
        if result[name]["n"]:
            console.print(
                _build_confusion_table(f"{name.capitalize()}: {result[name]['n']:,} turns", result[name], order)
            )
    console.print(build_measures_table({"every verdict": result, "above the gate": result["gated"]}))
    errors = {_ERROR_TITLES[name]: f"± {error:.3f}" for name, error in result["errors"].items() if error is not None}
    _show_facts(console, "Standard errors, by bootstrap", errors)


def show_symmetry(result: Mapping[str, Any]) -> None:
    """Print what becomes of praise, of complaints and of turns that are neither, by kind and by language."""
    console, judge, found = _make_console(), result["judge"], result["symmetry"]
    _show_facts(
        console,
        "Judge symmetry",
        {
            "file": f"{result['file']}: {found['n']:,} turns, {len(result['skipped']):,} lines skipped",
            "judge": f"{judge['tier']}, {judge['model']}",
            "gate": f"{judge['gate']}, τ = {judge['tau']:g}, calibration {', '.join(judge['calibrations']) or 'none'}",
        },
    )
    rows = {"all": found, **found["kinds"], **found["languages"]}
    table = Table(title=Text("Turns that teach as they should", style="bold"), title_justify="left", box=SIMPLE)
    table.add_column("")
    for name in ("praise", "complaint"):
        table.add_column(name, justify="right")
        table.add_column("wrong way", justify="right")
    table.add_column("neither: silent", justify="right")
    for name, counts in rows.items():
        cells = [
            _format_share(counts[stand], key) for stand in ("praise", "complaint") for key in ("right", "wrong_way")
        ]
        table.add_row(name, *cells, _format_share(counts["none"], "right"))
    console.print(table)
    measures = Table(box=SIMPLE)
    for head in ("", "value", "± error"):
        measures.add_column(head, justify="right" if head else "left")
    for title, key in _SYMMETRY_MEASURES:
        measures.add_row(title, *(_PLACEHOLDER if v is None else f"{v:.3f}" for v in found[key].values()))
    console.print(measures)


_SYMMETRY_MEASURES = (
    ("feedback that teaches its own sign", "right"),
    ("turns that teach the opposite sign", "wrong_way"),
    ("turns without feedback that teach", "false_teaching"),
    ("bias of the gate to a mean", "gate_bias"),
    ("bias of what is taught", "bias"),
)


def _format_share(counts: Mapping[str, int], key: str) -> str:
    return f"{counts[key]}/{counts['n']}" if counts["n"] else _PLACEHOLDER


def show_calibrations(result: Mapping[str, Any]) -> None:
    """Print what was fitted, and how good it is on data that it was not fitted to."""
    console = _make_console()
    for one in result["calibrations"]:
        _show_facts(
            console,
            f"Calibration {one['name']}",
            {
                "fitted to": f"{one['examples']:,} verdicts of {one['tier']}, {one['model']}",
                "τ": f"{one['tau']:.3f}, for negative verdicts of which {one['target_precision']:.0%} are right"
                if one["tau"] is not None
                else f"no threshold makes {one['target_precision']:.0%} of the negative verdicts right; "
                "JUDGE_TAU stays in force",
            },
        )
        console.print(_build_comparison_table(one, "by the other four fifths"))
    _show_path(console, result["written"])


def show_training(result: Mapping[str, Any]) -> None:
    """Print what was trained, and how good it is on rows that it was not trained with."""
    console = _make_console()
    _show_facts(
        console,
        f"Trained {result['model']}",
        {"file": f"{result['file']}: {result['n']:,} turns, {len(result['skipped']):,} lines skipped"},
    )
    console.print(_build_comparison_table(result, "trained on the other four fifths"))
    _show_path(console, result["written"])
    console.print(Text("A calibration that was fitted before it is of other weights: calibrate again.", style="dim"))


def build_measures_table(columns: Mapping[str, Mapping[str, Any]]) -> Table:
    """Put reports side by side, a measure a row; a dash where there is nothing to measure."""
    table = Table("", box=SIMPLE)
    for name in columns:
        table.add_column(name, justify="right")
    for title, path in _MEASURES:
        values = [_get_measure(report, path) for report in columns.values()]
        if any(value is not None for value in values):
            table.add_row(title, *(_PLACEHOLDER if value is None else f"{value:.3f}" for value in values))
    return table


_MEASURES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("accuracy, polarity", ("polarity", "accuracy")),
    ("  of always saying other", ("polarity", "always_other")),
    ("macro-F1, polarity", ("polarity", "macro_f1")),
    ("macro-F1, labels", ("labels", "macro_f1")),
    ("negative precision", ("polarity", "negative_precision")),
    ("negative recall", ("polarity", "negative_recall")),
    ("Cohen's κ, polarity", ("polarity", "kappa")),
    ("calibration error (ECE)", ("ece",)),
    ("sign flips", ("sign_flip_rate",)),
    ("topic shifts: F1", ("topic_shift", "f1")),
    ("topic shifts: precision", ("topic_shift", "precision")),
    ("topic shifts: recall", ("topic_shift", "recall")),
    ("topic shifts: others called so", ("topic_shift", "false_alarms")),
    ("called negative", ("called", "negative")),
    ("coverage (taught)", ("coverage",)),
)


_ERROR_TITLES = {
    "macro_f1": "macro-F1, polarity",
    "gated_negative_precision": "negative precision, above the gate",
    "topic_shift_f1": "topic shifts: F1",
    "topic_shift_false_alarms": "topic shifts: others called so",
}


def _build_comparison_table(result: Mapping[str, Any], after: str) -> Table:
    columns = {"before": result["before"], "before, above the gate": result["before"]["gated"]}
    if result["after"] is not None:
        columns |= {after: result["after"], "and above the gate": result["after"]["gated"]}
    return build_measures_table(columns)


def _build_confusion_table(title: str, agreement: Mapping[str, Any], order: Sequence[str] | None) -> Table:
    counts = agreement["confusion"]
    names = [name for name in order or counts if name in counts]
    table = Table(title=Text(title, style="bold"), title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("truly", no_wrap=True)
    for name in names:
        head = f"said {name}" if len(names) <= len(POLARITIES) else name
        table.add_column(head, justify="right", overflow="fold")
    for true in names:
        table.add_row(true, *(f"{counts[true][said]:,}" if counts[true][said] else "·" for said in names))
    return table


def _get_measure(report: Mapping[str, Any], path: Sequence[str]) -> float | None:
    value: Any = report
    for name in path:
        value = value.get(name)
        if value is None:
            return None
    return float(value)


def _show_facts(console: Console, title: str, facts: Mapping[str, str]) -> None:
    grid = Table.grid(padding=(0, 2))
    for name, fact in facts.items():
        grid.add_row(Text(name, style="dim"), Text(fact, overflow="fold"))
    console.print(Text(title, style="bold"))
    console.print(grid)
    console.print()


def _show_path(console: Console, path: str) -> None:
    console.print(Text(f"Written to {path}; a service uses it from its next start."), soft_wrap=True)


def _make_console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)
