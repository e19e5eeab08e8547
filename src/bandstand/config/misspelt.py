"""Variables of the environment that are nearly a setting's name, and so most likely meant to be it."""

import os
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import NamedTuple

from bandstand.config.settings import Settings

_OURS = frozenset({"BANDSTAND_API_KEY", "ALL_PROXY", "POST"})  # of the commands; of the HTTP clients; a word
_PREFIX = "BANDSTAND_"
_LONG = 8
_ALIKE = 0.9


class Misspelling(NamedTuple):
    """A variable, and the setting that it nearly is."""

    variable: str
    setting: str


def find_misspelt_settings(variables: Iterable[str] = os.environ) -> list[Misspelling]:
    """Find what would else be skipped without a word: names that differ by a letter or two.

    >>> find_misspelt_settings(["JUDGE_MDOEL", "judge_tua", "API_KEY", "BANDSTAND_STATE_DIR"])[0]
    Misspelling(variable='JUDGE_MDOEL', setting='JUDGE_MODEL')
    >>> find_misspelt_settings(["JUDGE_MODEL", "judge_model", "HOME", "HOSTNAME", "PATH", "SHELL"])
    []
    """
    settings = [name.upper() for name in Settings.model_fields]
    found = []
    for variable in sorted(variables):
        name = variable.upper()
        if name in settings or name in _OURS:
            continue
        if name.removeprefix(_PREFIX) in settings:
            found.append(Misspelling(variable, name.removeprefix(_PREFIX)))
        elif nearest := next((setting for setting in settings if _is_near(name, setting)), None):
            found.append(Misspelling(variable, nearest))
    return found


def _is_near(name: str, setting: str) -> bool:
    if min(len(name), len(setting)) >= _LONG:
        matcher = SequenceMatcher(None, name, setting)
        # The first two are upper bounds of the third, and take next to no time.
        if all(bound() >= _ALIKE for bound in (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)):
            return True
    return _is_one_edit(name, setting)


def _is_one_edit(first: str, second: str) -> bool:
    """Whether one letter was added, left out or exchanged, or two neighbours were."""
    if abs(len(first) - len(second)) > 1:
        return False
    start = 0
    while start < min(len(first), len(second)) and first[start] == second[start]:
        start += 1
    left, right = first[start:], second[start:]
    return (
        left[1:] == right[1:]
        or left[1:] == right
        or left == right[1:]
        or (left[:2] == right[1::-1] and left[2:] == right[2:])
    )
