"""Cells of text as numbers: what spreadsheets, databases and pandas write for one, for none, and for yes and no."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.logged_rows import FloatArray

MISSING: Final = frozenset({"", "na", "n/a", "#n/a", "nan", "-nan", "<na>", "null", "none", "nil", "nat", "\\n"})
"""What stands, in any case, for a number that is not there."""

_FLAGS: Final = {"true": 1.0, "false": 0.0, "t": 1.0, "f": 0.0}
_INFINITE: Final = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_PLAIN: Final = b"0123456789eE+-.\0"
_OPENING: Final = ("[", "(")
_SEPARATORS: Final = re.compile(r"[\s,;]+")


class CellReader:
    """Reads the cells of one text file, which write fractions in one way: with a point, or with a comma."""

    def __init__(self) -> None:
        self._mark = ""

    def to_numbers(self, cells: Sequence[str], name: str, locate: Callable[[int], str]) -> FloatArray:
        """Read a column, (n,); NaN where a cell says that there is none.

        Raises:
            EvaluationError: a cell is not a number.
        """
        joined = "\0".join(cells)
        plain = not joined.encode("utf-8", "replace").translate(None, _PLAIN)
        if plain and self._mark != ",":  # so much is read by numpy alone
            if not self._mark and "." in joined:
                self._mark = "."
            try:
                return np.array(cells, dtype=np.float64)
            except ValueError:  # the usual reason is an empty cell
                pass
        return np.array([self._to_number(cell, name, locate, index) for index, cell in enumerate(cells)])

    def to_vectors(self, cells: Sequence[str], name: str, locate: Callable[[int], str]) -> FloatArray:
        """Read a column of lists, as numpy, pandas and JSON write them, (n, k).

        Raises:
            EvaluationError: a cell is no list of numbers, or not as long as the others.
        """
        return stack_vectors([parse_list(cell) for cell in cells], name, locate)

    def _to_number(self, cell: str, name: str, locate: Callable[[int], str], index: int) -> float:
        text = cell.strip()
        if not text:
            return np.nan
        if self._mark == "." and _NUMBER.fullmatch(text):  # most cells, soonest
            return float(text)
        low = text.lower()
        if low in MISSING:
            return np.nan
        if low in _FLAGS:
            return _FLAGS[low]
        if _INFINITE.fullmatch(text):
            return float(text)
        mark = "," if "," in text else "." if "." in text else ""
        if mark and self._mark and mark != self._mark:
            there = {",": "a decimal comma", ".": "a decimal point"}
            raise EvaluationError(
                f"{locate(index)}, column {name!r}: {text!r} has {there[mark]}, rows before it {there[self._mark]}"
            )
        number = text.replace(",", ".") if text.count(",") == 1 else text
        if not _NUMBER.fullmatch(number):
            raise EvaluationError(f"{locate(index)}, column {name!r}: not a number")
        self._mark = self._mark or mark
        return float(number)


def is_list(cell: str) -> bool:
    """Return whether a cell is a list, as numpy, pandas and JSON write one."""
    return cell.strip().startswith(_OPENING)


def parse_list(cell: str) -> list[float] | None:
    """Read a cell that is a list of numbers; None if it is not.

    >>> parse_list("[0.2 0.8]"), parse_list("(0.5, 0.5)"), parse_list("[[0.1], [0.9]]"), parse_list("0.5")
    ([0.2, 0.8], [0.5, 0.5], [0.1, 0.9], None)
    """
    if not is_list(cell):
        return None
    inner = re.sub(r"[\[\]()]|array|dtype=\w+|np\.float\d+", " ", cell).strip(" ,\n")
    parts = [part for part in _SEPARATORS.split(inner) if part]
    return [float(part) for part in parts] if all(map(_NUMBER.fullmatch, parts)) else None


def stack_vectors(rows: Sequence[Sequence[float] | None], name: str, locate: Callable[[int], str]) -> FloatArray:
    """Stack lists of numbers, (n, k).

    Raises:
        EvaluationError: one is missing, or not as long as the first.
    """
    width = next((len(row) for row in rows if row is not None), 0)
    for index, row in enumerate(rows):
        if row is None:
            raise EvaluationError(f"{locate(index)}, column {name!r}: not a list of numbers")
        if len(row) != width:
            raise EvaluationError(f"{locate(index)}, column {name!r}: a list of {len(row)}, where others have {width}")
    return np.array(rows, dtype=np.float64).reshape(len(rows), width)


def read_vector(value: Any, keys: Sequence[str] | None = None) -> list[float] | None:
    """Read a list of numbers, or an object of them by ``keys``; None if it is neither.

    Lists of one number each, as the Open Bandit Pipeline has them, count as their number.
    """
    if isinstance(value, dict):
        if keys is None or value.keys() != set(keys):
            return None
        value = [value[key] for key in keys]
    if not isinstance(value, list | tuple):
        return None
    numbers = [each[0] if isinstance(each, list | tuple) and len(each) == 1 else each for each in value]
    if not all(isinstance(each, int | float) for each in numbers):
        return None
    try:
        return [float(each) for each in numbers]
    except OverflowError:
        return None


def to_text(value: object) -> str:
    """Return what a cell of names holds: text as it is, without blanks around it; a whole number without a fraction."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)


def is_missing(value: object) -> bool:
    """Return whether a cell is a missing value: null, NaN, or text that means it."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and value.strip().lower() in MISSING)
