import re
from collections import Counter

from bandstand.judge.local.rulebook import LANGUAGES
from bandstand.judge.local.tokens import normalise_text, split_tokens
from bandstand.judge.training.corpus import generate_examples
from tests.judge.given import CORRECTION, FOLLOWUP, load_dialogues, needs_data

CORPUS = list(generate_examples(seed=1, per_sentence=1))


def test_the_same_seed_writes_the_same_examples() -> None:
    assert list(generate_examples(seed=1, per_sentence=1)) == CORPUS
    assert list(generate_examples(seed=2, per_sentence=1)) != CORPUS


def test_every_language_has_every_label_many_times() -> None:
    assert {example.language for example in CORPUS} == set(LANGUAGES)
    for taxonomy in (FOLLOWUP, CORRECTION):
        counts = Counter((example.language, example.labels[taxonomy.name]) for example in CORPUS)
        assert all(counts[language, label] >= 20 for language in LANGUAGES for label in taxonomy.label_names)


def test_thousands_of_different_sentences() -> None:
    assert len({example.source for example in CORPUS}) > 3_500


def test_every_slot_is_filled() -> None:
    for example in CORPUS:
        assert not re.search(r"[{}]", example.turn.query_t + example.turn.answer_t + example.turn.query_t1)


def test_self_correction_never_speaks_against_the_answer() -> None:
    labels = {
        example.labels["followup-v1"] for example in CORPUS if example.labels["correction-v1"] == "self_correction"
    }
    assert labels == {"neutral"}


@needs_data
def test_no_sentence_is_taken_from_the_annotated_dialogues() -> None:
    """Whole messages and the sentences in them; what people say in five words or fewer, everybody says."""
    measured = {
        split_tokens(normalise_text(part))
        for name in ("iard_dev.jsonl", "tiage_dev.jsonl")
        for _, row in load_dialogues(name)
        for text in (row.turn.query_t, row.turn.answer_t, row.turn.query_t1)
        for part in (text, *re.split(r"[.!?,;]+", text))
    }
    own = {
        split_tokens(normalise_text(part))
        for example in CORPUS
        for text in (example.source, example.turn.query_t, example.turn.answer_t)
        for part in (text, *re.split(r"[.!?,;]+", text))
    }
    assert {" ".join(tokens) for tokens in own & measured if len(tokens) > 5} == set()
