"""Text as numbers: words and character n-grams, hashed with a sign into a few columns.

The hashing trick of Weinberger et al. 2009: every word and n-gram is one direction of a very wide space, and the sign
hash projects that space onto few columns so that inner products are kept on average, with an error of 1/√columns. A
ridge model over the columns is then one over the words. The hashes are the same in every process and on every machine:
CRC-32 (ISO 3309) of a word's UTF-8 bytes, and for n-grams SplitMix64's mix (Steele, Lea and Flood 2014) of a polynomial
in their code points, all n-grams of a text at once. Both begin at the CRC-32 of the feature's name.
"""

import math
import re
import unicodedata
import zlib
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bandstand.bandit.arrays import FloatArray

_GRAMS = (3, 4, 5)
_MAX_CHARACTERS = 2000
"""Of a text, folded; the rest counts for its length alone."""

_LONG = 1000.0
"""Characters of a text whose length is 1."""

_PRIME = np.uint64(0x100000001B3)
_SPACES = re.compile(r"\s+")
_CHARACTER = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # Kana and Han, which are written without spaces
_WORD = re.compile(rf"[{_CHARACTER}]|(?:(?![{_CHARACTER}])\w)+|[^\w\s]")

_Hashes = npt.NDArray[np.uint64]


def fold_text(text: str) -> str:
    """Return the text in the form that is compared: NFKC, without case, one space between words.

    >>> fold_text("  ＡＢＣ  Straße")
    'abc strasse'
    """
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def hash_text(text: str, columns: int, key: str) -> tuple[float, ...]:
    """Return ``columns`` numbers for a text: signed counts of its parts, and in the last one its length.

    Words and pairs of words are one half, character 3- to 5-grams of the folded text the other; a word is also what
    stands between words (punctuation, emoji), and each character of a writing without spaces. Each half is counted by
    column and scaled to the length √½, so that a long text is not a large one. The length is log(1 + characters)/
    log(1001).

    >>> hash_text("", 4, "content")
    (0.0, 0.0, 0.0, 0.0)

    Args:
        text: the text.
        columns: how many numbers, ≥ 2.
        key: the feature's name.
    """
    folded, start = fold_text(text)[:_MAX_CHARACTERS], zlib.crc32(key.encode())
    cells = np.zeros(columns - 1)
    if folded:
        for hashes in (_hash_words(folded, start), _hash_grams(folded, start)):
            half = _count(hashes, columns - 1)
            length = math.sqrt(2.0 * float(half.dot(half)))
            if length:
                cells += half / length
    return (*cells.tolist(), math.log1p(len(text)) / math.log1p(_LONG))


def _hash_words(folded: str, start: int) -> _Hashes:
    words = _WORD.findall(folded)
    tokens = [*words, *(f"{first} {second}" for first, second in pairwise(words))]
    # A lone surrogate is valid in JSON, so it must hash too.
    return _mix(np.array([zlib.crc32(token.encode("utf-8", "surrogatepass"), start) for token in tokens], np.uint64))


def _hash_grams(folded: str, start: int) -> _Hashes:
    points = np.frombuffer(f" {folded} ".encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    sizes = []
    for size in _GRAMS:
        count = len(points) - size + 1
        hashes = np.full(max(0, count), start + (size << 32), np.uint64)
        for place in range(size if count > 0 else 0):
            hashes = hashes * _PRIME + points[place : place + count]
        sizes.append(hashes)
    return _mix(np.concatenate(sizes))


def _mix(hashes: _Hashes) -> _Hashes:
    """Return numbers of which every bit depends on every bit (SplitMix64)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def _count(hashes: _Hashes, columns: int) -> FloatArray:
    """Return the sum of the signs that fall into each column, shape (columns,)."""
    signs = (hashes & np.uint64(1)).astype(np.float64) * 2.0 - 1.0
    columns_hit = ((hashes >> np.uint64(1)) % np.uint64(columns)).astype(np.int64)
    return np.bincount(columns_hit, signs, columns).astype(np.float64)
