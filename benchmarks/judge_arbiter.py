"""What calls the arbiter saves an LLM that is right nine times in ten, and what that costs: contract A7's thresholds.

    python benchmarks/judge_arbiter.py [--data ../shared/data/judge]

Every turn of the annotated dialogues about films is judged locally, and by a scripted LLM: right with probability 0.9,
else wrong at random. Where `should_trigger` says so, the LLM's verdict counts, else the local one. Prints the share of
calls saved and the macro-F1 over polarity beside that of asking always, mean of 20 draws: over all dialogues, over the
half that nothing was tuned on, and with a text model trained on the other dialogues ("own", five folds).
"""

import argparse
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean

from judge_local import FOLDS, FOLLOWUP, Dialogues, as_table, dialogues, part_of

from bandstand.judge.arbiter import ArbiterSettings, should_trigger
from bandstand.judge.local.classifier import shipped_weights
from bandstand.judge.local.local_judge import Evidence, Local
from bandstand.judge.taxonomy import POLARITIES
from bandstand.judge.training.metrics import compute_macro_f1
from bandstand.judge.training.train import train_own

RIGHT = 0.9

_DRAWS = 20
_POLICIES: Mapping[str, ArbiterSettings] = {
    "the defaults": ArbiterSettings(),
    **{f"gray zone below {end:g}": ArbiterSettings(gray_zone_threshold=end) for end in (0.4, 0.7, 0.8, 0.9, 0.95)},
    **{
        f"gray zone below {end:g}, conflicts below 0.4": ArbiterSettings(
            gray_zone_threshold=end, conflict_threshold=0.4
        )
        for end in (0.7, 0.8, 0.9, 0.95)
    },
}

Judged = Sequence[tuple[str, Evidence]]
"""Of every turn its true polarity, and what the local tiers say of it."""


def shipped_evidence(data: Dialogues) -> Judged:
    """Have the shipped local tiers judge every turn."""
    tier = Local.shipped()
    return [(row.polarity or "", tier.evidence(row.turn.cut())) for _, row in data]


def own_evidence(data: Dialogues) -> Judged:
    """Judge every fold by rules and a model trained on the other folds, starting from the shipped weights."""
    start, judged = shipped_weights("followup-v1"), []
    for fold in range(FOLDS):
        known = [row for dialogue, row in data if part_of(dialogue, FOLDS) != fold]
        tier = Local.shipped(FOLLOWUP, train_own(known, FOLLOWUP, name="own", start=start))
        asked = [row for dialogue, row in data if part_of(dialogue, FOLDS) == fold]
        judged += [(row.polarity or "", tier.evidence(row.turn.cut())) for row in asked]
    return judged


def arbiter_table(columns: Mapping[str, Judged]) -> str:
    """Show calls saved, and how much macro-F1 they gain or cost beside asking always, by the arbiter's thresholds."""
    head = ["thresholds", *(f"{name}: {what}" for name in columns for what in ("saved", "macro F1"))]
    lines = [["ask always", *(cell for judged in columns.values() for cell in _cells(judged, lambda _: True, None))]]
    for name, settings in _POLICIES.items():
        cells: list[str] = []
        for judged in columns.values():
            cells += _cells(judged, _asks(settings), _score(judged, lambda _: True))
        lines.append([name, *cells])
    never = [c for judged in columns.values() for c in _cells(judged, lambda _: False, _score(judged, lambda _: True))]
    return as_table(head, [*lines, ["ask never", *never]])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data" / "judge")
    data = dialogues(parser.parse_args().data / "iard_dev.jsonl")
    print(arbiter_table(columns(data)))


def columns(data: Dialogues) -> dict[str, Judged]:
    """Return what the table compares."""
    unseen = [(dialogue, row) for dialogue, row in data if part_of(dialogue, 2)]
    return {"all": shipped_evidence(data), "held out": shipped_evidence(unseen), "own": own_evidence(data)}


def _asks(settings: ArbiterSettings) -> Callable[[Evidence], bool]:
    return lambda evidence: should_trigger(evidence.rule, evidence.semantic, settings).triggered


def _cells(judged: Judged, ask: Callable[[Evidence], bool], always: float | None) -> list[str]:
    saved = 1 - mean(ask(evidence) for _, evidence in judged)
    score = _score(judged, ask)
    return [f"{saved:.2f}", f"{score:.3f}" if always is None else f"{score - always:+.3f}"]


def _score(judged: Judged, ask: Callable[[Evidence], bool]) -> float:
    """Macro-F1 over polarity where the LLM is asked as ``ask`` says, mean over the draws of what it says."""
    truth = [true for true, _ in judged]
    local = [FOLLOWUP.label(evidence.verdict.label).polarity for _, evidence in judged]
    asked = [ask(evidence) for _, evidence in judged]
    return mean(
        compute_macro_f1(
            truth, [llm if yes else ours for yes, llm, ours in zip(asked, _scripted(truth, seed), local, strict=True)]
        )
        or 0
        for seed in range(_DRAWS)
    )


def _scripted(truth: Sequence[str], seed: int) -> list[str]:
    """What an LLM says that is right nine times in ten, and otherwise wrong at random."""
    draws = random.Random(seed)
    return [
        true if draws.random() < RIGHT else draws.choice([side for side in POLARITIES if side != true])
        for true in truth
    ]


if __name__ == "__main__":
    main()
