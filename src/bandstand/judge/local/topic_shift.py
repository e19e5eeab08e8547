"""Topic shift: whether a message leaves what was talked about, by its form and by its likeness to question and answer.

    score = Σ weight · feature,  p = 1/(1 + exp(−score))

A message shifts the topic where it opens a subject of its own: it asks what nobody raised, shares no word with question
or answer, and points back at neither. Likeness alone is not enough: people change the subject with a question that
shares no word, and stay on it with one that shares none either.

Every sign counts alike, for a shift or against it: unit weights, which are nearly as good as fitted ones and learn
nothing by heart (Dawes 1979). The bias is the smallest multiple of 0.1 at which at most 10 % of the other turns are
called shifts in the shipped sets, ``data/small-talk.jsonl`` and ``data/balanced.jsonl``. The words are in
``data/rules/topics.toml``.
"""

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from typing import Final

from bandstand.judge.local.normalise import NormalisedTurn, extract_window
from bandstand.judge.local.tokens import normalise_text, split_tokens

WEIGHTS: Final[Mapping[str, float]] = {
    "bias": -1.3,
    "answer asks": -1.0,
    "answer asks, message does not": -1.0,
    "message asks": 1.0,
    "shares words": -1.0,
    "names no subject": -1.0,
    "names a new subject": 1.0,
    "points back": -1.0,
    "opens with a question of its own": 1.0,
    "is long": 1.0,
}

_LONG: Final = 25
_SHARED_ENOUGH: Final = 0.5
_MAX_BACK: Final = 2
_STEM: Final = 5
_MIN_PREFIX: Final = 3
_MAX_OPENING: Final = 5
_CACHED_WORDS: Final = 32_768
_STOPS: Final = ".!?。！"


@dataclass(slots=True)
class _Cues:
    """What ``topics.toml`` says: subjects by whole word, by how words begin and by Chinese characters; and forms."""

    words: dict[str, str] = field(default_factory=dict)
    beginnings: dict[str, str] = field(default_factory=dict)
    characters: dict[str, str] = field(default_factory=dict)
    openings: frozenset[tuple[str, ...]] = frozenset()
    pointing_back: frozenset[str] = frozenset()
    stop_words: frozenset[str] = frozenset()


def may_shift(turn: NormalisedTurn) -> bool:
    """Return whether the form of a message alone leaves room for a shift, before any of its words is looked up."""
    asks = "?" in turn.tokens
    most = WEIGHTS["bias"] + WEIGHTS["names a new subject"]
    most += WEIGHTS["is long"] * min(len(turn.tokens), _LONG) / _LONG
    if asks:
        most += WEIGHTS["message asks"] + WEIGHTS["opens with a question of its own"]
    if turn.after_question:
        most += WEIGHTS["answer asks"] + (0.0 if asks else WEIGHTS["answer asks, message does not"])
    return most >= 0


def compute_shift_probability(turn: NormalisedTurn) -> float:
    """Return the probability that a message starts a new topic."""
    features = compute_shift_features(turn)
    return 1 / (1 + math.exp(-sum(WEIGHTS[name] * value for name, value in features.items())))


def compute_shift_features(turn: NormalisedTurn) -> dict[str, float]:
    """Return the features of a message by the names of :data:`WEIGHTS`, each from 0 to 1, but "points back" to 2."""
    cues = _load_cues()
    last = _split_last_sentence(turn)
    answer = extract_window(turn.answer)
    earlier, raised = _find_words(split_tokens(turn.question) + split_tokens(answer))
    words, named = _find_words(turn.tokens)
    last_words, last_named = _find_words(last)
    if not turn.text.isascii():
        raised |= _find_subjects(turn.question) | _find_subjects(answer)
        inside = _find_subjects(turn.text)
        named, last_named = named | inside, last_named | inside
    asks = "?" in turn.tokens
    shared = len(words & earlier) / max(1, len(words))
    is_its_own = not last_named & raised and not last_words & earlier
    return {
        "bias": 1.0,
        "answer asks": float(turn.after_question),
        "answer asks, message does not": float(turn.after_question and not asks),
        "message asks": float(asks),
        "shares words": min(shared, _SHARED_ENOUGH) / _SHARED_ENOUGH,
        "names no subject": float(not last_named),
        "names a new subject": float(bool(named) and not named & raised),
        "points back": float(min(_MAX_BACK, sum(token in cues.pointing_back for token in last))),
        "opens with a question of its own": float(last[-1:] == ("?",) and is_its_own and _has_opening(last)),
        "is long": min(len(turn.tokens), _LONG) / _LONG,
    }


def get_stop_words() -> frozenset[str]:
    """Return the words that say nothing about what is talked about."""
    return _load_cues().stop_words


def _split_last_sentence(turn: NormalisedTurn) -> tuple[str, ...]:
    end = turn.text.rstrip(f" {_STOPS}")
    start = max(end.rfind(stop) for stop in _STOPS) + 1
    return split_tokens(turn.text[start:]) if start else turn.tokens


def _find_words(tokens: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the stems of the meaningful words, and the subjects that they belong to."""
    read = [_read_word(token) for token in tokens]
    return {stem for stem, _ in read if stem}, {subject for _, subject in read if subject}


@lru_cache(maxsize=_CACHED_WORDS)
def _read_word(word: str) -> tuple[str, str]:
    """Return a word's stem and its subject; empty where it has none."""
    cues = _load_cues()
    if word in cues.stop_words or word == "?":
        return "", ""
    if not word.isascii():
        return word, ""
    beginnings = (cues.beginnings.get(word[:length], "") for length in range(_MIN_PREFIX, len(word) + 1))
    return word[:_STEM], cues.words.get(word) or next(filter(None, beginnings), "")


def _find_subjects(text: str) -> set[str]:
    return {subject for word, subject in _load_cues().characters.items() if word in text}


def _has_opening(tokens: tuple[str, ...]) -> bool:
    """Return whether a sentence begins as people begin a subject, one word before it allowed."""
    openings = _load_cues().openings
    for start in (0, 1):
        for length in range(1, _MAX_OPENING + 1):
            if tokens[start : start + length] in openings:
                return True
    return False


@cache
def _load_cues() -> _Cues:
    source = resources.files("bandstand.judge").joinpath("data", "rules", "topics.toml")
    document = tomllib.loads(source.read_text(encoding="utf-8"))
    cues = _Cues(
        openings=frozenset(split_tokens(normalise_text(phrase)) for phrase in document["form"]["openings"]),
        pointing_back=frozenset(map(normalise_text, document["form"]["pointing_back"])),
        stop_words=frozenset(map(normalise_text, document["form"]["stop_words"])),
    )
    for subject, words in document["subjects"].items():
        for word in map(normalise_text, words):
            if not word.isascii():
                cues.characters[word] = subject
            elif word.endswith("*"):
                cues.beginnings[word[:-1]] = subject
            else:
                cues.words[word] = subject
    return cues
