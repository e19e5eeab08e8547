import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from bandstand.errors import ConfigurationError, InvalidRequestError
from bandstand.judge.local.classifier import Classifier, shipped_weights
from bandstand.judge.local.feedback import load_shipped_feedback
from bandstand.judge.local.rulebook import load_shipped_rules
from bandstand.judge.taxonomy import SHIPPED_TAXONOMIES, Polarity, Taxonomy, shipped_taxonomy
from bandstand.judge.training import train
from bandstand.judge.training.dataset import LabelledTurn
from bandstand.judge.training.feedback import build_feedback_record, read_written_turns
from bandstand.judge.training.softmax import compute_softmax
from bandstand.judge.turn import Turn
from tests.judge.given import CORRECTION, FOLLOWUP, TOLD

ELEPHANTS = [f"{word} elephants {number}" for number in range(10) for word in ("blue", "many", "oh")]
GIRAFFES = [f"{word} giraffes {number}" for number in range(10) for word in ("blue", "many", "oh")]


def rows(label: str | None, polarity: Polarity | None, messages: list[str]) -> list[LabelledTurn]:
    return [LabelledTurn(line, Turn("", TOLD, message), label, polarity, None) for line, message in enumerate(messages)]


def classify_message(classifier: Classifier, message: str) -> str:
    return classifier.verdict(Turn("", TOLD, message).cut()).label


def test_a_team_teaches_words_of_its_own_and_the_rest_stays() -> None:
    others = rows("neutral", None, ["i see", "let me think", "one moment", "alright then"] * 15)
    taught = [*rows("neg_correction", None, ELEPHANTS), *rows("pos_praise", None, GIRAFFES), *others]
    before = Classifier.shipped("followup-v1")
    after = Classifier(train.train_own(taught, FOLLOWUP, name="team", start=shipped_weights("followup-v1")), FOLLOWUP)
    assert classify_message(after, "so many elephants") == "neg_correction"
    assert classify_message(after, "so many giraffes") == "pos_praise"
    for message in ("that's wrong", "exactly what i needed", "i don't understand", "谢谢", "不对", "das ist falsch"):
        assert (
            FOLLOWUP.label(classify_message(after, message)).polarity
            == FOLLOWUP.label(classify_message(before, message)).polarity
        )


def test_a_polarity_alone_teaches_the_polarity() -> None:
    taught = [*rows(None, "negative", ELEPHANTS), *rows(None, "positive", GIRAFFES)]
    after = Classifier(train.train_own(taught, FOLLOWUP, name="team", start=shipped_weights("followup-v1")), FOLLOWUP)
    assert FOLLOWUP.label(classify_message(after, "so many elephants")).polarity == "negative"
    assert FOLLOWUP.label(classify_message(after, "so many giraffes")).polarity == "positive"


def test_a_taxonomy_of_ones_own_is_learned_from_nothing() -> None:
    definition = {
        "name": "animals",
        "labels": {"grey": {"reward": -1, "means": "grey"}, "tall": {"reward": 1, "means": "tall"}},
    }
    taxonomy = Taxonomy.parse(definition)
    taught = [*rows("grey", None, ELEPHANTS), *rows("tall", None, GIRAFFES)]
    classifier = Classifier(train.train_own(taught, taxonomy, name="animals"), taxonomy)
    assert [classify_message(classifier, message) for message in ("an elephants herd", "two giraffes")] == [
        "grey",
        "tall",
    ]


def test_training_twice_gives_the_same_weights() -> None:
    taught = rows("neg_correction", None, ELEPHANTS)
    one, other = (train.train_own(taught, FOLLOWUP, name="team").to_bytes() for _ in range(2))
    assert one == other


def test_too_few_rows_and_a_start_with_other_labels_are_refused() -> None:
    few = rows("neutral", None, ELEPHANTS[:19]) + rows(None, None, ELEPHANTS)
    with pytest.raises(InvalidRequestError, match="at least 20"):
        train.train_own(few, FOLLOWUP, name="team")
    with pytest.raises(ConfigurationError, match="other labels"):
        train.train_own(rows("neutral", None, ELEPHANTS), CORRECTION, name="team", start=shipped_weights("followup-v1"))


def test_the_temperature_makes_confidence_true() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(4_000, 3)) * 2
    drawn = np.array([rng.choice(3, p=p) for p in compute_softmax(logits)])
    allowed = np.eye(3, dtype=np.bool_)[drawn]
    assert train.find_best_temperature(logits, allowed, np.ones(4_000)) == pytest.approx(1.0, abs=0.1)
    assert train.find_best_temperature(logits * 2, allowed, np.ones(4_000)) == pytest.approx(2.0, abs=0.2)


def test_the_shipped_precision_is_what_is_measured() -> None:
    name, content = next(train.build_shipped_files())
    assert name == "rules/precision.json"
    assert read_shipped(name) == content


def test_a_check_compares_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [(name, read_shipped(name)) for name in ("rules/precision.json", "followup-v1.npz")]
    monkeypatch.setattr(train, "build_shipped_files", lambda: iter(made))
    assert train.main(["--check"]) == 0
    assert train.main(["--check", "--to", str(tmp_path)]) == 1
    assert list(tmp_path.iterdir()) == []
    assert train.main(["--to", str(tmp_path)]) == 0
    assert train.main(["--check", "--to", str(tmp_path)]) == 0


@pytest.mark.slow
def test_the_shipped_weights_would_be_made_again_bit_for_bit() -> None:
    """All of it takes minutes of computing. Its first iterations, over all examples, tell any change."""
    records = json.loads(read_shipped(train.TRAINING_RECORD))
    corpus, readings = train.read_corpus()
    for name in SHIPPED_TAXONOMIES:
        made = train.build_training_record(shipped_taxonomy(name), corpus, readings, shipped_weights(name))
        assert made == records.pop(name)
    rules, classifier, weights = (
        load_shipped_rules(FOLLOWUP),
        Classifier.shipped(FOLLOWUP.name),
        load_shipped_feedback(),
    )
    heard = build_feedback_record(read_written_turns(), rules, classifier, weights, train.FIRST_ITERATIONS)
    assert heard == records.pop("feedback")
    assert records == {}


def read_shipped(name: str) -> bytes:
    return resources.files("bandstand.judge").joinpath("data", name).read_bytes()
