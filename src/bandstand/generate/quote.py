"""Untrusted text made fit to stand in a prompt: bounded, visible, escaped and fenced.

Quoted data stands between ``<tasks>`` and ``</tasks>`` (or ``<extra>``) as JSON in which every ``&``, ``<`` and ``>``
is escaped, so no text can close its fence; what cannot be seen (control, bidi, zero-width, filling and tag characters,
rows of joiners and variation selectors) is taken out, so no text can hide in it.
"""

import json
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple

from bandstand.generate.tasks import Task, select_most_urgent

MAX_TASKS_CHARS = 16_000
MAX_EXTRA_CHARS = 2_000

_MAX_ID_CHARS = 100
_MAX_TEXT_CHARS = 500
_MAX_TASK_EXTRA_CHARS = 1_000
_MAX_DEPTH = 6
_MAX_NUMBER = 2**63
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
        text: the fenced tasks, one JSON object a line; an empty fence if there are none.
        left_out: how many tasks did not fit.
        places: by the id that each of those that did is quoted with, where it stands among all. A task has its own id
            there, or, where that is missing, another's too, or unfit to be quoted, one that is made up.
    """

    text: str
    left_out: int
    places: Mapping[str, int] = MappingProxyType({})


def quote_tasks(raw: Sequence[Mapping[str, object]], characters: int = MAX_TASKS_CHARS) -> QuotedTasks:
    """Quote as many tasks as fit into a number of characters, at most 200, in the caller's order.

    The least urgent are left out first, and among equals the oldest.

    Args:
        raw: the tasks, as the product sent them.
        characters: how long the lines may be together, fence excluded.
    """
    kept: list[tuple[int, str]] = []
    room = characters
    tasks = select_most_urgent(raw)
    ids = _choose_ids(tasks)
    for position, task in tasks:
        line = _format_task(task, ids[position])
        room -= len(line) + 1
        if room < 0:
            break
        kept.append((position, line))
    places = {ids[position]: position for position, _ in kept}
    return QuotedTasks(wrap_in_fence("tasks", [line for _, line in sorted(kept)]), len(raw) - len(kept), places)


def quote_extra(extra: Mapping[str, object], characters: int = MAX_EXTRA_CHARS) -> str:
    """Quote a request's ``extra`` object, cut to about a number of characters; "" if it is empty."""
    return wrap_in_fence("extra", [_to_json(copy_bounded(extra, characters))]) if extra else ""


def wrap_in_fence(name: str, lines: Sequence[str]) -> str:
    """Lines between ``<name>`` and ``</name>``; they must be escaped already."""
    return "\n".join([f"<{name}>", *lines, f"</{name}>"])


def strip_hidden(text: str) -> str:
    """The text without what cannot be seen, but for line feeds, tabs, and a joiner or selector after a character."""
    if text.isascii() and text.isprintable():
        return text
    if not text.isprintable():
        text = "".join(c for c in text if unicodedata.category(c) not in _HIDDEN or c in _JOINERS or c in "\n\t")
    return _UNSEEN.sub(r"\1", text)


def truncate_end(text: str, characters: int) -> str:
    """The head of a text, with an ellipsis at its end if it is longer than a number of characters."""
    return text if len(text) <= characters else text[: max(characters - 1, 0)] + "…"


def copy_bounded(value: object, characters: int) -> object:
    """A copy of a JSON value with at most about a number of characters; what does not fit is left out."""
    return _Copier(characters).copy(value, 0)


class _Copier:
    def __init__(self, characters: int) -> None:
        self._room = characters

    def copy(self, value: object, depth: int) -> object:
        # Every value costs something, so that a wide tree of empty lists ends as well.
        self._room -= 4
        if isinstance(value, str):
            return self._copy_text(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return value if -_MAX_NUMBER < value < _MAX_NUMBER else "…"
        if isinstance(value, Mapping) and depth < _MAX_DEPTH:
            copied = {}
            for key, item in value.items():
                if self._room <= 0:
                    break
                copied[self._copy_text(str(key))] = self.copy(item, depth + 1)
            return copied
        if isinstance(value, list | tuple) and depth < _MAX_DEPTH:
            items = []
            for item in value:
                if self._room <= 0:
                    break
                items.append(self.copy(item, depth + 1))
            return items
        return "…"

    def _copy_text(self, text: str) -> str:
        text = strip_hidden(truncate_end(text, max(1, min(_MAX_TEXT_CHARS, self._room))))
        self._room -= len(text)
        return text


def _choose_ids(tasks: Sequence[tuple[int, Task]]) -> dict[int, str]:
    """An id for each task, by its position, that no other has; its own, if it is the first that has it."""
    own = {task.id for _, task in tasks}
    chosen: dict[int, str] = {}
    seen: set[str] = set()
    for position, task in sorted(tasks, key=itemgetter(0)):
        fits = task.id.isprintable() and 0 < len(task.id) <= _MAX_ID_CHARS
        chosen[position] = task.id if fits and task.id not in seen else _make_up_id(position, own)
        seen.add(chosen[position])
    return chosen


def _make_up_id(position: int, taken: Collection[str]) -> str:
    made_up = f"task-{position + 1}"
    while made_up in taken:
        made_up += "*"
    return made_up


def _format_task(task: Task, quoted_id: str) -> str:
    fields: dict[str, object] = {
        "id": quoted_id,
        "title": strip_hidden(truncate_end(task.title, _MAX_TEXT_CHARS)),
        "description": strip_hidden(truncate_end(task.description, _MAX_TEXT_CHARS)),
        "due": strip_hidden(truncate_end(task.due, _MAX_ID_CHARS)),
        "priority": task.priority,
        "is_overdue": task.is_overdue,
        "age_days": None if task.age_days is None else round(task.age_days, 1),
        "extra": copy_bounded(task.extra, _MAX_TASK_EXTRA_CHARS),
    }
    return _to_json({name: value for name, value in fields.items() if value not in ("", {}, None)})


def _to_json(value: object) -> str:
    return _ENCODER.encode(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
