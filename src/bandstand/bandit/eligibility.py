"""Eligibility: candidates that a request offers and does not let anybody pick.

They keep their places. A policy decides among the eligible candidates alone, as if the others had not been sent; each
of the others then keeps its position, with probability 0.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandstand.bandit.arrays import FloatArray
from bandstand.bandit.json_object import list_values
from bandstand.errors import FieldError, InvalidRequestError

Indices = NDArray[np.intp]
"""Places of the eligible among the candidates, ascending: shape (E,), 1 ≤ E < K."""


def find_eligible(request: Mapping[str, Any]) -> Indices | None:
    """Find the candidates of a score request that its ``exclude`` leaves; ``None`` if it leaves all.

    Raises:
        InvalidRequestError: an excluded id names no candidate, or none is left.
    """
    excluded = request.get("exclude")
    if not excluded:
        return None
    return list_eligible(list_values(request["candidates"], "id"), excluded)


def list_eligible(ids: Sequence[str], excluded: Collection[str]) -> Indices:
    """List the places of ``ids`` that are not ``excluded``.

    Raises:
        InvalidRequestError: an excluded id is none of ``ids``, or none is left.

    >>> list_eligible(["a", "b", "c"], ["b"]).tolist()
    [0, 2]
    """
    out = set(excluded)
    if not out.issubset(ids):
        raise _build_error("names no candidate")
    eligible = [place for place, each in enumerate(ids) if each not in out]
    if not eligible:
        raise _build_error("leaves no candidate")
    return np.array(eligible, dtype=np.intp)


def spread(values: FloatArray, eligible: Indices | None, count: int) -> FloatArray:
    """Put the values of the eligible, shape (E,), at their places among ``count``, and 0 at the others: shape (K,).

    >>> spread(np.array([0.25, 0.75]), np.array([0, 2]), 3).tolist()
    [0.25, 0.0, 0.75]
    """
    if eligible is None:
        return values
    places = np.zeros(count)
    places[eligible] = values
    return places


def _build_error(message: str) -> InvalidRequestError:
    return InvalidRequestError(f"exclude {message}.", [FieldError("exclude", message)])
