"""The features of a tip: what the task that it is about says under the names that the deployment's schemas read."""

from collections.abc import Mapping

from bandstand.bandit.columns import MAX_MAGNITUDE, Field
from bandstand.definition import to_integer

_MAX_TEXT_CHARS = 256


def build_task_features(fields: Mapping[str, Field], task: Mapping[str, object]) -> dict[str, object]:
    """Candidate features of a task.

    A task is untrusted: a value that its field would not take in a request is left out, and the field's default counts.

    Args:
        fields: the candidates' fields of all configured schemas, by name.
        task: as the request has it.
    """
    values = {name: _read_value(task[name], field) for name, field in fields.items() if name in task}
    return {name: value for name, value in values.items() if _is_valid(value, fields[name])}


def _read_value(value: object, field: Field) -> object:
    return to_integer(value) if field.type == "integer" else value


def _is_valid(value: object, field: Field) -> bool:
    """Whether a request might hold the value: within the field's limits, or where it has none, within the model's."""
    if not field.is_valid(value):
        return False
    if isinstance(value, str):
        return len(value) <= _MAX_TEXT_CHARS
    low = -MAX_MAGNITUDE if field.minimum is None else field.minimum
    high = MAX_MAGNITUDE if field.maximum is None else field.maximum
    return isinstance(value, int | float) and low <= value <= high
