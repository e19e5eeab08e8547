"""Untrusted text made fit to stand in a prompt: bounded, visible, escaped and fenced.

Quoted data stands between ``<tasks>`` and ``</tasks>`` (or ``<extra>``) as JSON in which every ``&``, ``<`` and ``>``
is escaped, so no text can close its fence; what cannot be seen (control, bidi, zero-width, filling and tag characters,
rows of joiners and variation selectors) is taken out, so no text can hide in it.
"""

import json
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from bandstand.generate.tasks import Task, most_urgent

TASKS_CHARACTERS = 16_000
EXTRA_CHARACTERS = 2_000

_ID = 100
_TEXT = 500
_TASK_EXTRA = 1_000
_DEPTH = 6
_LARGEST = 2**63
# Emoji and several scripts are spelled with these; every other format character only hides or reorders text.
_JOINERS = {"\u200c", "\u200d"}
_HIDDEN = {"Cc", "Cf", "Cs"}
_SELECTORS = "\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
# After a character one selector and one joiner say how it looks; what follows these unseen may be a message.
_UNSEEN = re.compile(f"([{_SELECTORS}]?+[\u200c\u200d]?+)[{_SELECTORS}{_FILLERS}\u200c\u200d]+")
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


class QuotedTasks(NamedTuple):
    """Tasks as a prompt may quote them.

    Attributes:
        text: the fenced tasks, one JSON object a line; an empty fence where there are none.
        left_out: how many tasks did not fit.
        ids: the ids of those that did, but for ids that are not quoted as they are.
    """

    text: str
    left_out: int
    ids: Collection[str] = frozenset()


def quote_tasks(raw: Sequence[Mapping[str, object]], characters: int = TASKS_CHARACTERS) -> QuotedTasks:
    """Quote as many tasks as fit into so many characters, at most 200, in the caller's order.

    The least urgent are left out first, and among equals the oldest.

    Args:
        raw: the tasks, as the product sent them.
        characters: how long the lines may be together, fence excluded.
    """
    kept: list[tuple[int, str]] = []
    ids: set[str] = set()
    room = characters
    for position, task in most_urgent(raw):
        line = _line(task)
        room -= len(line) + 1
        if room < 0:
            break
        kept.append((position, line))
        if task.id.isprintable() and 0 < len(task.id) <= _ID:
            ids.add(task.id)
    return QuotedTasks(fenced("tasks", [line for _, line in sorted(kept)]), len(raw) - len(kept), ids)


def quote_extra(extra: Mapping[str, object], characters: int = EXTRA_CHARACTERS) -> str:
    """Quote a request's ``extra`` object, cut to about so many characters; "" where it is empty."""
    return fenced("extra", [_json(bounded(extra, characters))]) if extra else ""


def fenced(name: str, lines: Sequence[str]) -> str:
    """Lines between ``<name>`` and ``</name>``; they must be escaped already."""
    return "\n".join([f"<{name}>", *lines, f"</{name}>"])


def visible(text: str) -> str:
    """The text without what cannot be seen, but for line feeds, tabs, and a joiner or selector after a character."""
    if text.isascii() and text.isprintable():
        return text
    if not text.isprintable():
        text = "".join(c for c in text if unicodedata.category(c) not in _HIDDEN or c in _JOINERS or c in "\n\t")
    return _UNSEEN.sub(r"\1", text)


def clipped(text: str, characters: int) -> str:
    """The text's head, ended by an ellipsis where it was longer than so many characters."""
    return text if len(text) <= characters else text[: max(characters - 1, 0)] + "…"


def bounded(value: object, characters: int) -> object:
    """A copy of a JSON value that holds about so many characters at most; what does not fit is left out."""
    return _Copier(characters).copy(value, 0)


class _Copier:
    def __init__(self, characters: int) -> None:
        self._room = characters

    def copy(self, value: object, depth: int) -> object:
        # Every value costs something, so that a wide tree of empty lists ends as well.
        self._room -= 4
        if isinstance(value, str):
            return self._text(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return value if -_LARGEST < value < _LARGEST else "…"
        if isinstance(value, Mapping) and depth < _DEPTH:
            copied = {}
            for key, item in value.items():
                if self._room <= 0:
                    break
                copied[self._text(str(key))] = self.copy(item, depth + 1)
            return copied
        if isinstance(value, list | tuple) and depth < _DEPTH:
            items = []
            for item in value:
                if self._room <= 0:
                    break
                items.append(self.copy(item, depth + 1))
            return items
        return "…"

    def _text(self, text: str) -> str:
        text = visible(clipped(text, max(1, min(_TEXT, self._room))))
        self._room -= len(text)
        return text


def _line(task: Task) -> str:
    shown: dict[str, object] = {
        "id": visible(clipped(task.id, _ID)),
        "title": visible(clipped(task.title, _TEXT)),
        "description": visible(clipped(task.description, _TEXT)),
        "due": visible(clipped(task.due, _ID)),
        "priority": task.priority,
        "is_overdue": task.is_overdue,
        "age_days": None if task.age_days is None else round(task.age_days, 1),
        "extra": bounded(task.extra, _TASK_EXTRA),
    }
    return _json({name: value for name, value in shown.items() if value not in ("", {}, None)})


def _json(value: object) -> str:
    return _ENCODER.encode(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
