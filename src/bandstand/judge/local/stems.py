"""Stems: the beginnings of words, by which a message names what was chosen, or what question or answer were about."""

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from typing import Final, NamedTuple

from bandstand.judge.local.normalise import extract_window
from bandstand.judge.local.tokens import split_tokens
from bandstand.judge.local.topic_shift import get_stop_words

_STEM: Final = 5
_MIN_WORD: Final = 4
_CACHED_TURNS: Final = 16
"""Signs, facts and target of one turn all ask for its words."""
_CACHED_CHOICES: Final = 256
"""Few things are chosen, again and again."""

_cut_stem: Final = itemgetter(slice(_STEM))


class EarlierWords(NamedTuple):
    """The words of a question and of both ends of an answer.

    Attributes:
        tokens: of both, in order.
        question: the stems of the telling words of the question; those of short words too, which no message has.
        answer: the same of the answer.
        common: the stems of the words of both that tell nothing.
    """

    tokens: tuple[str, ...]
    question: set[str]
    answer: set[str]
    common: set[str]


@lru_cache(maxsize=_CACHED_TURNS)
def read_earlier(question: str, answer: str) -> EarlierWords:
    """Read a normalised question, and an answer as given."""
    asked, answered = split_tokens(question), split_tokens(extract_window(answer))
    tokens, stop_words = asked + answered, get_stop_words()
    asked_words, answered_words = set(asked), set(answered)
    return EarlierWords(
        tokens,
        _cut_stems(asked_words - stop_words) | _find_pairs(asked),
        _cut_stems(answered_words - stop_words) | _find_pairs(answered),
        _cut_stems((asked_words | answered_words) & stop_words),
    )


@lru_cache(maxsize=_CACHED_CHOICES)
def find_chosen_stems(about: tuple[str, ...]) -> set[str]:
    """Return the stems of the words of what was chosen."""
    return find_stems(about)


@lru_cache(maxsize=_CACHED_CHOICES)
def find_chosen_telling(about: tuple[str, ...]) -> set[str]:
    """Return :func:`find_telling` of the words of what was chosen."""
    return find_telling(about)


def find_stems(tokens: Iterable[str]) -> set[str]:
    """Find the stems of words of four letters and more."""
    return {token[:_STEM] for token in tokens if len(token) >= _MIN_WORD and token.isascii()}


def find_telling(tokens: Sequence[str]) -> set[str]:
    """Find the stems of the words that tell something, and all pairs of neighbouring Chinese characters."""
    return find_stems(set(tokens) - get_stop_words()) | _find_pairs(tokens)


def _cut_stems(words: Collection[str]) -> set[str]:
    """Cut words of any length, without a step of Python for each."""
    return set(map(_cut_stem, filter(str.isascii, words)))


def _find_pairs(tokens: Sequence[str]) -> set[str]:
    if "".join(tokens).isascii():
        return set()
    return {a + b for a, b in pairwise(tokens) if not a.isascii() and not b.isascii()}
