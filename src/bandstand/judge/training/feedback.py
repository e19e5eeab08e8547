"""The weights that hear feedback, learned from turns that people wrote in full, and what they are worth on others.

``python -m bandstand.judge.training.feedback`` prints what the local tier makes of written turns that its weights were
not learned from: five parts, split by what was chosen, so that no behaviour is known from training.
"""

import asyncio
import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from bandstand.judge.local.classifier import Classifier
from bandstand.judge.local.feedback import (
    FEEDBACK_SCALES,
    ROWS,
    TAXONOMY,
    FeedbackModel,
    FeedbackWeights,
    Hearing,
    find_facts,
)
from bandstand.judge.local.local_judge import Local
from bandstand.judge.local.ngrams import SIDE, Ids, extract_buckets
from bandstand.judge.local.normalise import normalise_turn
from bandstand.judge.local.rulebook import LANGUAGES, load_shipped_rules
from bandstand.judge.local.rules import Rules
from bandstand.judge.taxonomy import POLARITIES, shipped_taxonomy
from bandstand.judge.training.dataset import LabelledTurn, parse_rows
from bandstand.judge.training.evaluation import judge_rows
from bandstand.judge.training.judged_row import JudgedRow
from bandstand.judge.training.softmax import DesignMatrix, fit
from bandstand.judge.training.symmetry import measure_symmetry

FOLDS: Final = 5
ITERATIONS: Final = 200

_DECAY: Final = 0.4
_CAUTION: Final = 0.1
"""Added to the bias of "other", so that a stand must be heard more clearly; chosen on turns not learned from."""


def read_written_turns() -> list[LabelledTurn]:
    """Return the turns that were written in full: what was chosen, question, answer, message, polarity and target."""
    corpus = resources.files("bandstand.judge").joinpath("data", "corpus")
    lines = [
        line
        for language in LANGUAGES
        for line in corpus.joinpath(f"turns-{language}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return list(parse_rows(lines, shipped_taxonomy(TAXONOMY), strict=True).rows)


def train_feedback(
    rows: Sequence[LabelledTurn], rules: Rules, classifier: Classifier, *, iterations: int = ITERATIONS
) -> FeedbackWeights:
    """Learn to hear feedback: the polarity of turns that speak of the behaviour, "other" for all the rest.

    Args:
        rows: turns that say what was chosen, with polarity and target.
        rules: whose matches are read.
        classifier: whose masses are read; it must not have learned from these turns.
        iterations: of the fit.
    """
    return _fit_weights(rows, [extract_feedback_features(row, rules, classifier) for row in rows], iterations)


def _fit_weights(rows: Sequence[LabelledTurn], features: Sequence[Sequence[Ids]], iterations: int) -> FeedbackWeights:
    weights, bias = fit(
        DesignMatrix.from_features(features, FEEDBACK_SCALES),
        _build_truth(rows),
        np.ones(len(rows)),
        decay=_DECAY,
        iterations=iterations,
        rows=ROWS,
    )
    bias[POLARITIES.index("other")] += _CAUTION
    return FeedbackWeights.from_floats(weights, bias)


def extract_feedback_features(row: LabelledTurn, rules: Rules, classifier: Classifier) -> list[Ids]:
    """Return the buckets of a turn, a family an array."""
    normalised = normalise_turn(row.turn.cut())
    ids, starts, *_ = buckets = extract_buckets(normalised)
    stated = classifier.predict_probabilities(normalised, buckets)
    polarities = {label.name: label.polarity for label in rules.taxonomy.labels}
    masses = tuple(
        float(sum(p for p, polarity in zip(stated.tolist(), polarities.values(), strict=True) if polarity == side))
        for side in POLARITIES
    )
    facts = find_facts(Hearing(normalised, rules.matches(normalised), masses), polarities)
    return [*np.split(ids - SIDE, starts[1:]), np.array(sorted(facts), dtype=np.int64)]


def _build_truth(rows: Sequence[LabelledTurn]) -> NDArray[np.bool_]:
    sides = [row.polarity if row.target == "behaviour" else "other" for row in rows]
    return np.array([[side == polarity for polarity in POLARITIES] for side in sides])


def build_feedback_record(
    rows: Sequence[LabelledTurn], rules: Rules, classifier: Classifier, weights: FeedbackWeights, first_iterations: int
) -> dict[str, Any]:
    """Describe how weights were made, as :func:`bandstand.judge.training.train.build_training_record`."""
    digest = hashlib.sha256()
    features = [extract_feedback_features(row, rules, classifier) for row in rows]
    for row, families in zip(rows, features, strict=True):
        digest.update(f"{row.polarity} {row.target}\n".encode())
        for family in families:
            digest.update(family.astype("<i8").tobytes())
    return {
        "iterations": [ITERATIONS],
        "examples": digest.hexdigest()[:16],
        "first_weights": _fit_weights(rows, features, first_iterations).hash,
        "weights": weights.hash,
    }


async def judge_unlearned(rows: Sequence[LabelledTurn], *, iterations: int = ITERATIONS) -> list[JudgedRow]:
    """Judge each turn by the shipped rules and text model, and by weights learned from turns about other behaviours."""
    taxonomy = shipped_taxonomy(TAXONOMY)
    rules, classifier = load_shipped_rules(taxonomy), Classifier.shipped(TAXONOMY)
    outcomes: list[JudgedRow] = []
    for fold in range(FOLDS):
        parts = {is_in: [row for row in rows if (_get_fold(row) == fold) is is_in] for is_in in (False, True)}
        weights = train_feedback(parts[False], rules, classifier, iterations=iterations)
        outcomes += await judge_rows(Local(rules, classifier, FeedbackModel(weights, taxonomy)), parts[True])
    return outcomes


def _get_fold(row: LabelledTurn) -> int:
    return crc32(row.turn.about.lower().encode()) % FOLDS


def format_figures(outcomes: Sequence[JudgedRow]) -> Iterator[str]:
    """Yield a table of what teaches, by language and for all."""
    yield "| turns | n | feedback that teaches its sign | wrong way | taught without feedback |"
    yield "|---|---|---|---|---|"
    for language in (*LANGUAGES, ""):
        chosen = [outcome for outcome in outcomes if language in {"", outcome.row.language}]
        found = measure_symmetry(chosen, shipped_taxonomy(TAXONOMY))
        cells = (_format_share(found[name]) for name in ("right", "wrong_way", "false_teaching"))
        yield f"| written, {language or 'all'} | {len(chosen)} | {' | '.join(cells)} |"


def _format_share(share: Mapping[str, float]) -> str:
    return f"{share['value']:.3f} ± {share['error']:.3f}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in format_figures(asyncio.run(judge_unlearned(read_written_turns()))))
