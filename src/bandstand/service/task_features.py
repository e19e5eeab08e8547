"""The features of a tip: what the task that it is about says under the names that the deployment's schemas read."""

from collections.abc import Collection, Mapping, Sequence

from bandstand.bandit.columns import MAX_MAGNITUDE, Field
from bandstand.generate.tasks import task_id

_MAX_TEXT_CHARS = 256


def build_task_features(
    fields: Mapping[str, Field], tasks: Sequence[Mapping[str, object]], ids: Collection[str | None]
) -> dict[str | None, dict[str, object]]:
    """Candidate features of the tasks with these ids; of two tasks with one id the first counts.

    A task is untrusted: a value that its field would not take in a request is left out, and the field's default counts.

    Args:
        fields: the candidates' fields of all configured schemas, by name.
        tasks: the request's tasks.
        ids: which of them.
    """
    found: dict[str | None, dict[str, object]] = {}
    for task in tasks:
        if len(found) == len(ids):
            break
        identity = task_id(task)
        if identity in ids and identity not in found:
            found[identity] = {
                name: task[name] for name, field in fields.items() if name in task and _is_valid(task[name], field)
            }
    return found


def _is_valid(value: object, field: Field) -> bool:
    """Whether a request might hold the value: within the field's limits, or where it has none, within the model's."""
    if not field.is_valid(value):
        return False
    if isinstance(value, str):
        return len(value) <= _MAX_TEXT_CHARS
    low = -MAX_MAGNITUDE if field.minimum is None else field.minimum
    high = MAX_MAGNITUDE if field.maximum is None else field.maximum
    return isinstance(value, int | float) and low <= value <= high
