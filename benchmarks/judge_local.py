"""What the judge's local tiers agree to on annotated dialogues, and what they cost.

    python benchmarks/judge_local.py [--data ../shared/data/judge] [--repeats 5] [--only-costs]

Prints the tables of docs/judge.md. The shipped tiers never saw the dialogues; "own" is trained on four fifths of them
and measured on the fifth left over, dialogues kept whole. Time is the processor's, cutting included, the least over
repeats. Without the data only the costs are printed, on made-up messages; turns that say what was chosen are those of
the balanced set. `--only-costs` prints nothing else.
"""

import argparse
import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from bandstand.judge.local.classifier import Classifier, shipped_weights
from bandstand.judge.local.local_judge import Local
from bandstand.judge.local.normalise import normalise_turn
from bandstand.judge.local.rulebook import load_shipped_rules
from bandstand.judge.taxonomy import POLARITIES, shipped_taxonomy
from bandstand.judge.training.dataset import LabelledTurn, parse_rows
from bandstand.judge.training.evaluation import build_report, evaluate, judge_rows
from bandstand.judge.training.judged_row import JudgedRow
from bandstand.judge.training.symmetry import read_balanced_set
from bandstand.judge.training.tier import LocalTier
from bandstand.judge.training.train import train_own
from bandstand.judge.turn import Turn

FOLLOWUP = shipped_taxonomy("followup-v1")
FOLDS = 5

_MEASURES = (
    "macro F1",
    "kappa",
    "neg. precision",
    "neg. recall",
    "sign flips",
    "ECE",
    "coverage",
    "gated neg. precision",
)

Dialogues = Sequence[tuple[str, LabelledTurn]]


def dialogues(path: Path) -> Dialogues:
    """Read a data file: every row with the dialogue it is from."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = parse_rows(lines, FOLLOWUP, strict=True).rows
    return [(json.loads(line)["id"].rsplit("-", 1)[0], row) for line, row in zip(lines, rows, strict=True)]


def part_of(dialogue: str, parts: int) -> int:
    """Tell which of so many parts a dialogue belongs to; the odd half of two is the one nothing was tuned on."""
    return int.from_bytes(blake2b(dialogue.encode(), digest_size=8).digest(), "big") % parts


def cross_validated(data: Dialogues) -> list[tuple[str, JudgedRow]]:
    """Judge every fold by rules and a model trained on the other folds, starting from the shipped weights."""
    start, outcomes = shipped_weights("followup-v1"), []
    for fold in range(FOLDS):
        known = [row for dialogue, row in data if part_of(dialogue, FOLDS) != fold]
        asked = [(dialogue, row) for dialogue, row in data if part_of(dialogue, FOLDS) == fold]
        tier = Local.shipped(FOLLOWUP, train_own(known, FOLLOWUP, name="own", start=start))
        judged = asyncio.run(judge_rows(tier, [row for _, row in asked]))
        outcomes += [(dialogue, outcome) for (dialogue, _), outcome in zip(asked, judged, strict=True)]
    return outcomes


def shown(found: Mapping[str, Any]) -> list[str]:
    """Return the cells of a report, in the order of the table's head."""
    polarity = found["polarity"]
    values = (
        polarity["macro_f1"],
        polarity["kappa"],
        polarity["negative_precision"],
        polarity["negative_recall"],
        found["sign_flip_rate"],
        found["ece"],
        found["coverage"],
        found["gated"]["polarity"]["negative_precision"],
    )
    return [f"{value:.3f}" for value in values]


def quality_table(data: Dialogues, own: Sequence[tuple[str, JudgedRow]]) -> str:
    """Compare the shipped tiers and the one trained on other dialogues, over all rows and over the held-out half."""
    rows = [row for _, row in data]
    unseen = [row for dialogue, row in data if part_of(dialogue, 2)]
    lines = []
    for tier in shipped_tiers():
        lines += [[tier.name, "all", *shown(asyncio.run(evaluate(tier, rows)))]]
        lines += [[tier.name, "held out", *shown(asyncio.run(evaluate(tier, unseen)))]]
    lines.append(["own", "all", *shown(build_report([outcome for _, outcome in own], FOLLOWUP))])
    held = [outcome for dialogue, outcome in own if part_of(dialogue, 2)]
    lines.append(["own", "held out", *shown(build_report(held, FOLLOWUP))])
    return as_table(["tier", "rows", *_MEASURES], lines)


def shift_table(data: Dialogues) -> str:
    """Show what share of chit-chat each tier calls negative, positive or neither."""
    parts = {"all": [row for _, row in data], "held out": [row for dialogue, row in data if part_of(dialogue, 2)]}
    lines = []
    for tier in shipped_tiers():
        for part, rows in parts.items():
            called = asyncio.run(evaluate(tier, rows))["called"]
            lines.append([tier.name, part, *(f"{called[side]:.3f}" for side in POLARITIES)])
    return as_table(["tier", "rows", *POLARITIES], lines)


def rules_table(data: Dialogues) -> str:
    """Show what is true where each rule counts."""
    rules, truth = load_shipped_rules(FOLLOWUP), Counter[tuple[str, str]]()
    for _, row in data:
        match = rules.find_best(normalise_turn(row.turn.cut()))
        if match:
            truth[match.rule_id, row.polarity or ""] += 1
    said = {rule.rule_id: FOLLOWUP.label(rule.label).polarity for rule in rules.rules}
    fires = Counter(rule_id for rule_id, _ in truth.elements())
    return as_table(
        ["rule", "says", "counts", "right"],
        [[name, said[name], str(n), f"{truth[name, said[name]] / n:.2f}"] for name, n in fires.most_common()],
    )


def cost_table(turns: Sequence[Turn], repeats: int) -> str:
    """Show microseconds a verdict for ordinary turns, those that say what was chosen, and the longest ever judged."""
    balanced = [row.turn for row in parse_rows(read_balanced_set(), FOLLOWUP, strict=True).rows if row.turn.about]
    longest = {
        "2,000 letters": Turn("ab cd no " * 223, "ab cd no " * 445, "ab cd no " * 223),
        "2,000 Chinese characters": Turn("不对这是错的" * 334, "不对这是错的" * 667, "不对这是错的" * 334),
    }
    lines = []
    for tier in shipped_tiers():
        cells = [_microseconds(tier.verdict, each, repeats) for each in (turns, balanced)]
        cells += [_microseconds(tier.verdict, [turn] * 50, repeats) for turn in longest.values()]
        lines.append([tier.name, *(f"{cell:.0f}" for cell in cells)])
    return as_table(["tier", "ordinary", "with `about`", *longest], lines)


def shipped_tiers() -> list[LocalTier]:
    """Return the tiers that ship."""
    return [load_shipped_rules(FOLLOWUP), Classifier.shipped("followup-v1"), Local.shipped()]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data" / "judge")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only-costs", action="store_true")
    options = parser.parse_args()
    turns = [
        Turn("Recommend a film", "How about Harbour Lights?", f"not really my thing, number {n}") for n in range(300)
    ]
    if options.data.is_dir():
        recommending, chatting = (dialogues(options.data / name) for name in ("iard_dev.jsonl", "tiage_dev.jsonl"))
        turns = [row.turn for _, row in recommending]
    if options.data.is_dir() and not options.only_costs:
        for title, table in {
            "Recommendation dialogues": quality_table(recommending, cross_validated(recommending)),
            "Chit-chat": shift_table(chatting),
            "Rules on recommendation dialogues": rules_table(recommending),
        }.items():
            print(f"{title}\n\n{table}\n")
    print(f"Microseconds a verdict\n\n{cost_table(turns, options.repeats)}")


def _microseconds(verdict: Callable[..., object], turns: Sequence[Turn], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        for turn in turns:
            verdict(turn.cut())
        times.append(time.process_time() - start)
    return min(times) / len(turns) * 1e6


def as_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Write a table as Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
