import json
from collections.abc import Sequence

import pytest

from bandstand.judge.training import metrics
from bandstand.simulate.judges.judge import Judged
from bandstand.simulate.run.judge_agreement import Hearing
from bandstand.simulate.run.learner import Heard
from bandstand.simulate.run.play import Past
from bandstand.simulate.world.chat import taxonomy
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


def heard(turns: Sequence[tuple[str, str | None, float | None]]) -> Hearing:
    hearing = Hearing()
    hearing.add(
        Past(0, Judged(Reaction(true, 0, taxonomy().label(true).reward), "rule"), Heard(said, taught))
        for true, said, taught in turns
    )
    return hearing


def test_it_is_told_as_an_evaluation_tells_it() -> None:
    found = heard(TURNS).summary()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    scored = [(true, said) for true, said, _ in TURNS if said is not None]
    true, said = [each for each, _ in scored], [each for _, each in scored]
    assert found["labels"]["accuracy"] == metrics.accuracy(true, said)
    assert found["labels"]["macro_f1"] == pytest.approx(metrics.macro_f1(true, said))
    assert found["labels"]["confusion"] == metrics.confusion(true, said)
    meant, called = ([taxonomy().label(name).polarity for name in names] for names in (true, said))
    assert found["polarity"]["macro_f1"] == pytest.approx(metrics.macro_f1(meant, called))
    assert found["polarity"]["negative_precision"] == metrics.precision(meant, called, "negative")
    assert found["polarity"]["negative_recall"] == metrics.recall(meant, called, "negative")
    assert found["polarity"]["confusion"] == metrics.confusion(meant, called)
    assert found["sign_flips"] == metrics.sign_flip_rate(meant, [taxonomy().label(name).reward for name in said])


def test_what_is_above_the_gate_is_counted_by_what_it_taught() -> None:
    found = heard(TURNS).summary()
    assert (found["turns"], found["unscored"], found["coverage"]) == (9, 1, 6 / 9)
    assert sum(sum(row.values()) for row in found["gated"]["polarity"]["confusion"].values()) == 6
    # Confusion heard as praise, and praise that taught a negative mean; progress is of no side.
    assert found["gated"]["sign_flips"] == 2 / 6
    assert found["sign_flips"] == 1 / 8


def test_steps_in_which_nobody_listened_do_not_count() -> None:
    hearing = Hearing()
    hearing.add([Past(0, Judged(Reaction("done", 20_000, 1.0), "rule"))])
    found = hearing.summary()
    assert (found["turns"], found["coverage"], found["polarity"]["macro_f1"]) == (0, None, None)


def test_it_does_not_matter_in_how_many_parts_it_came() -> None:
    parts = heard(TURNS[:4])
    parts.add(Past(0, Judged(Reaction(true, 0, 0.0), "rule"), Heard(said, taught)) for true, said, taught in TURNS[4:])
    assert parts.summary() == heard(TURNS).summary()
