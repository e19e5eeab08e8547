"""The one array type of the learning core, and how arrays are frozen."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def read_only(array: FloatArray) -> FloatArray:
    """Return the same array, no longer writable, so that values which share it cannot change each other."""
    array.setflags(write=False)
    return array
