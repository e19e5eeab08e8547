"""Open features: any JSON as columns, by signed hashing of its tokens and of their products.

A row is the sum over the tokens t of the context, those of the candidate, and all pairs of the two, of s(t) v(t) in
column h(t), scaled to length one: the hashing trick (Weinberger et al. 2009), by which a ridge model over few columns
is one over as many weights as there are tokens and pairs, with an error of 1/√columns. A pair's value is the product of
its tokens', its hash SplitMix64's mix (Steele, Lea and Flood 2014) of theirs, so that all pairs of a request are a few
operations on arrays. A token's own hash is 8 bytes of BLAKE2b over its name, keyed by the feature's name and by which
side it is of.

Every sum is taken in one order and nothing is left to a linear algebra library, so x is the same to the last bit on
every machine.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bandstand.bandit.arrays import FloatArray
from bandstand.bandit.json_tokens import Tokens, flatten_object
from bandstand.errors import FieldError, InvalidRequestError

MAX_PAIRS = 262_144
"""Most pairs of tokens in one request: some 10 ms of work."""

_REMEMBERED_TOKENS = 32_768
_REMEMBERED_SIZES = 64
_PRIME = np.uint64(0x100000001B3)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = tuple(map(np.uint64, (30, 27, 31)))
_ONE, _HALF = np.uint64(1), np.uint64(32)

_Hashes = npt.NDArray[np.uint64]


class NamedPart(NamedTuple):
    """A part of one number of x: what it is called, which column it is in, and how much it adds."""

    name: str
    column: int
    value: float


class TokenCounts(NamedTuple):
    """How tokens met the columns, since the process began.

    Attributes:
        met: tokens, however often.
        unseen: of them, those that had not been met before, or so long ago that they are forgotten.
        distinct: different tokens that are remembered, of contexts and of candidates.
        columns: that they are hashed into.
        colliding: remembered tokens that share their column with another one of their side.
    """

    met: int
    unseen: int
    distinct: int
    columns: int
    colliding: int


class OpenEncoder:
    """Encodes contexts and candidates of one open feature.

    Args:
        key: the feature's name.
        columns: how many columns it fills.
        skipped_context: keys of a context that other features of the schema read.
        skipped_candidate: keys of a candidate that others do.
    """

    def __init__(
        self, key: str, columns: int, skipped_context: frozenset[str], skipped_candidate: frozenset[str]
    ) -> None:
        self.columns = columns
        self._skipped = (skipped_context, skipped_candidate)
        self._context = _TokenTable(f"{key}:context".encode(), columns)
        self._candidate = _TokenTable(f"{key}:candidate".encode(), columns)

    def encode(self, context: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> FloatArray:
        """Return rows of length one, shape (K, columns); of a candidate and a context that say nothing, of zeros.

        Raises:
            InvalidRequestError: there are more pairs of tokens than a request may have.
        """
        context_names, context_values = flatten_object(context, self._skipped[0])
        names: list[str] = []
        values: list[float] = []
        lengths = []
        skipped = self._skipped[1]
        for candidate in candidates:
            own_names, own_values = flatten_object(candidate, skipped)
            names += own_names
            values += own_values
            lengths.append(len(own_names))
        if len(context_names) * len(names) > MAX_PAIRS:
            pairs = f"make more than {MAX_PAIRS} pairs of a value of the context and one of a candidate"
            raise InvalidRequestError("Too many features for one request.", [FieldError("candidates", pairs)])
        count, columns = len(candidates), self.columns
        outer, inner = self._context.get_hashes(context_names), self._candidate.get_hashes(names)
        outer_values, inner_values = np.array(context_values), np.array(values)
        rows = np.repeat(_get_row_starts(count, columns), lengths)
        # First the candidates' own tokens, then each token of the context with all of them.
        hashes = np.concatenate([inner[None], _pair_hashes(outer, inner)])
        place, weights = self._find_columns(hashes)
        place += rows
        weights *= inner_values
        weights[1:] *= outer_values[:, None]
        cells: FloatArray = np.bincount(place.ravel(), weights.ravel(), count * columns).astype(np.float64, copy=False)
        if context_names:
            place, weights = self._find_columns(outer)
            cells.reshape(count, columns)[:] += np.bincount(place, weights * outer_values, columns)
        x = cells.reshape(count, columns)
        lengths_of_rows = _compute_lengths(x)
        x /= np.where(lengths_of_rows > 0.0, lengths_of_rows, 1.0)[:, None]
        return x

    def list_parts(self, context: Mapping[str, Any], candidate: Mapping[str, Any]) -> list[NamedPart]:
        """Return what each token and each pair of tokens adds to the row of one candidate; any thread may ask."""
        tokens = flatten_object(context, self._skipped[0]), flatten_object(candidate, self._skipped[1])
        hashes = self._context.compute_hashes(tokens[0][0]), self._candidate.compute_hashes(tokens[1][0])
        (own, _), (others, _) = (_name_tokens(*each) for each in zip(("context", "candidate"), tokens, strict=True))
        names = [*own, *others, *(f"{a} × {b}" for a in own for b in others)]
        weights = np.concatenate(
            [tokens[0][1], tokens[1][1], np.multiply.outer(np.array(tokens[0][1]), np.array(tokens[1][1])).ravel()]
        )
        place, sign = self._find_columns(np.concatenate([*hashes, _pair_hashes(*hashes).ravel()]))
        row = np.bincount(place, sign * weights, self.columns).astype(np.float64, copy=False)
        length = float(_compute_lengths(row[None])[0]) or 1.0
        parts = (sign * weights / length).tolist()
        return [NamedPart(*each) for each in zip(names, place.tolist(), parts, strict=True)]

    def count_tokens(self) -> TokenCounts:
        """Return what was counted so far."""
        tables = (self._context, self._candidate)
        return TokenCounts(
            met=sum(table.met for table in tables),
            unseen=sum(table.unseen for table in tables),
            distinct=sum(len(table.hashes) for table in tables),
            columns=self.columns,
            colliding=sum(table.count_colliding() for table in tables),
        )

    def _find_columns(self, hashes: _Hashes) -> tuple[npt.NDArray[np.int64], FloatArray]:
        """Return each hash's column, by its upper half, and its sign, −1 or 1, by its last bit."""
        sign = (hashes & _ONE).astype(np.float64)
        sign *= 2.0
        sign -= 1.0
        # (h · columns) >> 32 of a 32 bit h is as even as a remainder, at a fifth of its time.
        column = hashes >> _HALF
        column *= np.uint64(self.columns)
        column >>= _HALF
        return column.view(np.int64), sign


class _TokenTable:
    """The hashes of the tokens of one side, remembered, how many were new, and how many there are in each column."""

    def __init__(self, key: bytes, columns: int) -> None:
        self.hashes: dict[str, int] = {}
        self.met = 0
        self.unseen = 0
        self._key = key
        self._occupants = [0] * columns

    def get_hashes(self, names: list[str]) -> _Hashes:
        """Return the hash of each name."""
        self.met += len(names)
        try:
            return np.array([self.hashes[name] for name in names], np.uint64)
        except KeyError:
            return np.array([self._hash(name) for name in names], np.uint64)

    def compute_hashes(self, names: list[str]) -> _Hashes:
        """Return the hash of each name, and take no note of any."""
        return np.array([self._compute_hash(name) for name in names], np.uint64)

    def count_colliding(self) -> int:
        """Return how many remembered tokens share their column with another one."""
        return sum(occupants for occupants in self._occupants if occupants > 1)

    def _hash(self, name: str) -> int:
        known = self.hashes.get(name)
        if known is not None:
            return known
        if len(self.hashes) >= _REMEMBERED_TOKENS:
            for old in list(self.hashes)[: _REMEMBERED_TOKENS // 4]:  # the longest known
                self._occupants[self._find_column(self.hashes.pop(old))] -= 1
        self.unseen += 1
        found = self.hashes[name] = self._compute_hash(name)
        self._occupants[self._find_column(found)] += 1
        return found

    def _find_column(self, token_hash: int) -> int:
        """Return the column of one hash; see :meth:`OpenEncoder._find_columns`."""
        return (token_hash >> int(_HALF)) * len(self._occupants) >> int(_HALF)

    def _compute_hash(self, name: str) -> int:
        # A lone surrogate is valid in JSON, so it must hash too.
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), key=self._key, digest_size=8).digest()
        return int.from_bytes(digest)


def _pair_hashes(context: _Hashes, candidate: _Hashes) -> _Hashes:
    """Return the hash of each pair, shape (context, candidate): every bit of it depends on every bit (SplitMix64)."""
    hashes: _Hashes = np.add.outer(context * _PRIME, candidate)
    hashes ^= hashes >> _SHIFTS[0]
    hashes *= _FIRST
    hashes ^= hashes >> _SHIFTS[1]
    hashes *= _SECOND
    hashes ^= hashes >> _SHIFTS[2]
    return hashes


def _compute_lengths(x: FloatArray) -> FloatArray:
    """Return the length of each row, summed column by column in their order."""
    count, columns = x.shape
    squares = np.bincount(_get_row_numbers(count, columns), np.square(x).ravel(), count)
    return np.asarray(np.sqrt(squares), np.float64)


@lru_cache(_REMEMBERED_SIZES)
def _get_row_starts(count: int, columns: int) -> npt.NDArray[np.int64]:
    return np.arange(count) * columns


@lru_cache(_REMEMBERED_SIZES)
def _get_row_numbers(count: int, columns: int) -> npt.NDArray[np.int64]:
    return np.repeat(np.arange(count), columns)


def _name_tokens(side: str, tokens: Tokens) -> tuple[list[str], list[float]]:
    return [f"{side}.{name}" for name in tokens[0]], tokens[1]
