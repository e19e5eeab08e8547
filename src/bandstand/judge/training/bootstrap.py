"""Standard errors by bootstrap: what a measure would be on other turns of the same kind (Efron 1979)."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np

DRAWS: Final = 200

_SEED: Final = 0
_Item = TypeVar("_Item")


def estimate_error(items: Sequence[_Item], measure: Callable[[Sequence[_Item]], float | None]) -> float | None:
    """Return the standard deviation of a measure over draws of as many items, with replacement.

    Args:
        items: what was measured.
        measure: of any draw of them; None if it has nothing to measure.

    Returns:
        The error, the same in every run; None if fewer than two draws have a measure.
    """
    if measure(items) is None:
        return None
    rng = np.random.default_rng(_SEED)
    drawn = (measure([items[at] for at in rng.integers(len(items), size=len(items)).tolist()]) for _ in range(DRAWS))
    values = [value for value in drawn if value is not None]
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
