"""JSON in what a model wrote: with thoughts before it, prose around it, and fences within that prose.

Models that reason aloud put it between marks such as ``<think>`` and ``</think>``, or, where their template has the
first, end it with the second alone. What follows the last such mark is the answer; only where that holds nothing is the
whole text read. One reader serves the judge, the arbiter and the generator.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

MAX_STARTS: Final = 256

_THOUGHT_END: Final = re.compile(
    r"</(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad)\s*>|<\|(?:/think|end_of_thought)\|>"
    r"|\[/THINK\]|◁/think▷",
    re.IGNORECASE,
)


def _reject_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not JSON", "", 0)


_STRICT: Final = json.JSONDecoder(parse_constant=_reject_constant)
_PLAIN: Final = json.JSONDecoder()


def strip_thoughts(text: str) -> str:
    """Return what a model said after it had thought; all of it where it shows no end of a thought.

    >>> strip_thoughts("<think>[1, 2]</think> [3]")
    ' [3]'
    """
    end = 0
    for mark in _THOUGHT_END.finditer(text):
        end = mark.end()
    return text[end:]


def iter_passages(text: str) -> Iterator[str]:
    """Yield the passages to search for an answer, the most likely first."""
    spoken = strip_thoughts(text)
    yield spoken
    if spoken != text:
        yield text


def iter_json_values(
    text: str, opening: str = "{", *, max_chars: int = 32_768, constants: bool = True
) -> Iterator[dict[str, Any] | list[Any]]:
    """Yield every JSON object (or array) of a text, none of them inside another, first to last.

    Args:
        text: what a model wrote.
        opening: the brackets with which a value may begin.
        max_chars: of a longer text the end is read.
        constants: whether NaN and the infinities are taken.
    """
    decoder = _PLAIN if constants else _STRICT
    text = text[-max_chars:]
    starts = [match.start() for match in re.finditer(f"[{re.escape(opening)}]", text)]
    after = 0
    for start in starts[-MAX_STARTS:]:
        if start < after:
            continue
        try:
            found, after = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        yield found
