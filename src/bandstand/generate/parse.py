"""Reads what a model wrote as tips: strictly in shape, forgivingly in what a product can be spared.

The text must hold JSON: an array of ``{id?, content, rationale?, task_id?}``, or an object that wraps exactly one
array; of several the last that is tips counts, after what the model thought aloud. A code fence, or prose, around it
does no harm. Anything else is refused with a reason the model can act on. Ids are made to
be there, unique and fit for ``/score``; empty tips are dropped, long ones cut, and what cannot be seen is taken out. A
task's id that the model was not shown is dropped.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import count
from typing import NamedTuple, NoReturn

from bandstand.generate.quote import strip_hidden, truncate_end
from bandstand.generate.tips import GeneratedTip
from bandstand.llm.reply_json import iter_json_values, iter_passages

MAX_CONTENT_CHARS = 2_000
MAX_ID_CHARS = 256

TIPS_SCHEMA: Mapping[str, object] = {
    "title": "tips",
    "type": "object",
    "properties": {
        "tips": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string"},
                    "content": {"type": "string"},
                    "rationale": {"type": ["string", "null"]},
                    "task_id": {"type": ["string", "null"]},
                },
                "required": ["id", "content", "rationale", "task_id"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["tips"],
    "additionalProperties": False,
}
"""The answer's shape, for gateways that enforce one; strict modes want every field required and an object around it."""

_MAX_READ_CHARS = 262_144
_FENCE = re.compile(r"```[a-zA-Z0-9_-]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)


class NotTipsError(ValueError):
    """The text is not tips; the message says what is wrong in words fit for the model."""


class _Draft(NamedTuple):
    id: str
    content: str
    rationale: str | None
    task_id: str


def parse_tips(text: str, n: int, task_ids: Collection[str] = ()) -> tuple[GeneratedTip, ...]:
    """The first ``n`` tips of a model's text, fewer where it wrote fewer.

    Args:
        text: what it wrote.
        n: how many are wanted.
        task_ids: the ids of tasks that it was shown.

    Raises:
        NotTipsError: the text has another shape.
    """
    drafts = _find_drafts(text)
    drafts = [draft for draft in drafts if draft.content][:n]
    ids = _make_unique([draft.id for draft in drafts])
    return tuple(
        GeneratedTip(
            id=tip_id,
            content=draft.content,
            rationale=draft.rationale,
            source_id=draft.task_id if draft.task_id in task_ids else None,
        )
        for tip_id, draft in zip(ids, drafts, strict=True)
    )


def _find_drafts(text: str) -> list[_Draft]:
    """Read the whole text as tips, or the last tips that stand somewhere in it."""
    try:
        value = _parse_json(_strip_fence(text))
    except NotTipsError:
        for passage in iter_passages(text):
            values = iter_json_values(passage, "[{", max_chars=_MAX_READ_CHARS, constants=False)
            found = [drafts for each in values if (drafts := _try_drafts(each))]
            if found:
                return found[-1]
        raise
    return _parse_drafts(value)


def _try_drafts(value: object) -> list[_Draft]:
    """Return tips; none where the value is something else, as much of prose is."""
    try:
        return _parse_drafts(value)
    except NotTipsError:
        return []


def _parse_drafts(value: object) -> list[_Draft]:
    return [_parse_draft(item, position) for position, item in enumerate(_find_array(value), 1)]


def _strip_fence(text: str) -> str:
    text = text.strip().removeprefix("\ufeff")
    fenced = _FENCE.fullmatch(text)
    return fenced[1] if fenced else text


def _parse_json(text: str) -> object:
    if not text:
        raise NotTipsError("The answer is empty.")
    try:
        return json.loads(text, parse_constant=_reject_constant)
    except json.JSONDecodeError as error:
        raise NotTipsError(f"The answer is not JSON: {error.msg} at line {error.lineno}.") from None
    except RecursionError:
        raise NotTipsError("The answer is nested too deeply.") from None
    except ValueError:
        # An integer of thousands of digits.
        raise NotTipsError("The answer holds a number that is too long.") from None


def _reject_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not JSON", "", 0)


def _find_array(value: object) -> Sequence[object]:
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise NotTipsError("The answer is neither an array nor an object with one.")
    arrays = [item for item in value.values() if isinstance(item, list)]
    if len(arrays) != 1 or "content" in value:
        raise NotTipsError("The answer is an object that does not hold exactly one array of tips.")
    tips: list[object] = arrays[0]
    return tips


def _parse_draft(item: object, position: int) -> _Draft:
    if not isinstance(item, dict):
        raise NotTipsError(f"Tip {position} is not an object.")
    content, rationale, tip_id, task_id = (item.get(key) for key in ("content", "rationale", "id", "task_id"))
    if not isinstance(content, str):
        raise NotTipsError(f"Tip {position} has no text as its content.")
    if rationale is not None and not isinstance(rationale, str):
        raise NotTipsError(f"The rationale of tip {position} is not a text.")
    if isinstance(tip_id, bool) or not isinstance(tip_id, str | int | None):
        raise NotTipsError(f"The id of tip {position} is not a text.")
    if isinstance(task_id, bool) or not isinstance(task_id, str | int):
        task_id = ""
    return _Draft(_clean_id(tip_id), _clean_text(content), _clean_text(rationale or "") or None, str(task_id))


def _clean_id(value: str | int | None) -> str:
    """The model's id, or "" if there is none that ``/score`` would take."""
    tip_id = "" if value is None else str(value).strip()
    return tip_id if len(tip_id) <= MAX_ID_CHARS and tip_id.isprintable() else ""


def _clean_text(text: str) -> str:
    return truncate_end(strip_hidden(text).strip(), MAX_CONTENT_CHARS)


def _make_unique(ids: Sequence[str]) -> list[str]:
    """Fill in ``tip-{i}`` (i from 1) if an id is missing, and make repeated ones different: the first keeps its id."""
    taken = set(ids)
    seen: set[str] = set()
    unique: list[str] = []
    for position, given in enumerate(ids, 1):
        wanted = given or f"tip-{position}"
        if wanted in seen or (not given and wanted in taken):
            wanted = next(other for other in _iter_variants(wanted) if other not in taken and other not in seen)
        seen.add(wanted)
        unique.append(wanted)
    return unique


def _iter_variants(tip_id: str) -> Iterator[str]:
    for number in count(2):
        suffix = f"-{number}"
        yield tip_id[: MAX_ID_CHARS - len(suffix)] + suffix
