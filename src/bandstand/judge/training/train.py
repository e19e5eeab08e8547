"""Training: the shipped models from the project's own sentences, bit for bit, and a team's own from its labelled turns.

``python -m bandstand.judge.training.train`` remakes what is measured or learned under ``data/``: the precision of the
rules, the weights of both models, those that hear feedback, and a record of how all were made. With ``--check`` it
compares instead of writing, and fails where they differ.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from bandstand.errors import InvalidRequestError
from bandstand.judge.calibration import MIN_EXAMPLES
from bandstand.judge.local.classifier import Classifier, Floats, Weights
from bandstand.judge.local.feedback import TAXONOMY as FEEDBACK_TAXONOMY
from bandstand.judge.local.ngrams import SIDE, Features, extract_buckets, extract_features
from bandstand.judge.local.normalise import NormalisedTurn, normalise_turn
from bandstand.judge.local.rulebook import NO_RULE, load_shipped_rules
from bandstand.judge.taxonomy import SHIPPED_TAXONOMIES, Taxonomy, shipped_taxonomy
from bandstand.judge.training.corpus import Example, generate_examples
from bandstand.judge.training.dataset import LabelledTurn
from bandstand.judge.training.feedback import build_feedback_record, read_written_turns, train_feedback
from bandstand.judge.training.softmax import DesignMatrix, compute_softmax, fit

SEED: Final = 20_240_501
TRAINING_RECORD: Final = "training.json"
PER_SENTENCE: Final = 3
MIN_ROWS: Final = MIN_EXAMPLES

_ABOUT_SHARE: Final = 0.3
"""How much a turn that says what was chosen teaches about those that do not."""
_DECAY: Final = 1.0
_ITERATIONS: Final = 300
_TEMPERATURE_ITERATIONS: Final = 150
"""For the weights that only the temperature is fitted with."""
_OWN_ITERATIONS: Final = 100
_HELD_OUT: Final = 5
"""One sentence in so many is kept from the weights that the temperature is fitted with."""
FIRST_ITERATIONS: Final = 10
"""Of each fit: how far a training goes that only shows that it would still be the recorded one."""
_TEMPERATURES: Final = tuple(0.5 + step / 100 for step in range(251))

# What share of follow-ups each label is taken to have. The corpus holds more complaints than people make, because there
# are more ways to complain than to say nothing.
_LABEL_SHARES: Final[Mapping[str, Mapping[str, float]]] = {
    "followup-v1": {
        "neg_constraint_restate": 0.06,
        "neg_correction": 0.15,
        "neg_confusion": 0.06,
        "pos_praise": 0.16,
        "pos_progress": 0.14,
        "neutral": 0.37,
        "topic_shift": 0.06,
    },
    "correction-v1": {
        "explicit_rejection": 0.15,
        "alternative_request": 0.08,
        "repetition": 0.07,
        "self_correction": 0.05,
        "neutral": 0.65,
    },
}

_Mask = NDArray[np.bool_]


def train_shipped(
    taxonomy: Taxonomy,
    corpus: Sequence[Example],
    readings: Sequence[NormalisedTurn],
    *,
    max_iterations: int = _ITERATIONS,
) -> Weights:
    """Train the model that ships for a taxonomy; the same corpus always gives the same weights.

    First the side of turns that do not say what was chosen, from all turns as if none did, those that do at a share of
    their weight: what users say of a behaviour is little of what they say of an answer. Then the other side, from
    where the first has come to, by the turns that do. The temperature is fitted to sentences of the first kind that the
    weights it divides were not, then the weights to all.

    Args:
        taxonomy: a shipped one.
        corpus: from :func:`bandstand.judge.training.corpus.generate_examples`.
        readings: of each example's turn.
        max_iterations: after how many gradient steps each fit ends at the latest.
    """
    labels = [example.labels[taxonomy.name] for example in corpus]
    allowed = np.array([[name == label for name in taxonomy.label_names] for label in labels])
    has_about = np.array([bool(example.turn.about) for example in corpus])
    held_out = np.array([crc32(example.source.encode()) % _HELD_OUT == 0 for example in corpus])
    shares = np.array([_LABEL_SHARES[taxonomy.name][name] for name in taxonomy.label_names])
    is_plain = np.array([not example.about_only for example in corpus])
    plain_counts = np.zeros(len(corpus))
    for side, share in ((has_about & is_plain, _ABOUT_SHARE), (~has_about, 1.0)):
        plain_counts[side] = share * _compute_counts(allowed[side], shares)
    plain = [extract_features(replace(reading, about=())) for reading in readings]
    about = [extract_features(reading) for reading in readings if reading.about]

    def fit_plain(chosen: _Mask, iterations: int) -> tuple[Floats, Floats]:
        design = DesignMatrix.from_features(_select_features(plain, chosen))
        steps = min(iterations, max_iterations)
        return fit(design, allowed[chosen], plain_counts[chosen], decay=_DECAY, iterations=steps)

    weights, bias = fit_plain(is_plain & ~held_out, _TEMPERATURE_ITERATIONS)
    asked = held_out & ~has_about
    unseen = DesignMatrix.from_features(_select_features(plain, asked)).compute_product(weights.T) + bias
    temperature = find_best_temperature(unseen, allowed[asked], plain_counts[asked])
    weights, bias = fit_plain(is_plain, _ITERATIONS)
    weights, bias = fit(
        DesignMatrix.from_features(about),
        allowed[has_about],
        _compute_counts(allowed[has_about], shares),
        decay=_DECAY,
        iterations=min(_ITERATIONS, max_iterations),
        start=(np.concatenate([weights[:SIDE], weights[:SIDE]]), bias),
        learns_bias=False,
    )
    return Weights.from_floats(weights, bias, name=f"{taxonomy.name}-local", taxonomy=taxonomy, temperature=temperature)


def _compute_counts(allowed: _Mask, shares: Floats) -> Floats:
    """Return how much each example weighs, so that every label has its share and all together their number."""
    found = allowed.sum(axis=0)
    wanted = np.where(found > 0, shares, 0.0)
    return np.asarray((allowed * (wanted / wanted.sum() / np.maximum(found, 1))).sum(axis=1) * len(allowed))


def train_own(rows: Sequence[LabelledTurn], taxonomy: Taxonomy, *, name: str, start: Weights | None = None) -> Weights:
    """Train a model on a team's own labelled turns.

    A row with a label teaches that label; one with a polarity alone teaches that it is some label of that polarity.
    Learning starts from ``start`` and is drawn back to it, so a few hundred rows move what they are about, and how
    common each label is, but leave the rest.

    Args:
        rows: labelled turns; those with neither label nor polarity are left out.
        taxonomy: whose labels they have.
        name: for verdicts and people.
        start: weights for the same labels, such as the shipped ones; from nothing if left out.

    Raises:
        InvalidRequestError: fewer than 20 rows have a label or a polarity.
        ConfigurationError: ``start`` has other labels.
    """
    known = [row for row in rows if row.label is not None or row.polarity is not None]
    if len(known) < MIN_ROWS:
        raise InvalidRequestError(
            f"training needs at least {MIN_ROWS} rows with a label or a polarity, not {len(known)}"
        )
    if start is not None:
        start.require_labels_of(taxonomy)
    weights, bias = fit(
        DesignMatrix.from_features([extract_features(normalise_turn(row.turn.cut())) for row in known]),
        np.array([_compute_allowed(row, taxonomy) for row in known]),
        np.ones(len(known)),
        decay=_DECAY,
        iterations=_OWN_ITERATIONS,
        start=start.to_logit_floats() if start is not None else None,
    )
    return Weights.from_floats(weights, bias, name=name, taxonomy=taxonomy, temperature=1.0)


def find_best_temperature(logits: Floats, allowed: _Mask, counts: Floats) -> float:
    """Return the temperature T in [0.5, 3] that makes softmax(logits / T) likeliest (Guo et al. 2017)."""

    def compute_loss(temperature: float) -> float:
        right = (compute_softmax(logits / temperature) * allowed).sum(axis=1)
        return float(-(counts * np.log(right)).sum())

    return min(_TEMPERATURES, key=compute_loss)


def compute_rule_precision(
    taxonomy: Taxonomy, corpus: Sequence[Example], readings: Sequence[NormalisedTurn]
) -> dict[str, Any]:
    """Measure every shipped rule on the corpus: of the turns where it counts, the share where it is right.

    Examples that teach nothing about plain turns are left out: they were written for what rules do not cover.
    A rule that takes a stand is right about the polarity, any other about the label. Laplace's (right + 1)/(fires + 2),
    so that a rule seen twice is not certain. ``none`` is the share of neutral turns among those where no rule fires.
    """
    rules = load_shipped_rules(taxonomy, precision={})
    fires: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for example, reading in zip(corpus, readings, strict=True):
        if example.about_only:
            continue
        match = rules.find_best(reading)
        rule_id, label = (match.rule_id, match.label) if match else (NO_RULE, taxonomy.neutral.name)
        fires[rule_id] += 1
        right[rule_id] += _agrees(taxonomy, label, example.labels[taxonomy.name])
    return {
        rule_id: {
            "fires": fires[rule_id],
            "right": right[rule_id],
            "precision": round((right[rule_id] + 1) / (fires[rule_id] + 2), 4),
        }
        for rule_id in sorted({*fires, *(rule.rule_id for rule in rules.rules)})
    }


def build_shipped_files() -> Iterator[tuple[str, bytes]]:
    """Remake every file that is measured or learned: its name under ``data/`` and its content."""
    corpus, readings = read_corpus()
    taxonomies = [shipped_taxonomy(name) for name in SHIPPED_TAXONOMIES]
    precision = {taxonomy.name: compute_rule_precision(taxonomy, corpus, readings) for taxonomy in taxonomies}
    counted = sum(not example.about_only for example in corpus)
    document = {"seed": SEED, "examples": counted, "taxonomies": precision}
    yield "rules/precision.json", f"{json.dumps(document, indent=1)}\n".encode()
    records = {}
    for taxonomy in taxonomies:
        weights = train_shipped(taxonomy, corpus, readings)
        records[taxonomy.name] = build_training_record(taxonomy, corpus, readings, weights)
        yield f"{taxonomy.name}.npz", weights.to_bytes()
        if taxonomy.name == FEEDBACK_TAXONOMY:
            measured = {name: entry["precision"] for name, entry in precision[taxonomy.name].items()}
            witnesses = load_shipped_rules(taxonomy, precision=measured), Classifier(weights, taxonomy)
            rows = read_written_turns()
            heard = train_feedback(rows, *witnesses)
            records["feedback"] = build_feedback_record(rows, *witnesses, heard, FIRST_ITERATIONS)
            yield "feedback.npz", heard.to_bytes()
    yield TRAINING_RECORD, f"{json.dumps(records, indent=1)}\n".encode()


def read_corpus() -> tuple[list[Example], list[NormalisedTurn]]:
    """Return the examples that the shipped models learn from, and the reading of each one's turn."""
    corpus = list(generate_examples(SEED, PER_SENTENCE))
    return corpus, [normalise_turn(example.turn.cut()) for example in corpus]


def build_training_record(
    taxonomy: Taxonomy, corpus: Sequence[Example], readings: Sequence[NormalisedTurn], weights: Weights
) -> dict[str, Any]:
    """Describe how weights were made, so that seconds suffice to see whether they would be made so again.

    A training is determined by its examples, its parameters and its arithmetic. The first two are hashed as what enters
    the fits; what they and the arithmetic make shows in the first iterations, rounded as it ships. Arithmetic that
    differs only after these is for the whole training to find (``--check``).

    Args:
        taxonomy: a shipped one.
        corpus: what they learned from.
        readings: of each example's turn.
        weights: what came of all iterations.

    Returns:
        A JSON object: the iterations of the fits, and the hashes of the examples, of the weights after the first
        iterations, and of those after all.
    """
    first = train_shipped(taxonomy, corpus, readings, max_iterations=FIRST_ITERATIONS)
    return {
        "iterations": [_TEMPERATURE_ITERATIONS, _ITERATIONS, _ITERATIONS],
        "examples": _hash_examples(taxonomy, corpus, readings),
        "first_weights": first.hash,
        "weights": weights.hash,
    }


def _hash_examples(taxonomy: Taxonomy, corpus: Sequence[Example], readings: Sequence[NormalisedTurn]) -> str:
    """Hash labels and buckets, which are whole numbers: a single word that changes would round away in weights."""
    digest = hashlib.sha256()
    for example, reading in zip(corpus, readings, strict=True):
        digest.update(f"{example.labels[taxonomy.name]} {example.source} {example.about_only}\n".encode())
        digest.update(extract_buckets(reading).ids.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def main(arguments: Sequence[str] | None = None) -> int:
    """Remake the shipped files, or check that they are what would be made; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bandstand.judge.training.train", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with what is there, write nothing")
    parser.add_argument("--to", type=Path, default=Path(__file__).parents[1] / "data", help="where the files are")
    options = parser.parse_args(arguments)
    differing = 0
    for name, content in build_shipped_files():
        path = options.to / name
        same = path.exists() and path.read_bytes() == content
        differing += not same
        if not same and not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        state = "the same" if same else "differs" if options.check else "written"
        sys.stdout.write(f"{name}: {len(content):,} bytes, {state}\n")
    return 1 if options.check and differing else 0


def _agrees(taxonomy: Taxonomy, said: str, true: str) -> bool:
    """Return whether a rule is right: where it takes a stand, in its polarity; else in its label."""
    polarity = taxonomy.label(said).polarity
    return said == true or (polarity != "other" and polarity == taxonomy.label(true).polarity)


def _compute_allowed(row: LabelledTurn, taxonomy: Taxonomy) -> list[bool]:
    if row.label is not None:
        return [label.name == row.label for label in taxonomy.labels]
    return [label.polarity == row.polarity for label in taxonomy.labels]


def _select_features(features: Sequence[Features], mask: _Mask) -> list[Features]:
    return [turn for turn, taken in zip(features, mask.tolist(), strict=True) if taken]


if __name__ == "__main__":
    sys.exit(main())
