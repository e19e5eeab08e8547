"""Ratings: a mark that a message is or opens with, such as "1/5" or "⭐⭐", and emoji of known meaning."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from bandstand.judge.local.tokens import split_tokens

PRAISE_FROM: Final = 0.4
"""A rating at least this high praises; one at least as far below 0 complains."""

_MAX_LENGTH: Final = 120
_FIVE: Final = 5.0
_MAX_DIGITS: Final = 3
_MIN_GLYPHS: Final = 3
"""So many stars before words are a rating; one may be an ornament."""

_NUMBERS: Final = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "ten": 10, "a": 1,
    "null": 0, "ein": 1, "eine": 1, "einen": 1, "zwei": 2, "drei": 3, "vier": 4, "funf": 5, "zehn": 10,
    "cero": 0, "un": 1, "una": 1, "uno": 1, "dos": 2, "tres": 3, "cuatro": 4, "cinco": 5, "diez": 10,
    "零": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "十": 10,
}  # fmt: skip
_TOPS: Final = (5.0, 10.0, 100.0)
_LEADS: Final = tuple(
    tuple(lead.split())
    for lead in (
        "i ' d give it a", "i ' d give it", "i ’ d give it", "i would give it a", "i would give it", "i give it a",
        "i give it", "i give this a", "i give this", "i give that a", "i rate it a", "i rate it", "i rate this",
        "i ' d rate it", "i would rate it", "a", "an", "a solid", "solid", "rating :", "rating", "score :", "score",
        "note :", "note", "bewertung :", "bewertung", "von mir", "ich gebe", "le doy", "te doy", "nota :", "nota",
        "puntuacion :", "puntuacion", "我 打", "我 给", "给", "打", "评 分 :", "评 分", "评 价 :", "评 价",
    )
)  # fmt: skip
_LEADS_BY_FIRST: Final = {first: [lead for lead in _LEADS if lead[0] == first] for first, *_ in _LEADS}
_OVER: Final = (("/",), ("out", "of"), ("of",), ("von",), ("aus",), ("de",), ("sobre",), ("auf",))
_STARS: Final = (
    *((word,) for word in ("star", "stars", "stern", "sterne", "sternen", "estrella", "estrellas", "星")),
    ("颗", "星"),
)
_UNITS: Final = (
    *_STARS,
    *((word,) for word in ("point", "points", "punkt", "punkte", "punkten", "punto", "puntos", "分")),
)
_VERDICTS: Final = (("好", "评"), ("差", "评"))
_GOES_ON: Final = frozenset(
    {"would", "from", "for", "because", "since", "weil", "wegen", "porque", "gracias", "thanks", "danke"}
)

# One class a branch: the time is linear in the text.
_PIECE: Final = re.compile(r"[\u4e00-\u9fff]|[0-9]+|[^\W0-9_\u4e00-\u9fff]+|[^\w\s]")
_MARKS: Final = re.compile("[\u0300-\u036f\ufe0f]")

_KNOWN_SIGNS: Final = frozenset(
    "👍👎👌✅❌👏🙌💯🥰😍😘🤩😻❤💖💕💗💙💚💜🧡💛😊😃😄😁😀☺🎉🔥🌟💪😎🤗🏆🥇✨"
    "😡🤬😠🤮🤢💩😤🙄😒😞🙁☹😔😢😭😩😫🥱💔😑👿🖕🤦😖😣😟😕🙏🙂👋⭐★"
)


def is_known_sign(token: str) -> bool:
    """Return whether an emoji is a sign of approval or disapproval; the shipped rules ``any.*`` say of which."""
    return token in _KNOWN_SIGNS


def has_known_sign(tokens: Iterable[str]) -> bool:
    """Return whether one of these words is such an emoji."""
    return not _KNOWN_SIGNS.isdisjoint(tokens)


def parse_rating(message: str) -> float | None:
    """Read the rating that a message is, or opens with: −1 is the worst mark, 1 the best, 0 the middle.

    Out of five the lowest mark is 1, as on every form; out of ten and a hundred it is 0.

    Returns:
        The rating; None if there is none, or it is beyond its scale.

    >>> parse_rating("1/5"), parse_rating("5 von 5 Sternen"), parse_rating("⭐⭐⭐⭐⭐"), parse_rating("3/5")
    (-1.0, 1.0, 1.0, 0.0)
    >>> parse_rating("1/5 is my birthday") is None
    True
    """
    if len(message) > _MAX_LENGTH:
        return None
    text = message.strip().lower()
    if not text.isascii():
        text = _MARKS.sub("", unicodedata.normalize("NFKD", text))
    first = _PIECE.match(text)
    # Most messages begin as no rating does, and one look tells so.
    if first is None or not (first[0].isdecimal() or first[0] in _BEGINNINGS):
        return None
    pieces = tuple(_PIECE.findall(text))
    if (vote := _parse_vote(pieces)) is not None:
        return vote
    if pieces[:1] and pieces[0] in _LIT:
        return _parse_glyphs(pieces)
    # With and without what may stand before a mark: "a 5", "5".
    leads = _LEADS_BY_FIRST.get(pieces[0], ()) if pieces else ()
    starts = [0, *(len(lead) for lead in leads if pieces[: len(lead)] == lead)]
    return next((mark for start in starts if (mark := _parse_mark(pieces[start:])) is not None), None)


_LIT: Final = frozenset("⭐★")
_DARK: Final = "☆"
_VOTES: Final = {"+": 1.0, "-": -1.0, "−": -1.0, "–": -1.0}
_BEGINNINGS: Final = frozenset({*_NUMBERS, *_LEADS_BY_FIRST, *_LIT, *_VOTES})
_Pieces = tuple[str, ...]


def _parse_vote(pieces: _Pieces) -> float | None:
    """Read "+1" and "-1", which nothing but stops may follow."""
    is_vote = pieces[1:2] == ("1",) and all(piece in ".!" for piece in pieces[2:])
    return _VOTES.get(pieces[0]) if is_vote else None


def _parse_glyphs(pieces: _Pieces) -> float | None:
    lit = next((place for place, piece in enumerate(pieces) if piece not in _LIT), len(pieces))
    shown = next((place for place in range(lit, len(pieces)) if pieces[place] != _DARK), len(pieces))
    rest = pieces[shown:]
    if shown > _FIVE or any(piece in _LIT or piece == _DARK for piece in rest):
        return None
    return None if split_tokens("".join(rest)) and shown < _MIN_GLYPHS else _scale(lit, _FIVE)


def _parse_mark(pieces: _Pieces) -> float | None:
    """Read "4.5 out of 5", "two of ten points" or "3 stars", and what may follow it."""
    value, rest = _parse_number(pieces)
    if value is None:
        return None
    over = _match_any(rest, _OVER)
    if over:
        top, rest = _parse_number(rest[over:])
        if top not in _TOPS:
            return None
        rest = rest[_match_any(rest, _UNITS) :]
    else:
        stars = _match_any(rest, _STARS)
        if not stars:
            return None
        top, rest = _FIVE, rest[stars:]
        rest = rest[_match_any(rest, _VERDICTS) :]
    is_all = not rest or rest[0] in _GOES_ON or not (rest[0].isalnum() or rest[0] == "/")
    return _scale(value, top) if is_all else None


def _match_any(pieces: _Pieces, phrases: Iterable[_Pieces]) -> int:
    """Return how many pieces the first of the phrases takes that stands here; 0 where none does."""
    return next((len(phrase) for phrase in phrases if pieces[: len(phrase)] == phrase), 0)


def _parse_number(pieces: _Pieces) -> tuple[float | None, _Pieces]:
    """Read a number in digits or as a word, and return it with what stands after it."""
    if not pieces:
        return None, pieces
    if pieces[0] in _NUMBERS:
        return float(_NUMBERS[pieces[0]]), pieces[1:]
    if not (pieces[0].isdecimal() and len(pieces[0]) <= _MAX_DIGITS):
        return None, pieces
    is_decimal = pieces[1:2] and pieces[1] in ".," and len(pieces[2:3] and pieces[2]) == 1 and pieces[2].isdecimal()
    return (float(f"{pieces[0]}.{pieces[2]}"), pieces[3:]) if is_decimal else (float(pieces[0]), pieces[1:])


def _scale(value: float, top: float) -> float | None:
    low = 1.0 if top == _FIVE else 0.0
    return max(-1.0, 2 * (value - low) / (top - low) - 1) if 0 <= value <= top else None
