import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.errors import ConfigurationError
from bandstand.judge.local.classifier import Classifier, Weights, build_verdict, shipped_weights
from bandstand.judge.local.ngrams import BUCKETS
from bandstand.judge.taxonomy import SHIPPED_TAXONOMIES
from bandstand.judge.turn import Turn
from tests.judge.given import CORRECTION, FOLLOWUP, LAW, OFFERED, TOLD, normalise_message

CLASSIFIER = Classifier.shipped("followup-v1")


def random_weights(seed: int = 0) -> Weights:
    rng = np.random.default_rng(seed)
    return Weights.from_floats(
        rng.normal(size=(BUCKETS, 7)), rng.normal(size=7), name="random", taxonomy=FOLLOWUP, temperature=1.5
    )


def rewrite_weights(weights: Weights, header: dict[str, Any] | None = None, **arrays: Any) -> bytes:
    with np.load(io.BytesIO(weights.to_bytes())) as file:
        parts = {name: file[name] for name in file}
    stated = json.loads(parts["header"].tobytes()) | (header or {})
    parts["header"] = np.frombuffer(json.dumps(stated).encode(), np.uint8)
    changed = io.BytesIO()
    np.savez(changed, **(parts | arrays))
    return changed.getvalue()


@pytest.mark.parametrize("name", SHIPPED_TAXONOMIES)
def test_the_shipped_weights_are_small(name: str) -> None:
    assert len(shipped_weights(name).to_bytes()) < 1_000_000


@LAW
@given(st.text(max_size=200), st.sampled_from([TOLD, OFFERED]))
def test_the_probabilities_are_a_distribution(message: str, answer: str) -> None:
    normalised = normalise_message(message, answer)
    p = CLASSIFIER.predict_probabilities(normalised)
    assert p.shape == (7,)
    assert np.all(p >= 0)
    assert np.all(p > 0) or normalised.is_aside, "only what speaks of something else has labels that it cannot be"
    assert p.sum() == pytest.approx(1)


def test_a_file_gives_the_weights_back_and_the_same_bytes() -> None:
    weights = random_weights()
    again = Weights.from_bytes(weights.to_bytes())
    assert again.to_bytes() == weights.to_bytes()
    assert again.hash == weights.hash
    np.testing.assert_array_equal(again.table, weights.table)


def test_quantising_moves_no_weight_by_more_than_half_a_step() -> None:
    rng = np.random.default_rng(3)
    exact = rng.normal(size=(BUCKETS, 7))
    stored = Weights.from_floats(exact, np.zeros(7), name="x", taxonomy=FOLLOWUP, temperature=2.0)
    weights, _ = stored.to_logit_floats()
    assert np.all(np.abs(weights * 2.0 - exact) <= stored.steps / 2 * 1.001)


def test_every_stored_number_counts_for_the_hash() -> None:
    weights = random_weights()
    other = random_weights()
    other.table[0, 0] += 1
    assert len({weights.hash, other.hash, random_weights(1).hash}) == 3


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no weights file"),
        (b"PK\x03\x04 nonsense", "no weights file"),
        (rewrite_weights(random_weights(), {"format": 2}), "another version"),
        (rewrite_weights(random_weights(), {"features": 99}), "another version"),
        (rewrite_weights(random_weights(), table=np.zeros((3, 7), np.int8)), "wrong shape"),
        (rewrite_weights(random_weights(), table=np.zeros((BUCKETS, 7), np.int8)), "hash"),
    ],
)
def test_a_damaged_file_is_refused(content: bytes, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        Weights.from_bytes(content)


def test_a_file_cannot_hold_code() -> None:
    pickled = io.BytesIO()
    np.savez(pickled, header=np.array([{"a": print}], dtype=object))
    with pytest.raises(ConfigurationError, match="no weights file"):
        Weights.from_bytes(pickled.getvalue())


def test_weights_of_other_labels_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="other labels"):
        Classifier(shipped_weights("followup-v1"), CORRECTION)


def test_the_verdict_names_the_weights_and_carries_every_probability() -> None:
    said = CLASSIFIER.verdict(Turn("", TOLD, "that is completely wrong").cut())
    assert said.model == f"followup-v1-local@{shipped_weights('followup-v1').hash[:8]}"
    assert [name for name, _ in said.probabilities] == list(FOLLOWUP.label_names)
    assert dict(said.probabilities)[said.label] == said.confidence


async def test_it_can_be_awaited() -> None:
    turn = Turn("", TOLD, "hm").cut()
    assert await CLASSIFIER.judge(turn) == CLASSIFIER.verdict(turn)


def test_the_polarity_with_the_most_mass_is_chosen_before_the_label() -> None:
    shares = np.array([0.2, 0.25, 0.15, 0.0, 0.0, 0.4, 0.0])
    said = build_verdict(shares, FOLLOWUP, tier="t", model="m", rationale="", normalised=normalise_message("so"))
    assert (said.label, said.confidence) == ("neg_correction", 0.25)


def test_the_question_before_decides_what_no_means() -> None:
    told, asked = (dict(CLASSIFIER.verdict(Turn("", a, "no").cut()).probabilities) for a in (TOLD, OFFERED))
    assert told["neg_correction"] > asked["neg_correction"]
    assert asked["neutral"] > 0.6
