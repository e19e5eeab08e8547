"""Tips without a model: what the tasks themselves say, in plain words and nothing invented."""

from bandstand.generate.parse import MAX_ID_CHARS
from bandstand.generate.quote import strip_hidden, truncate_end
from bandstand.generate.tasks import Task, select_most_urgent
from bandstand.generate.tips import GeneratedTip, Generation, TipRequest

TEMPLATE = "template"

_MAX_TITLE_CHARS = 200
_LONG_WAIT_DAYS = 7.0
_PRIORITY_WORDS = {1: "low", 2: "medium", 3: "high", 4: "urgent"}
_HIGH_PRIORITIES = (3, 4)


class TemplateTipGenerator:
    """One tip a task: overdue first, then by priority, then the longest waiting.

    Tasks without a title are skipped.
    """

    def generate(self, request: TipRequest) -> Generation:
        """Write at most ``request.n`` tips; fewer if there are fewer tasks."""
        tasks = select_most_urgent(request.tasks)
        titled = [(place, task) for place, task in tasks if _get_title(task)]
        chosen = sorted(titled, key=lambda each: _get_sort_key(each[1]))[: request.n]
        return Generation(
            tips=tuple(_build_tip(task, place, number) for number, (place, task) in enumerate(chosen, 1)),
            requested=request.n,
            model=TEMPLATE,
            prompt_version=TEMPLATE,
            tasks_left_out=len(request.tasks) - len(tasks),
        )


def _get_sort_key(task: Task) -> tuple[bool, int, float]:
    return not task.is_overdue, -(task.priority or 1), -(task.age_days or 0.0)


def _get_title(task: Task) -> str:
    return " ".join(strip_hidden(truncate_end(task.title, _MAX_TITLE_CHARS)).split())


def _build_tip(task: Task, place: int, number: int) -> GeneratedTip:
    return GeneratedTip(
        id=f"tip-{number}",
        content=_format_content(task),
        rationale=_format_rationale(task),
        source="template",
        source_id=task.id if 0 < len(task.id) <= MAX_ID_CHARS else None,
        task=place,
    )


def _format_content(task: Task) -> str:
    title = f"“{_get_title(task)}”"
    if task.is_overdue:
        return f"{title} is overdue. Do it now, or choose a new day for it."
    if task.priority in _HIGH_PRIORITIES:
        return f"Give {title} your next free half hour: it has {_PRIORITY_WORDS[task.priority]} priority."
    if task.age_days is not None and task.age_days >= _LONG_WAIT_DAYS:
        return f"{title} has waited {_format_days(task.age_days)}. Take its first step today, or let it go."
    return f"When you have a moment, take the next step on {title}."


def _format_rationale(task: Task) -> str | None:
    reasons = ["overdue"] if task.is_overdue else []
    if task.priority is not None:
        reasons.append(f"{_PRIORITY_WORDS[task.priority]} priority")
    if task.age_days is not None and task.age_days >= 1:
        reasons.append(f"on the list for {_format_days(task.age_days)}")
    return f"{', '.join(reasons).capitalize()}." if reasons else None


def _format_days(age: float) -> str:
    days = int(age)
    return "1 day" if days == 1 else f"{days:,} days"
