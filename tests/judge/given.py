"""What the judge's tests start from: the shipped tiers, verdicts, and the dialogues beside the project."""

import runpy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from bandstand.judge.local.local_judge import Local
from bandstand.judge.local.normalise import NormalisedTurn, normalise_turn
from bandstand.judge.taxonomy import shipped_taxonomy
from bandstand.judge.training.dataset import LabelledTurn
from bandstand.judge.training.judged_row import JudgedRow
from bandstand.judge.turn import Turn
from bandstand.judge.verdict import Unscored, UnscoredReason, Verdict
from bandstand.prompts.library import Prompt, PromptLibrary, prompts_directory

LAW = settings(deadline=None, derandomize=True)
"""A property is a law or it is not: the same examples in every run, and no limit of time on a shared machine."""

FOLLOWUP = shipped_taxonomy("followup-v1")
CORRECTION = shipped_taxonomy("correction-v1")

TOLD = "Here is the summary."
OFFERED = "Done. Would you like more?"

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "judge"
BENCHMARK = runpy.run_path(str(ROOT / "benchmarks" / "judge_local.py"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the annotated dialogues are not beside the project")


@cache
def local(taxonomy: str = "followup-v1") -> Local:
    return Local.shipped(shipped_taxonomy(taxonomy))


@cache
def judge_prompt(version: str = "v1") -> Prompt:
    prompt = PromptLibrary.load(prompts_directory()).get("judge", version)
    assert prompt is not None
    return prompt


def normalise_message(message: str, answer: str = TOLD, question: str = "") -> NormalisedTurn:
    return normalise_turn(Turn(question, answer, message).cut())


def verdict(label: str = "neg_correction", confidence: float = 0.9, **more: Any) -> Verdict:
    fields = {"taxonomy": "followup-v1", "rationale": "", "tier": "local", "model": "m@1", **more}
    return Verdict(label=label, confidence=confidence, **fields)


def unscored(reason: UnscoredReason = UnscoredReason.TIMEOUT) -> Unscored:
    return Unscored(taxonomy="followup-v1", reason=reason, tier="llm", model="m@1")


@cache
def load_dialogues(name: str) -> list[tuple[str, LabelledTurn]]:
    """The rows of a data file, each with the dialogue it is from."""
    rows: list[tuple[str, LabelledTurn]] = BENCHMARK["dialogues"](DATA / name)
    return rows


@cache
def cross_validated() -> list[tuple[str, JudgedRow]]:
    """Every turn about films, judged by a model trained on other dialogues."""
    outcomes: list[tuple[str, JudgedRow]] = BENCHMARK["cross_validated"](load_dialogues("iard_dev.jsonl"))
    return outcomes


def is_held_out(dialogue: str) -> bool:
    """Whether a dialogue is of the half that nothing was tuned on; the split that docs/judge.md states."""
    return int(BENCHMARK["part_of"](dialogue, 2)) == 1
