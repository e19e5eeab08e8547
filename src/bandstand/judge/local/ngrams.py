"""Features of a turn for a linear model: hashed pieces of the user's message, and a few facts about the turn.

Five families, each a set of buckets in one table: character n-grams (2 to 5, so that spelling mistakes and scripts
without spaces are no obstacle), words and pairs of words, facts of the turn, the words after the last "but", which
decide, and what a lexicon knows of the words. Only what is in scope is read. A bucket of a family counts
``scale / √(buckets of that family)``, so a long message or a word said a hundred times weighs no more than a short one.

The hashes are exact 64-bit integer arithmetic: the same buckets on every machine.
"""

from array import array
from functools import lru_cache
from itertools import pairwise
from math import sqrt
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from bandstand.judge.local.lexicon import build_cues
from bandstand.judge.local.normalise import REPETITION_THRESHOLD, WINDOW, NormalisedTurn

VERSION: Final = 3
"""Of the buckets; weights fit one version only."""

CHARS: Final = 1 << 15
WORDS: Final = 1 << 14
TURN_FEATURES: Final = 1 << 12
DECISIVE_WORDS: Final = 1 << 13
CUES: Final = 1 << 10
SIDE: Final = CHARS + WORDS + TURN_FEATURES + DECISIVE_WORDS + CUES
BUCKETS: Final = 2 * SIDE
"""Turns that say what was chosen have a side of the table to themselves, behind that of all others."""

SCALES: Final = (1.0, 1.0, 0.35, 0.7, 1.0)
"""How much the families weigh: characters, words, facts, words after the last "but", what a lexicon knows."""

Ids = NDArray[np.intp]
_Hashes = NDArray[np.uint64]

_NGRAMS: Final = (2, 3, 4, 5)
_STEM: Final = 5
_MIN_WORD: Final = 4
_MAX_SHARED: Final = 2
_CACHED_NAMES: Final = 1 << 13
_CACHED_CHOICES: Final = 256
"""Few things are chosen, again and again."""
_BASE: Final = 0x9E3779B97F4A7C15
_MAX_CHARS: Final = WINDOW + 2  # and a space at both ends


def _compute_powers(base: int) -> _Hashes:
    return np.cumprod(np.full(_MAX_CHARS, base, dtype=np.uint64), dtype=np.uint64)


_SIZES: Final = (CHARS, WORDS, TURN_FEATURES, DECISIVE_WORDS, CUES)
_FIRSTS: Final = tuple(sum(_SIZES[:family]) for family in range(len(_SIZES)))
_FAMILIES: Final = np.arange(len(_SIZES))
_MASKS: Final = np.array(_SIZES, dtype=np.uint64) - np.uint64(1)
_OFFSETS: Final = tuple(np.array(_FIRSTS, dtype=np.int64) + side for side in (0, SIDE))
_BOUNDS: Final = tuple(np.array([*_FIRSTS, SIDE], dtype=np.int64) + side for side in (0, SIDE))
"""Where each family begins, on either side, and where the last one ends."""
_POWERS: Final = _compute_powers(_BASE)
_INVERSE_POWERS: Final = _compute_powers(pow(_BASE, -1, 1 << 64))
_LENGTHS: Final = {n: np.uint64(n) for n in _NGRAMS}
_HALF_MIX: Final = np.uint64(33)
_FIRST_FACTOR: Final = np.uint64(0xFF51AFD7ED558CCD)
_SECOND_FACTOR: Final = np.uint64(0xC4CEB9FE1A85EC53)


class Features(NamedTuple):
    """The buckets of a turn, each family sorted and without repetition, and all of them on one side.

    Attributes:
        chars: shape (n_chars,), the first CHARS of their side.
        words: shape (n_words,), the WORDS after them.
        turn_features: shape (n_facts,), the TURN_FEATURES after those.
        decisive_words: shape (n_decisive,), the DECISIVE_WORDS after those.
        cues: shape (n_cues,), the last CUES of their side.
    """

    chars: Ids
    words: Ids
    turn_features: Ids
    decisive_words: Ids
    cues: Ids


class Buckets(NamedTuple):
    """The buckets of a turn in one array, family after family.

    Attributes:
        ids: shape (n,), sorted and without repetition.
        starts: where each family begins in ``ids``.
        filled: where each family begins that is not empty.
        weights: what each bucket of such a family counts, shape (filled families,).
    """

    ids: Ids
    starts: list[int]
    filled: list[int]
    weights: NDArray[np.float64]


def extract_features(normalised: NormalisedTurn) -> Features:
    """Return the buckets of a turn, a family an array."""
    ids, starts, *_ = extract_buckets(normalised)
    return Features(*np.split(ids, starts[1:]))


def extract_buckets(normalised: NormalisedTurn) -> Buckets:
    """Return the buckets of a turn."""
    decisive = normalised.scope.decisive
    ngrams = _hash_ngrams(normalised.judged_text)
    words = _list_words_and_pairs(("", *normalised.judged_tokens, ""))
    turn_features = _build_turn_features(normalised)
    decisive_words = _list_words_and_pairs((*decisive, "")) if decisive else []
    named = [*words, *map(_hash_name, turn_features), *decisive_words, *map(_hash_name, _build_cue_names(normalised))]
    lengths = (
        len(ngrams),
        len(words),
        len(turn_features),
        len(decisive_words),
        len(named) - len(words) - len(turn_features) - len(decisive_words),
    )
    # All families together, because a call of NumPy costs more than what it does to a few dozen numbers.
    hashes = np.concatenate((ngrams, np.frombuffer(array("Q", named), dtype=np.uint64)))
    _mix_bits(hashes)
    families = _FAMILIES.repeat(lengths)
    hashes &= _MASKS.take(families)
    buckets = hashes.view(np.int64)
    buckets += _OFFSETS[bool(normalised.about)].take(families)
    # Families have ranges of their own, one after another, so sorting all sorts each.
    buckets.sort()
    is_new = np.empty(len(buckets), dtype=np.bool_)
    is_new[:1] = True
    np.not_equal(buckets[1:], buckets[:-1], out=is_new[1:])
    ids = buckets[is_new]
    bounds = ids.searchsorted(_BOUNDS[bool(normalised.about)]).tolist()
    filled, weights = [], []
    for scale, start, end in zip(SCALES, bounds, bounds[1:], strict=False):
        if end > start:
            filled.append(start)
            weights.append(scale / sqrt(end - start))
    return Buckets(ids, bounds[:-1], filled, np.array(weights))


@lru_cache(maxsize=_CACHED_NAMES)
def _hash_name(name: str) -> int:
    return crc32(name.encode("utf-8", "replace"))


def _list_words_and_pairs(tokens: tuple[str, ...]) -> list[int]:
    """Hash every word and every pair of neighbours."""
    words = [crc32(token.encode("utf-8", "replace")) for token in tokens]
    return words + [first * 31 + second * 1_000_003 for first, second in pairwise(words)]


def _build_turn_features(normalised: NormalisedTurn) -> list[str]:
    tokens = normalised.judged_tokens
    asked = "asked" if normalised.after_question else "told"
    names = [asked, f"{asked}:length{len(tokens).bit_length()}", f"{asked}:asks{'?' in tokens}"]
    if tokens:
        names += [f"{asked}:first:{tokens[0]}", f"last:{tokens[-1]}"]
    if 0 < len(tokens) <= 3:  # noqa: PLR2004 - "no", "no thanks", "not really thanks": the answers to a question
        names.append(f"{asked}:whole:{' '.join(tokens)}")
    if normalised.about:
        names += ["about", f"about:asks{'?' in tokens}", f"about:shares{_count_shared(normalised.about, tokens)}"]
        names += [f"about:first:{token}" for token in tokens[:1]]
    if normalised.scope.aside:
        names += [f"aside:{normalised.scope.aside}", f"aside:asks{'?' in tokens}"]
    if normalised.rating is not None:
        names.append(f"rating{round(normalised.rating)}")
    names.append(f"decisive{bool(normalised.scope.decisive)}")
    names.append(f"repeats{int(normalised.similarity * 5)}:{normalised.similarity >= REPETITION_THRESHOLD}")
    return names


def _build_cue_names(normalised: NormalisedTurn) -> tuple[str, ...]:
    """Name what a lexicon knows of the words, where the turn says what was chosen.

    Elsewhere a word such as "love" is as often of the things that are talked about, a film, as of the answer.
    """
    if not normalised.about:
        return ()
    return build_cues(normalised.judged_tokens, normalised.scope.decisive)


def _count_shared(about: tuple[str, ...], tokens: tuple[str, ...]) -> int:
    """Count the telling words that a message shares with what was chosen, up to two."""
    stems = _find_chosen_stems(about)
    return min(_MAX_SHARED, len(stems.intersection([token[:_STEM] for token in tokens])))


@lru_cache(maxsize=_CACHED_CHOICES)
def _find_chosen_stems(about: tuple[str, ...]) -> frozenset[str]:
    return frozenset([token[:_STEM] for token in about if len(token) >= _MIN_WORD])


def _hash_ngrams(text: str) -> _Hashes:
    """Hash every n-gram: a difference of prefix sums of c_j B^j, times B^(−start), so all cost a few products."""
    codes = np.frombuffer(f" {' '.join(text.split())} ".encode("utf-32-le", "replace"), dtype="<u4")
    size = len(codes)
    sums = np.zeros(size + 1, dtype=np.uint64)
    np.add.accumulate(codes * _POWERS[:size], 0, None, sums[1:])
    counts = [(n, size + 1 - n) for n in _NGRAMS if n <= size]
    hashes = np.empty(sum([count for _, count in counts]), dtype=np.uint64)
    start = 0
    for n, count in counts:
        part = hashes[start : start + count]
        np.subtract(sums[n:], sums[:count], part)
        np.multiply(part, _INVERSE_POWERS[:count], part)
        np.add(part, _LENGTHS[n], part)
        start += count
    return hashes


def _mix_bits(hashes: _Hashes) -> None:
    # The finaliser of MurmurHash3: a product of powers leaves its lowest bits badly mixed.
    hashes ^= hashes >> _HALF_MIX
    hashes *= _FIRST_FACTOR
    hashes ^= hashes >> _HALF_MIX
    hashes *= _SECOND_FACTOR
    hashes ^= hashes >> _HALF_MIX
