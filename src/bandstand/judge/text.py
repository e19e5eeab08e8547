"""Untrusted text made fit to be judged: what cannot be seen is taken out, what is too long is cut, markup is quoted.

The order matters and is always: :func:`strip_hidden`, :func:`truncate_middle`, then
:func:`wrap_in_fence`. Cutting counts what a reader would see, and a fence goes round text that can no longer change.
"""

import re
from typing import Final

GAP: Final = " […] "
"""Stands where the middle of a text was cut out."""

_ZERO_WIDTH: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u206f\u3164\ufeff\uffa0"
)
_BIDI: Final = "\u202a-\u202e"
_SELECTORS: Final = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_TAGS: Final = "\ufff9-\ufffb\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
_CONTROL: Final = "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"
_HIDDEN: Final = re.compile(f"[{_CONTROL}{_ZERO_WIDTH}{_BIDI}{_SELECTORS}{_TAGS}]")
_LINE_BREAK: Final = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SUSPECT: Final = re.compile(
    f"[{_CONTROL}\x0b\x0c\r\x85\u2028\u2029{_ZERO_WIDTH}{_BIDI}{_SELECTORS}{_TAGS}\ud800-\udfff]"
)


def strip_hidden(text: str) -> str:
    r"""Take out what a reader cannot see, so that what is judged is what was shown.

    Gone are control characters (but ``\n`` and ``\t``), zero-width characters and joiners, soft hyphens, Hangul
    fillers, bidirectional controls, variation selectors, and tag characters. Every kind of line break becomes ``\n``,
    and a lone surrogate U+FFFD. The price: emoji joined from several fall apart into them, and Persian and
    Indic words lose their joining hints.

    >>> strip_hidden("per\u200bfect\u202e!")
    'perfect!'
    """
    if not _SUSPECT.search(text):
        return text
    return _LONE_SURROGATE.sub("\ufffd", _HIDDEN.sub("", _LINE_BREAK.sub("\n", text)))


def truncate_middle(text: str, limit: int) -> str:
    """Keep at most ``limit`` code points, head and tail in equal parts, with :data:`GAP` for what is left out.

    The tail stays because an answer's closing question decides what "no" means.

    Args:
        text: any text.
        limit: at least 16 code points.

    Raises:
        ValueError: the limit leaves no room for a head and a tail.

    >>> truncate_middle("0123456789" * 3, 16)
    '012345 […] 56789'
    """
    if limit < 16:  # noqa: PLR2004 - the smallest limit the docstring allows
        raise ValueError("a text can be cut to no less than 16 code points")
    if len(text) <= limit:
        return text
    room = limit - len(GAP)
    tail = room // 2
    return text[: room - tail] + GAP + text[-tail:]


def escape_markup(text: str) -> str:
    """Replace ``&``, ``<`` and ``>`` by entities, so that no text can open or close a fence."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def wrap_in_fence(name: str, text: str) -> str:
    """Put escaped text between ``<name>`` and ``</name>``, each on its own line."""
    return f"<{name}>\n{escape_markup(text)}\n</{name}>"
