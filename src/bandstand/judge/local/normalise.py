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

from bandstand.judge.text import truncate_middle
from bandstand.judge.turn import CutTurn

WINDOW: Final = 400
"""How many code points of a message are read, head and tail together."""

REPETITION_THRESHOLD: Final = 0.8
"""A message this similar to the user's own question repeats it."""

_MAX_CLOSING_CHARS: Final = 40
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
_MIN_PAIRS: Final = 5


@dataclass(frozen=True, slots=True)
class NormalisedTurn:
    """What the local tiers know of a turn.

    Attributes:
        text: the user's message, normalised by :func:`normalise_text`, both ends of it.
        tokens: its words, single Chinese or Japanese characters, emoji, and question marks.
        after_question: whether the answer closed with a question, so that "no" is an answer and no complaint.
        similarity: how much the message repeats the user's own question, in [0, 1]; see :func:`compute_similarity`.
    """

    text: str
    tokens: tuple[str, ...]
    after_question: bool
    similarity: float


def normalise_turn(turn: CutTurn) -> NormalisedTurn:
    """Read a turn."""
    text = _extract_window(turn.query_t1)
    tokens = split_tokens(text)
    return NormalisedTurn(
        text,
        tokens,
        has_closing_question(turn.answer_t),
        compute_similarity(split_tokens(_extract_window(turn.query_t)), tokens),
    )


def normalise_text(text: str) -> str:
    """Fold what makes no difference to the meaning: case, accents, widths, apostrophes, digits, traditional characters.

    >>> normalise_text("Don’t  CAFÉ ２０１７ 說")
    'dont  cafe 0 说'
    """
    if not text.isascii():
        text = _MARKS.sub("", unicodedata.normalize("NFKD", text))
        if _ANY_TRADITIONAL.search(text):
            text = text.translate(_TRADITIONAL)
    return _DIGITS.sub("0", _APOSTROPHES.sub("", text.lower()))


def split_tokens(text: str) -> tuple[str, ...]:
    """Split normalised text into words, single Chinese and Japanese characters, emoji, and question marks.

    >>> split_tokens("no, 再说一遍!")
    ('no', '再', '说', '一', '遍')
    """
    return tuple(_TOKEN.findall(text))


def has_closing_question(answer: str) -> bool:
    """Tell whether an answer closes with a question, a short farewell after it allowed.

    >>> has_closing_question("Done. Would you like more? Just say so.")
    True
    >>> has_closing_question("Why? Because it is Sydney, as everyone in Perth knows.")
    False
    """
    closing = answer.rstrip()[-_MAX_CLOSING_CHARS:]
    return "?" in closing or "？" in closing or closing.rstrip("。!！~～. ").endswith(_QUESTION_PARTICLES)


def compute_similarity(question: tuple[str, ...], message: tuple[str, ...]) -> float:
    """Compare two texts by the pairs of neighbouring characters in them: the Dice coefficient 2|A∩B|/(|A|+|B|).

    Spaces and punctuation do not count, so it works alike for scripts with and without spaces. A question of fewer than
    six characters counts as unlike anything.

    >>> round(compute_similarity(("推", "荐", "一", "部", "喜", "剧"), ("推", "荐", "一", "部", "喜", "剧", "吧")), 2)
    0.91
    """
    question_pairs, message_pairs = _build_pairs(question), _build_pairs(message)
    if len(question_pairs) < _MIN_PAIRS:
        return 0.0
    return 2 * len(question_pairs & message_pairs) / (len(question_pairs) + len(message_pairs))


def _extract_window(text: str) -> str:
    # Cut again, because decomposition can make eighteen characters of one.
    return truncate_middle(normalise_text(truncate_middle(text, WINDOW)), WINDOW)


def _build_pairs(tokens: tuple[str, ...]) -> set[tuple[str, str]]:
    letters = "".join(tokens).replace("?", "")
    return set(pairwise(letters))
