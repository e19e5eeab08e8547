"""Lexicon: words that praise, complain or wish for something else, so that an unforeseen sentence still speaks.

A word that a negation stands before counts for the other side: "not bad" praises. What is counted are words, as
evidence for the text model; no word decides anything by itself.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from typing import Final, Literal, get_args

from bandstand.judge.local.tokens import normalise_text, split_tokens
from bandstand.judge.taxonomy import Polarity

WordKind = Literal["praise", "complaint", "negator", "wish", "you", "me", "question", "thanks", "idle"]

_KINDS: Final[tuple[WordKind, ...]] = get_args(WordKind)
_TELLING: Final = _KINDS[:-1]
"""All kinds but phrases that only look like one: "kind of", "good morning", "my mistake"."""
_MAX_COUNTED: Final = 3
_NEGATED_WORDS: Final = 4
"""How many words a negation reaches: "not a Star Wars fan"."""
_MIN_PREFIX: Final = 2
_CACHED_WORDS: Final = 32_768
_CACHED_MESSAGES: Final = 16
"""Features, target and stand of one turn all ask for its words."""
_CACHED_CUES: Final = 1 << 12
_MAX_CHARACTERS: Final = 5
_SHORT: Final = 12
_VERY: Final = frozenset({"特别"})
"""Ends with what negates elsewhere."""
_CHINESE_NEGATORS: Final = frozenset("不没别无")


@dataclass(slots=True)
class _Entries:
    """The words of a language with spaces, by whole phrase and by how words begin; and those of one without."""

    phrases: dict[tuple[str, ...], list[WordKind]] = field(default_factory=dict)
    longest: dict[str, int] = field(default_factory=dict)
    beginnings: dict[str, list[WordKind]] = field(default_factory=dict)
    characters: dict[str, list[WordKind]] = field(default_factory=dict)
    plain_negators: frozenset[tuple[str, ...]] = frozenset()
    degrees: frozenset[str] = frozenset()
    fact_questions: frozenset[str] = frozenset()


def build_cues(tokens: tuple[str, ...], decisive: tuple[str, ...]) -> tuple[str, ...]:
    """Return cues from the words of a message: how many of each kind, and which kind is last.

    Args:
        tokens: the words in scope.
        decisive: those after the last "but"; none if there is none.
    """
    counts, last = _count_kinds(tokens)
    cues = _name_cues(tuple(counts.values()), last, is_question(tokens))
    if decisive:
        after, ends = _count_kinds(decisive)
        side = after["praise"] - after["complaint"]
        cues += (f"decisive{max(-1, min(1, side))}:ends{ends}", f"decisive:wish{bool(after['wish'])}")
    return cues


@lru_cache(maxsize=_CACHED_CUES)
def _name_cues(numbers: tuple[int, ...], last: WordKind | None, asks: bool) -> tuple[str, ...]:  # noqa: FBT001 (a key)
    counts = dict(zip(_KINDS, numbers, strict=True))
    names = [f"{kind}{min(counts[kind], _MAX_COUNTED)}" for kind in _TELLING if counts[kind]]
    balance = max(-_MAX_COUNTED, min(_MAX_COUNTED, counts["praise"] - counts["complaint"]))
    wishes = bool(counts["wish"])
    names += [
        f"balance{balance}",
        f"ends{last}",
        f"balance{balance}:wish{wishes}:asks{asks}",
        f"you{bool(counts['you'])}:me{bool(counts['me'])}:wish{wishes}:asks{asks}",
    ]
    return tuple(names)


def is_question(tokens: tuple[str, ...]) -> bool:
    """Return whether a message asks something: by its mark, or by the word that it opens with."""
    return "?" in tokens or "question" in _load_entries().phrases.get(tokens[:1], ())


def find_stand(tokens: tuple[str, ...]) -> WordKind | None:
    """Return the side that the words of a message are all on, "praise" or "complaint"; None if there is none.

    Praise beside a wish is none: "nice, now shorter". Thanks are none. What asks a question takes no side.
    """
    if is_question(tokens) and not _is_exclamation(tokens):
        return None
    counts, _ = _count_kinds(tokens)
    if counts["praise"] and not counts["complaint"]:
        return None if counts["wish"] else "praise"
    return "complaint" if counts["complaint"] and not counts["praise"] else None


def _is_exclamation(tokens: tuple[str, ...]) -> bool:
    """Return whether a message opens as a question does, and exclaims: "what a joy", "qué bonito"."""
    if "?" in tokens:
        return False
    return tokens[1:2] == ("a",) or find_stand(tokens[1:2]) is not None


def find_decisive_stand(decisive: tuple[str, ...], ahead: tuple[str, ...]) -> WordKind | None:
    """Return the side of a message that has a "but": that of what follows it, else the opposite of what stands ahead.

    A wish behind a "but" complains: "I see why you ask, but I only want a tip".
    """
    side = find_stand(decisive)
    if side is not None or is_question(decisive):
        return side
    counts, _ = _count_kinds(decisive)
    if counts["wish"] and not counts["praise"]:
        return "complaint"
    return None if counts["praise"] else _FLIPPED.get(find_stand(ahead) or "question")


def find_side(tokens: tuple[str, ...], decisive: tuple[str, ...]) -> tuple[tuple[str, ...], WordKind | None]:
    """Return the words of a message that decide, and the side that they are on.

    Args:
        tokens: the words in scope.
        decisive: those after the last "but"; none if there is none.
    """
    if not decisive:
        return tokens, find_stand(tokens)
    return decisive, find_decisive_stand(decisive, tokens[: -len(decisive)])


def contradicts_stand(tokens: tuple[str, ...], side: WordKind | None, stand: WordKind) -> bool:
    """Return whether the words of a short message speak against a stand: they are on the other side, or ask for a fact.

    Args:
        tokens: the words that decide.
        side: the side that they are on.
        stand: the side that the message is taken to be on.
    """
    if len(tokens) > _SHORT:
        return False
    if tokens[:1] and tokens[0] in _load_entries().fact_questions:
        return side is None
    return side == _FLIPPED[stand] and not _count_kinds(tokens)[0]["negator"]


def supports_stand(tokens: tuple[str, ...], *, is_praise: bool) -> bool:
    """Return whether a message has a word that supports a stand.

    Praise for one, displeasure or a wish for the other.
    """
    counts, _ = _count_kinds(tokens)
    return bool(counts["praise"]) if is_praise else bool(counts["complaint"] or counts["wish"])


def is_negated(tokens: tuple[str, ...], place: int) -> bool:
    """Return whether a negation reaches what begins at a place: right before it, or with words of degree between.

    >>> is_negated(("gar", "keine", "schlechte", "idee"), 2), is_negated(("no", "wrong"), 1)
    (True, False)
    """
    # A message may open with "不" as its answer.
    if place > 1 and tokens[place - 1] in _CHINESE_NEGATORS:
        return True
    entries = _load_entries()
    before = place
    while before and tokens[before - 1] in entries.degrees and place - before < _NEGATED_WORDS:
        before -= 1
    return any(tokens[max(0, before - size) : before] in entries.plain_negators for size in (1, 2, 3))


@lru_cache(maxsize=_CACHED_MESSAGES)
def find_kinds(tokens: tuple[str, ...]) -> frozenset[WordKind]:
    """Return the kinds of word that a message has, negated or not."""
    return frozenset([kind for _, kinds in _find_kinds(tokens) for kind in kinds])


@lru_cache(maxsize=_CACHED_WORDS)
def is_known_word(word: str) -> bool:
    """Return whether a word by itself is of some kind."""
    return (word,) in _load_entries().phrases or _find_beginning(word) is not None


@lru_cache(maxsize=_CACHED_MESSAGES)
def _count_kinds(tokens: tuple[str, ...]) -> tuple[dict[WordKind, int], WordKind | None]:
    """Count the words of every kind, negated ones on the other side, and say which side the last is on."""
    counts: dict[WordKind, int] = dict.fromkeys(_KINDS, 0)
    last: WordKind | None = None
    negated_until = -1
    for place, kinds in _find_kinds(tokens):
        if "negator" in kinds:
            negated_until = place + _NEGATED_WORDS
        for kind in kinds:
            side = kind
            if place <= negated_until and "negator" not in kinds:
                side = _FLIPPED.get(kind, kind)
            counts[side] += 1
            last = side if side in _FLIPPED else last
    return counts, last


_FLIPPED: Final[dict[WordKind, WordKind]] = {"praise": "complaint", "complaint": "praise"}
SIDES: Final[Mapping[Polarity, WordKind]] = {"negative": "complaint", "positive": "praise"}
"""The side of each stand."""


@lru_cache(maxsize=_CACHED_MESSAGES)
def _find_kinds(tokens: tuple[str, ...]) -> list[tuple[int, list[WordKind]]]:
    entries = _load_entries()
    found: list[tuple[int, list[WordKind]]] = []
    taken = 0
    for place, token in enumerate(tokens):
        if place < taken:
            continue
        # Most words begin no phrase, and one look tells so.
        longest, beginning = _look_up(token)
        kinds = None
        for length in range(longest, 0, -1):
            kinds = entries.phrases.get(tokens[place : place + length])
            if kinds:
                taken = place + length
                break
        if kinds is None:
            kinds = beginning
        if kinds:
            found.append((place, kinds))
    text = "".join(tokens)
    if not text.isascii():
        found += _find_characters(text, len(tokens))
    return found


@lru_cache(maxsize=_CACHED_WORDS)
def _look_up(word: str) -> tuple[int, list[WordKind] | None]:
    """Return how many words the longest phrase has that begins with a word, and the kinds that its beginning has."""
    return _load_entries().longest.get(word, 0), _find_beginning(word)


def _find_beginning(word: str) -> list[WordKind] | None:
    beginnings = _load_entries().beginnings
    kinds = (beginnings.get(word[:size]) for size in range(_MIN_PREFIX, len(word) + 1))
    return next(filter(None, kinds), None) if word.isascii() else None


def _find_characters(text: str, after: int) -> list[tuple[int, list[WordKind]]]:
    """Find words in a text without spaces, the longest first; a negation right before one turns it round."""
    entries, place = _load_entries().characters, 0
    found: list[tuple[int, list[WordKind]]] = []
    while place < len(text):
        for length in range(_MAX_CHARACTERS, 0, -1):
            kinds = entries.get(text[place : place + length])
            if kinds:
                negated = place > 0 and text[place - 1] in _CHINESE_NEGATORS and text[place - 2 : place] not in _VERY
                # Far enough apart that a negation of one word does not reach the next.
                found.append(
                    (
                        after + (_NEGATED_WORDS + 1) * place,
                        [_FLIPPED.get(kind, kind) if negated else kind for kind in kinds],
                    )
                )
                place += length - 1
                break
        place += 1
    return found


@cache
def _load_entries() -> _Entries:
    source = resources.files("bandstand.judge").joinpath("data", "rules", "lexicon.toml")
    entries = _Entries()
    document = tomllib.loads(source.read_text(encoding="utf-8"))
    for kind in _KINDS:
        for word in document[kind]:
            folded = normalise_text(word.removesuffix("*"))
            if not folded.isascii():
                kinds = entries.characters.setdefault(folded, [])
            elif word.endswith("*"):
                kinds = entries.beginnings.setdefault(folded, [])
            else:
                phrase = split_tokens(folded)
                kinds = entries.phrases.setdefault(phrase, [])
                entries.longest[phrase[0]] = max(len(phrase), entries.longest.get(phrase[0], 0))
            if kind not in kinds:
                kinds.append(kind)
    forms = document["forms"]
    entries.plain_negators = frozenset(split_tokens(normalise_text(word)) for word in forms["plain_negator"])
    entries.degrees = frozenset(map(normalise_text, forms["degree"]))
    entries.fact_questions = frozenset(map(normalise_text, forms["fact_question"]))
    return entries
