import json
from collections.abc import Sequence

import pytest

from bandstand.judge.training import metrics
from bandstand.simulate.judges.judge import JudgedReaction
from bandstand.simulate.run.judge_agreement import JudgeAgreement
from bandstand.simulate.run.learner import ChatFeedback
from bandstand.simulate.run.play import PlayedStep
from bandstand.simulate.world.chat import load_taxonomy
from bandstand.simulate.world.reaction import Reaction

# What was meant, what was heard, and what that taught.
TURNS: list[tuple[str, str | None, float | None]] = [
    ("neg_correction", "neg_correction", -0.8),
    ("neg_correction", "neg_confusion", None),
    ("neg_confusion", "pos_praise", 0.8),
    ("pos_praise", "pos_praise", 0.8),
    ("pos_praise", "neutral", -0.1),
    ("pos_progress", "neg_correction", -0.8),
    ("neutral", "neutral", 0.0),
    ("topic_shift", "topic_shift", None),
    ("neutral", None, None),
]


def build_agreement(turns: Sequence[tuple[str, str | None, float | None]]) -> JudgeAgreement:
    hearing = JudgeAgreement()
    hearing.add(
        PlayedStep(
            0, JudgedReaction(Reaction(true, 0, load_taxonomy().label(true).reward), "rule"), ChatFeedback(said, taught)
        )
        for true, said, taught in turns
    )
    return hearing


def test_it_is_told_as_an_evaluation_tells_it() -> None:
    found = build_agreement(TURNS).build_summary()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    scored = [(true, said) for true, said, _ in TURNS if said is not None]
    true, said = [each for each, _ in scored], [each for _, each in scored]
    assert found["labels"]["accuracy"] == metrics.compute_accuracy(true, said)
    assert found["labels"]["macro_f1"] == pytest.approx(metrics.compute_macro_f1(true, said))
    assert found["labels"]["confusion"] == metrics.compute_confusion(true, said)
    meant, called = ([load_taxonomy().label(name).polarity for name in names] for names in (true, said))
    assert found["polarity"]["macro_f1"] == pytest.approx(metrics.compute_macro_f1(meant, called))
    assert found["polarity"]["negative_precision"] == metrics.compute_precision(meant, called, "negative")
    assert found["polarity"]["negative_recall"] == metrics.compute_recall(meant, called, "negative")
    assert found["polarity"]["confusion"] == metrics.compute_confusion(meant, called)
    assert found["sign_flips"] == metrics.compute_sign_flip_rate(
        meant, [load_taxonomy().label(name).reward for name in said]
    )


def test_what_is_above_the_gate_is_counted_by_what_it_taught() -> None:
    found = build_agreement(TURNS).build_summary()
    assert (found["turns"], found["unscored"], found["coverage"]) == (9, 1, 6 / 9)
    assert sum(sum(row.values()) for row in found["gated"]["polarity"]["confusion"].values()) == 6
    # Confusion heard as praise, and praise that taught a negative mean; progress is of no side.
    assert found["gated"]["sign_flips"] == 2 / 6
    assert found["sign_flips"] == 1 / 8


def test_steps_in_which_nobody_listened_do_not_count() -> None:
    hearing = JudgeAgreement()
    hearing.add([PlayedStep(0, JudgedReaction(Reaction("done", 20_000, 1.0), "rule"))])
    found = hearing.build_summary()
    assert (found["turns"], found["coverage"], found["polarity"]["macro_f1"]) == (0, None, None)


def test_it_does_not_matter_in_how_many_parts_it_came() -> None:
    parts = build_agreement(TURNS[:4])
    parts.add(
        PlayedStep(0, JudgedReaction(Reaction(true, 0, 0.0), "rule"), ChatFeedback(said, taught))
        for true, said, taught in TURNS[4:]
    )
    assert parts.build_summary() == build_agreement(TURNS).build_summary()
