"""Features of a turn for a linear model: hashed pieces of the user's message, and a few facts about the turn.

Three families, each a set of buckets in one table: character n-grams (2 to 5, so that spelling mistakes and scripts
without spaces are no obstacle), words and pairs of words, and facts of the turn. A bucket of a family counts
``scale / √(buckets of that family)``, so a long message or a word said a hundred times weighs no more than a short one.

The hashes are exact 64-bit integer arithmetic: the same buckets on every machine.
"""

from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from bandstand.judge.local.normalise import REPETITION_THRESHOLD, WINDOW, NormalisedTurn

VERSION: Final = 1
"""Of the buckets; weights fit one version only."""

CHARS: Final = 1 << 15
WORDS: Final = 1 << 14
TURN_FEATURES: Final = 1 << 12
BUCKETS: Final = CHARS + WORDS + TURN_FEATURES

SCALES: Final = (1.0, 1.0, 0.35)
"""How much the families weigh: characters, words, facts."""

Ids = NDArray[np.intp]
_Hashes = NDArray[np.uint64]

_NGRAMS: Final = (2, 3, 4, 5)
_BASE: Final = 0x9E3779B97F4A7C15
_MAX_CHARS: Final = WINDOW + 2  # and a space at both ends


def _compute_powers(base: int) -> _Hashes:
    return np.cumprod(np.full(_MAX_CHARS, base, dtype=np.uint64), dtype=np.uint64)


_POWERS: Final = _compute_powers(_BASE)
_INVERSE_POWERS: Final = _compute_powers(pow(_BASE, -1, 1 << 64))


class Features(NamedTuple):
    """The buckets of a turn, each family sorted and without repetition.

    Attributes:
        chars: shape (n_chars,), in [0, CHARS).
        words: shape (n_words,), in [CHARS, CHARS + WORDS).
        turn_features: shape (n_facts,), in [CHARS + WORDS, BUCKETS).
    """

    chars: Ids
    words: Ids
    turn_features: Ids


def extract_features(normalised: NormalisedTurn) -> Features:
    """Return the buckets of a turn."""
    tokens = ("", *normalised.tokens, "")
    words = np.array([crc32(token.encode("utf-8", "replace")) for token in tokens], dtype=np.uint64)
    pairs = words[:-1] * np.uint64(31) + words[1:] * np.uint64(1_000_003)
    turn_hashes = np.array(
        [crc32(fact.encode("utf-8", "replace")) for fact in _build_turn_features(normalised)], dtype=np.uint64
    )
    return Features(
        chars=_map_to_buckets(_hash_ngrams(normalised.text), 0, CHARS),
        words=_map_to_buckets(np.concatenate([words, pairs]), CHARS, WORDS),
        turn_features=_map_to_buckets(turn_hashes, CHARS + WORDS, TURN_FEATURES),
    )


def _build_turn_features(normalised: NormalisedTurn) -> list[str]:
    tokens = normalised.tokens
    asked = "asked" if normalised.after_question else "told"
    names = [asked, f"{asked}:length{len(tokens).bit_length()}", f"{asked}:asks{'?' in tokens}"]
    if tokens:
        names += [f"{asked}:first:{tokens[0]}", f"last:{tokens[-1]}"]
    if 0 < len(tokens) <= 3:  # noqa: PLR2004 - "no", "no thanks", "not really thanks": the answers to a question
        names.append(f"{asked}:whole:{' '.join(tokens)}")
    names.append(f"repeats{int(normalised.similarity * 5)}:{normalised.similarity >= REPETITION_THRESHOLD}")
    return names


def _hash_ngrams(text: str) -> _Hashes:
    """Hash every n-gram: a difference of prefix sums of c_j B^j, times B^(−start), so all cost a few products."""
    codes = np.frombuffer(f" {' '.join(text.split())} ".encode("utf-32-le", "replace"), dtype="<u4")
    sums = np.zeros(len(codes) + 1, dtype=np.uint64)
    np.cumsum(codes * _POWERS[: len(codes)], out=sums[1:])
    return np.concatenate(
        [
            (sums[n:] - sums[:-n]) * _INVERSE_POWERS[: len(codes) + 1 - n] + np.uint64(n)
            for n in _NGRAMS
            if n <= len(codes)
        ]
    )


def _map_to_buckets(hashes: _Hashes, first: int, size: int) -> Ids:
    # The finaliser of MurmurHash3: a product of powers leaves its lowest bits badly mixed.
    mixed = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    mixed ^= mixed >> np.uint64(33)
    taken = np.zeros(size, dtype=np.bool_)
    taken[(mixed & np.uint64(size - 1)).astype(np.intp)] = True
    return np.flatnonzero(taken) + first
