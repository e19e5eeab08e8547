"""What a policy would do: a probability for every candidate, and the one draw from it."""

import hashlib
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from bandstand.bandit.arrays import FloatArray

TIE_TOLERANCE = 1e-12
"""Scores this close, relative to the largest or to 1, are one score."""

_KEY_BYTES = 64
_MANTISSA_BITS = 53
_PICK_BITS = 33

_FloatOrArray = TypeVar("_FloatOrArray", float, FloatArray)


class Pick(NamedTuple):
    """One draw: which candidate, and whether the uniform branch drew it."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a pick
    exploring: bool


class PickBatch(NamedTuple):
    """A draw for each of n requests.

    Attributes:
        index: which candidate, shape (n,).
        exploring: whether the uniform branch drew it, shape (n,).
    """

    index: NDArray[np.intp]  # type: ignore[assignment]  # hides tuple.index, which nobody asks of picks
    exploring: NDArray[np.bool_]


@dataclass(slots=True, eq=False)
class Distribution:
    """A policy's answer for K candidates: the mixture of a uniform branch and a greedy one.

    Attributes:
        mean: θ·x for each candidate, shape (K,), in units of reward.
        width: √(xᵀ V x), the standard deviation of that mean, shape (K,).
        score: what the policy maximises and returns, shape (K,).
        greedy: probabilities of the exploit branch, shape (K,).
        floor: mass of the uniform branch, in [0, 1].
    """

    mean: FloatArray
    width: FloatArray
    score: FloatArray
    greedy: FloatArray
    floor: float

    @property
    def probability(self) -> FloatArray:
        """The probability that ``draw`` picks each candidate: (1 − floor)·greedy + floor/K, shape (K,)."""
        return (1.0 - self.floor) * self.greedy + self.floor / len(self.greedy)

    def propensity(self, index: int) -> float:
        """Return one candidate's ``probability``."""
        return (1.0 - self.floor) * float(self.greedy[index]) + self.floor / len(self.greedy)

    def draw(self, u: float) -> Pick:
        """Pick the candidate into whose share of [0, 1) u falls.

        u < floor explores and picks ⌊K·u/floor⌋; otherwise (u − floor)/(1 − floor) goes through the inverse
        cumulative distribution of ``greedy``. A candidate of probability zero is never picked, whatever the rounding.

        Raises:
            ValueError: u is not in [0, 1).
        """
        return draw_pick(self.greedy.tolist(), self.floor, u)


@dataclass(slots=True, eq=False)
class DistributionBatch:
    """A policy's answers to n requests of K candidates each; row by row what :class:`Distribution` holds.

    Attributes:
        mean: shape (n, K); so are ``width``, ``score`` and ``greedy``.
        floor: mass of the uniform branch, the same for all.
    """

    mean: FloatArray
    width: FloatArray
    score: FloatArray
    greedy: FloatArray
    floor: float

    @classmethod
    def stack(cls, distributions: Sequence[Distribution]) -> Self:
        """Stack answers of one policy to equally many candidates."""
        fields = zip(*((each.mean, each.width, each.score, each.greedy) for each in distributions), strict=True)
        mean, width, score, greedy = (np.array(field) for field in fields)
        return cls(mean, width, score, greedy, distributions[0].floor)

    def compute_numbers(self) -> FloatArray:
        """Return mean, width, score and probability of every candidate: shape (n, 4, K)."""
        requests, count = self.mean.shape
        numbers = np.empty((requests, 4, count))
        numbers[:, 0], numbers[:, 1], numbers[:, 2] = self.mean, self.width, self.score
        numbers[:, 3] = (1.0 - self.floor) * self.greedy + self.floor / count
        return numbers

    def draw(self, uniforms: FloatArray) -> PickBatch:
        """Draw once from each row, as :meth:`Distribution.draw` does, by its own number of ``uniforms`` (n,)."""
        return draw_picks(self.greedy, self.floor, uniforms)

    def get_row(self, row: int) -> Distribution:
        """The answer to one request."""
        return Distribution(self.mean[row], self.width[row], self.score[row], self.greedy[row], self.floor)


def draw_pick(greedy: list[float], floor: float, u: float) -> Pick:
    """Pick what :meth:`Distribution.draw` says, from the probabilities of the exploit branch.

    Raises:
        ValueError: u is not in [0, 1).
    """
    if not 0.0 <= u < 1.0:
        raise ValueError("u must be in [0, 1)")
    count = len(greedy)
    if u < floor:
        # u/floor rounds to less than 1, and K times that to less than K: the index is in range.
        return Pick(int(count * (u / floor)), exploring=True)
    cumulative = list(accumulate(greedy))
    index = bisect_right(cumulative, (u - floor) / (1.0 - floor))
    if index == count:
        # The quotient can round to 1, and the sum to less: the last candidate that added to the sum is meant.
        index = cumulative.index(cumulative[-1])
    return Pick(index, exploring=False)


def draw_picks(greedy: FloatArray, floor: float, u: FloatArray) -> PickBatch:
    """Return what :func:`draw_pick` does for each row of ``greedy`` (n, K) and its own number of ``u`` (n,).

    Raises:
        ValueError: one of ``u`` is not in [0, 1).
    """
    if not (np.minimum.reduce(u) >= 0.0 and np.maximum.reduce(u) < 1.0):
        raise ValueError("u must be in [0, 1)")
    count = greedy.shape[1]
    exploring = u < floor
    if floor == 1.0:  # there is no other branch
        return PickBatch((count * u).astype(np.intp), exploring)
    cumulative = np.add.accumulate(greedy, axis=1)
    index = np.add.reduce(cumulative <= ((u - floor) / (1.0 - floor))[:, None], axis=1, dtype=np.intp)
    if np.maximum.reduce(index) == count:  # as there: the last candidate that added to the sum is meant
        index = np.minimum(index, (cumulative == cumulative[:, -1:]).argmax(axis=1))
    if floor > 0.0:
        index[exploring] = (count * (u[exploring] / floor)).astype(np.intp)
    return PickBatch(index, exploring)


def compute_greedy_rows(score: FloatArray) -> FloatArray:
    """Return :func:`compute_greedy_probabilities` of each row of score (n, K).

    Raises:
        ValueError: there is no candidate, or the largest score of a row is not finite.
    """
    # The ufuncs themselves: what numpy wraps around them costs as much as they do for a handful of rows.
    largest = np.maximum.reduce(score, axis=1, keepdims=True)
    if not np.logical_and.reduce(np.isfinite(largest), axis=None):
        raise ValueError("scores must be finite")
    tied = score >= largest - TIE_TOLERANCE * np.maximum(1.0, np.abs(largest))
    shares: FloatArray = tied / np.add.reduce(tied, axis=1, dtype=np.float64, keepdims=True)
    return shares


def compute_greedy_probabilities(score: FloatArray) -> FloatArray:
    """Share probability 1 equally among the candidates within 1e-12·max(1, |max|) of the largest score: shape (K,).

    Raises:
        ValueError: there is no candidate, or the largest score is not finite.

    >>> compute_greedy_probabilities(np.array([0.5, 0.2, 0.5])).tolist()
    [0.5, 0.0, 0.5]
    """
    best = score.argmax()
    largest = float(score[best])
    if not math.isfinite(largest):
        raise ValueError("scores must be finite")
    tied = score >= largest - TIE_TOLERANCE * max(1.0, abs(largest))
    count = np.count_nonzero(tied)
    if count > 1:
        return tied / count
    shares = np.zeros(len(score))
    shares[best] = 1.0
    return shares


def hash_to_uniform(secret: bytes, decision_id: str) -> float:
    """Return the decision's own number in [0, 1): the first 53 bits of keyed BLAKE2b over its id (RFC 7693).

    The same id under the same secret always gives the same number, so a retry repeats its pick; without the secret a
    caller cannot search for an id that gives the pick they want.

    Raises:
        ValueError: the secret is empty.
    """
    return float(hash_to_uniforms(secret, (decision_id,))[0])


def hash_to_uniforms(secret: bytes, decision_ids: Sequence[str]) -> FloatArray:
    """Return :func:`hash_to_uniform` of each of n ids, shape (n,).

    Raises:
        ValueError: the secret is empty.
    """
    begun, digests = _begin_hash(secret), list[bytes]()
    for decision_id in decision_ids:
        keyed = begun.copy()
        keyed.update(decision_id.encode("utf-8", "surrogatepass"))
        digests.append(keyed.digest())
    hashes = np.frombuffer(b"".join(digests), ">u8")
    return np.asarray((hashes >> (64 - _MANTISSA_BITS)) * 2.0**-_MANTISSA_BITS, np.float64)


@lru_cache(maxsize=8)
def _begin_hash(secret: bytes) -> "hashlib.blake2b":
    """The hash after its key, which is half of its work and the same for every decision of a deployment."""
    if not secret:
        raise ValueError("the secret must not be empty")
    key = secret if len(secret) <= _KEY_BYTES else hashlib.blake2b(secret).digest()
    return hashlib.blake2b(key=key, digest_size=8)


def extract_second_uniform(u: _FloatOrArray) -> _FloatOrArray:
    """Return a second number in [0, 1) from the last 20 of the 53 bits of u: (2³³ u) mod 1; of an array, for each.

    Given the spare, u is still uniform on a grid of 2⁻³³, so a pick by u from a distribution that was made with the
    spare has the probability it states, to 2⁻³³; and the logged u is enough to make both again.
    """
    return (u * 2.0**_PICK_BITS) % 1.0
