"""What the judge's tests start from: the shipped taxonomies and tiers, labelled turns, and the data beside the project."""

import json
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from bandstand.judge.local import Local
from bandstand.judge.reading import Reading, read
from bandstand.judge.rows import Row, parse_rows
from bandstand.judge.taxonomy import shipped_taxonomy
from bandstand.judge.turn import Turn
from bandstand.judge.verdict import Unscored, UnscoredReason, Verdict

LAW = settings(deadline=None, derandomize=True)
"""A property is a law or it is not: the same examples in every run, and no limit of time on a shared machine."""

FOLLOWUP = shipped_taxonomy("followup-v1")
CORRECTION = shipped_taxonomy("correction-v1")

TOLD = "Here is the summary."
OFFERED = "Done. Would you like more?"

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "judge"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the annotated dialogues are not beside the project")


@cache
def local(taxonomy: str = "followup-v1") -> Local:
    return Local.shipped(shipped_taxonomy(taxonomy))


def reading(message: str, answer: str = TOLD, question: str = "") -> Reading:
    return read(Turn(question, answer, message).cut())


def verdict(label: str = "neg_correction", confidence: float = 0.9, **more: Any) -> Verdict:
    fields = {"taxonomy": "followup-v1", "rationale": "", "tier": "local", "model": "m@1", **more}
    return Verdict(label=label, confidence=confidence, **fields)


def unscored(reason: UnscoredReason = UnscoredReason.TIMEOUT) -> Unscored:
    return Unscored(taxonomy="followup-v1", reason=reason, tier="llm", model="m@1")


def lines(name: str) -> list[str]:
    return (DATA / name).read_text(encoding="utf-8").splitlines()


def dialogues(name: str) -> list[tuple[str, Row]]:
    """The rows of a data file, each with the dialogue it is from."""
    rows = parse_rows(lines(name), FOLLOWUP, strict=True).rows
    return [(json.loads(line)["id"].rsplit("-", 1)[0], row) for line, row in zip(lines(name), rows, strict=True)]


def share_of(dialogue: str, parts: int) -> int:
    """Which of so many parts a dialogue belongs to; the split that docs/judge.md states."""
    return int.from_bytes(blake2b(dialogue.encode(), digest_size=8).digest(), "big") % parts


def held_out(rows: Sequence[tuple[str, Row]]) -> list[Row]:
    """The half that nothing was tuned on."""
    return [row for dialogue, row in rows if share_of(dialogue, 2) == 1]
