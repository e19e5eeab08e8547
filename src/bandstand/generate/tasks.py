"""Untrusted tasks, understood and bounded.

A task is whatever JSON object a product sends. The fields of :class:`Task` are understood; everything else, and a known
field of the wrong type, is kept under the task's ``extra`` and nowhere else. Nothing a task says can fail.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bandstand.definition import to_integer

MAX_TASKS = 200

_PRIORITIES = range(1, 5)
_MAX_AGE_DAYS = 1e6
_MAX_ID = 2**63
_ALIASES = {
    "title": ("title", "content", "name"),
    "description": ("description", "notes"),
    "due": ("due", "due_at", "due_date"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task, as far as it was understood.

    Attributes:
        id: the product's id of it, or "".
        title: what is to be done (``title``, ``content`` or ``name``), or "".
        description: more about it (``description`` or ``notes``), or "".
        due: when it is due, in the product's words (``due``, ``due_at`` or ``due_date``), or "".
        priority: 1 (low) to 4 (urgent), or None, which sorts as 1.
        is_overdue: whether it is known to be late.
        age_days: days since it was made (``task_age_days``), at least 0, or None, which sorts as 0.
        extra: everything else, as it came.
    """

    id: str = ""
    title: str = ""
    description: str = ""
    due: str = ""
    priority: int | None = None
    is_overdue: bool = False
    age_days: float | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


def read_task(raw: Mapping[str, object]) -> Task:
    """Understand one task."""
    rest = dict(raw)
    texts = {name: _take_text(rest, aliases) for name, aliases in _ALIASES.items()}
    identity, priority, is_overdue, age = task_id(rest), _parse_priority(rest), _parse_overdue(rest), _parse_age(rest)
    for name, value in (("id", identity), ("priority", priority), ("is_overdue", is_overdue), ("task_age_days", age)):
        if value is not None:
            del rest[name]
    return Task(
        id=identity or "",
        title=texts["title"],
        description=texts["description"],
        due=texts["due"],
        priority=priority,
        is_overdue=is_overdue or False,
        age_days=age,
        extra=rest,
    )


def task_id(raw: Mapping[str, object]) -> str | None:
    """A task's id as a text; None if it has none, or one of another type."""
    value = to_integer(raw.get("id"))
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MAX_ID:
        return str(value)
    return value if isinstance(value, str) else None


def select_most_urgent(raw: Sequence[Mapping[str, object]], count: int = MAX_TASKS) -> list[tuple[int, Task]]:
    """At most ``count`` tasks with their positions in ``raw``, the most urgent first.

    Urgency is being overdue, then priority, then youth: what is left out is the least urgent and, among equals, the
    oldest.
    """
    # A body may hold hundreds of thousands, and the event loop waits: ages are looked at only as far as needed.
    ranks: list[list[int]] = [[] for _ in range(2 * _PRIORITIES.stop)]
    for position, task in enumerate(raw):
        ranks[_compute_rank(task)].append(position)
    positions: list[int] = []
    for rank in reversed(ranks):
        rank.sort(key=lambda position: _parse_age(raw[position]) or 0.0)
        positions += rank[: count - len(positions)]
        if len(positions) == count:
            break
    return [(position, read_task(raw[position])) for position in positions]


def _compute_rank(raw: Mapping[str, object]) -> int:
    """Being overdue, then priority, as one number."""
    priority = _parse_priority(raw) or 1
    return priority + _PRIORITIES.stop if raw.get("is_overdue") is True else priority


def _take_text(rest: dict[str, object], names: Sequence[str]) -> str:
    for name in names:
        value = rest.get(name)
        if isinstance(value, str) and value.strip():
            del rest[name]
            return value
    return ""


def _parse_priority(raw: Mapping[str, object]) -> int | None:
    value = to_integer(raw.get("priority"))
    return value if type(value) is int and value in _PRIORITIES else None


def _parse_overdue(raw: Mapping[str, object]) -> bool | None:
    value = raw.get("is_overdue")
    return value if isinstance(value, bool) else None


def _parse_age(raw: Mapping[str, object]) -> float | None:
    value = raw.get("task_age_days")
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not -_MAX_AGE_DAYS < value < _MAX_AGE_DAYS:
        return None
    return max(0.0, float(value))
