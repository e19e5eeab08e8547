"""A reading of a turn: the few things about it that rules and classifier look at, worked out once.

Both ends of the user's message are read and no more, because people say how they took an answer first or last, and what
stands in between is often pasted. So the time a local verdict takes does not grow with the message.
"""

import re
import unicodedata
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import Final

from bandstand.judge.text import cut
from bandstand.judge.turn import CutTurn

WINDOW: Final = 400
"""How many code points of a message are read, head and tail together."""

REPEATS_AT: Final = 0.8
"""A message this similar to the user's own question repeats it."""

_CLOSING: Final = 40
"""A question still closes an answer if no more than this follows it, such as "Let me know!"."""

_EASTERN: Final = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_EMOJI: Final = "\u2600-\u27bf\U0001f300-\U0001faff"
# One class a branch and no branch inside another: the time is linear in the text, whatever the text.
_TOKEN: Final = re.compile(f"[{_EASTERN}]|[^\\W_{_EASTERN}]+|[{_EMOJI}]|[?]")
_MARKS: Final = re.compile("[\u0300-\u036f]")
_DIGITS: Final = re.compile("[0-9]+")
_APOSTROPHES: Final = re.compile("['’‘ʼ`´]")
# Common traditional characters, each before its simplified form.
_TRADITIONAL: Final = str.maketrans(
    {
        pair[0]: pair[1]
        for pair in resources.files("bandstand.judge").joinpath("data", "traditional.txt").read_text("utf-8").split()
    }
)
_ANY_TRADITIONAL: Final = re.compile(f"[{''.join(map(chr, _TRADITIONAL))}]")
_QUESTION_PARTICLES: Final = ("吗", "呢", "么")
_SHORT: Final = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """What the local tiers know of a turn.

    Attributes:
        text: the user's message, normalised by :func:`normalised`, both ends of it.
        tokens: its words, single Chinese or Japanese characters, emoji, and question marks.
        asked: whether the answer closed with a question, so that "no" is an answer and no complaint.
        repeats: how much the message repeats the user's own question, in [0, 1]; see :func:`similarity`.
    """

    text: str
    tokens: tuple[str, ...]
    asked: bool
    repeats: float


def read(turn: CutTurn) -> Reading:
    """Read a turn."""
    text = _window(turn.query_t1)
    tokens = tokens_of(text)
    return Reading(text, tokens, asks(turn.answer_t), similarity(tokens_of(_window(turn.query_t)), tokens))


def normalised(text: str) -> str:
    """Fold what makes no difference to the meaning: case, accents, widths, apostrophes, digits, traditional characters.

    >>> normalised("Don’t  CAFÉ ２０１７ 說")
    'dont  cafe 0 说'
    """
    if not text.isascii():
        text = _MARKS.sub("", unicodedata.normalize("NFKD", text))
        if _ANY_TRADITIONAL.search(text):
            text = text.translate(_TRADITIONAL)
    return _DIGITS.sub("0", _APOSTROPHES.sub("", text.lower()))


def tokens_of(text: str) -> tuple[str, ...]:
    """Split normalised text into words, single Chinese and Japanese characters, emoji, and question marks.

    >>> tokens_of("no, 再说一遍!")
    ('no', '再', '说', '一', '遍')
    """
    return tuple(_TOKEN.findall(text))


def asks(answer: str) -> bool:
    """Tell whether an answer closes with a question, a short farewell after it allowed.

    >>> asks("Done. Would you like more? Just say so."), asks("Why? Because it is Sydney, as everyone in Perth knows.")
    (True, False)
    """
    closing = answer.rstrip()[-_CLOSING:]
    return "?" in closing or "？" in closing or closing.rstrip("。!！~～. ").endswith(_QUESTION_PARTICLES)


def similarity(question: tuple[str, ...], message: tuple[str, ...]) -> float:
    """Compare two texts by the pairs of neighbouring characters in them: the Dice coefficient 2|A∩B|/(|A|+|B|).

    Spaces and punctuation do not count, so it works alike for scripts with and without spaces. A question of fewer than
    six characters counts as unlike anything.

    >>> round(similarity(("推", "荐", "一", "部", "喜", "剧"), ("推", "荐", "一", "部", "喜", "剧", "吧")), 2)
    0.91
    """
    asked, said = _pairs(question), _pairs(message)
    if len(asked) < _SHORT:
        return 0.0
    return 2 * len(asked & said) / (len(asked) + len(said))


def _window(text: str) -> str:
    # Cut again, because decomposition can make eighteen characters of one.
    return cut(normalised(cut(text, WINDOW)), WINDOW)


def _pairs(tokens: tuple[str, ...]) -> set[tuple[str, str]]:
    letters = "".join(tokens).replace("?", "")
    return set(pairwise(letters))
