"""Tips without a model: what the tasks themselves say, in plain words and nothing invented."""

from bandstand.generate.parse import ID_CHARACTERS
from bandstand.generate.quote import clipped, visible
from bandstand.generate.tasks import Task, most_urgent
from bandstand.generate.tips import Generation, Tip, TipRequest

TEMPLATE = "template"

_TITLE = 200
_LONG_WAIT_DAYS = 7.0
_PRIORITY_WORDS = {1: "low", 2: "medium", 3: "high", 4: "urgent"}
_PRESSING = (3, 4)


class TemplateTipGenerator:
    """One tip a task: overdue first, then by priority, then the longest waiting.

    Tasks without a title are passed over.
    """

    def generate(self, request: TipRequest) -> Generation:
        """Write at most ``request.n`` tips; fewer where there are fewer tasks."""
        tasks = [task for _, task in most_urgent(request.tasks)]
        chosen = sorted(filter(_title, tasks), key=_longest_waiting_first)[: request.n]
        return Generation(
            tips=tuple(_tip(task, position) for position, task in enumerate(chosen, 1)),
            requested=request.n,
            model=TEMPLATE,
            prompt_version=TEMPLATE,
            tasks_left_out=len(request.tasks) - len(tasks),
        )


def _longest_waiting_first(task: Task) -> tuple[bool, int, float]:
    return not task.is_overdue, -(task.priority or 1), -(task.age_days or 0.0)


def _title(task: Task) -> str:
    return " ".join(visible(clipped(task.title, _TITLE)).split())


def _tip(task: Task, position: int) -> Tip:
    return Tip(
        id=f"tip-{position}",
        content=_content(task),
        rationale=_rationale(task),
        source="template",
        source_id=task.id if 0 < len(task.id) <= ID_CHARACTERS else None,
    )


def _content(task: Task) -> str:
    title = f"“{_title(task)}”"
    if task.is_overdue:
        return f"{title} is overdue. Do it now, or choose a new day for it."
    if task.priority in _PRESSING:
        return f"Give {title} your next free half hour: it has {_PRIORITY_WORDS[task.priority]} priority."
    if task.age_days is not None and task.age_days >= _LONG_WAIT_DAYS:
        return f"{title} has waited {_days(task.age_days)}. Take its first step today, or let it go."
    return f"When you have a moment, take the next step on {title}."


def _rationale(task: Task) -> str | None:
    facts = ["overdue"] if task.is_overdue else []
    if task.priority is not None:
        facts.append(f"{_PRIORITY_WORDS[task.priority]} priority")
    if task.age_days is not None and task.age_days >= 1:
        facts.append(f"on the list for {_days(task.age_days)}")
    return f"{', '.join(facts).capitalize()}." if facts else None


def _days(age: float) -> str:
    days = int(age)
    return "1 day" if days == 1 else f"{days:,} days"
