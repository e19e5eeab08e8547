"""Slots: a phrase of a shipped file may name a list of words, and then stands for one literal for each of them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Final

_SLOT: Final = re.compile(r"\{([a-z_]+)\}")


def expand_slots(phrase: str, slots: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Return every literal that a phrase stands for.

    Raises:
        KeyError: there is no slot of that name.

    >>> list(expand_slots("last {unit}", {"unit": ["week", "month"]}))
    ['last week', 'last month']
    """
    pieces = _SLOT.split(phrase)
    choices = (slots[piece] if place % 2 else (piece,) for place, piece in enumerate(pieces))
    return ("".join(chosen) for chosen in product(*choices))
