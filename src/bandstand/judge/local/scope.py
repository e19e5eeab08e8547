"""Scope: which part of a message is about the answer, and which is quoted, past, supposed, or somebody else's word.

A message is split into sentences and clauses. What stands in quotation marks, clauses about the past, what other people
say and what is only supposed are set aside; the rest is in scope, and it alone is judged. Where a clause begins with
"but" and its kin, what follows decides. Cues are literals (``data/rules/scope.toml``), looked up word by word, so the
time is linear in the message.
"""

import re
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import chain
from typing import Final, NamedTuple

from bandstand.judge.local.slots import expand_slots
from bandstand.judge.local.tokens import normalise_text, split_tokens

_QUOTES: Final = {'"': '"', "“": "”", "„": "“”", "«": "»", "「": "」", "『": "』"}
"""What opens a quotation, with what may close it."""
_ANY_QUOTE: Final = re.compile('["“„«「『]')
# Each is one class: the time is linear in the text.
_SENTENCE_END: Final = re.compile(r"[.!?。！？\n;；…]+")
_CLAUSE_END: Final = re.compile(r"[,，、:：()（）—–]+")
_KEPT_PEOPLE: Final = frozenset({"unless_person"})
_COLONS: Final = (":", "：")
_MIN_QUOTED: Final = 2
_MAX_QUOTED: Final = 300
_MIN_WORDS_BESIDE_QUOTE: Final = 2
_MAX_WORDS_BEFORE_PERSON: Final = 3
_MAX_WORDS_BEFORE_VERB: Final = 3

_EXCEPTION: Final = "unless_"

QUOTED: Final = "quoted"
HISTORICAL: Final = "historical"
OTHER_PERSON: Final = "other_person"
SUPPOSED: Final = "supposed"
_KEPT: Final = frozenset({HISTORICAL, SUPPOSED, "person"})
"""What an exception may keep in scope."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of a message that speaks of the answer.

    Attributes:
        tokens: its words; none where everything was set aside.
        text: its text.
        decisive: the words after the last "but", which decide; none if there is no such word.
        contrasted_from: where what that "but" takes back begins in ``tokens``: with its sentence, or with the sentence
            before where it opens its own.
        aside: why the first part that was set aside was: "quoted", "historical", "other_person" or "supposed"; or "".
    """

    tokens: tuple[str, ...] = ()
    text: str = ""
    decisive: tuple[str, ...] = ()
    aside: str = ""
    contrasted_from: int = 0


class _Cue(NamedTuple):
    start: int
    end: int
    kind: str


class _CueNode:
    """A word in the tree of cues: which may follow, and which kinds of cue end here."""

    __slots__ = ("following", "kinds")

    def __init__(self) -> None:
        self.following: dict[str, _CueNode] = {}
        self.kinds: list[str] = []


def find_scope(text: str, *, has_about: bool = False) -> Scope:
    """Find what of a message speaks of the answer.

    Args:
        text: normalised, so that time is bounded by its window.
        has_about: whether the turn says what was chosen; what somebody else makes of a thing is then never feedback.

    >>> find_scope("my boss said that is wrong. thanks").tokens
    ('thanks',)
    >>> find_scope("nice, but too long").decisive
    ('too', 'long')
    """
    aside = ""
    if _ANY_QUOTE.search(text):
        bare = _cut_quotes(text)
        # A message that is nothing but a quotation is the user's own word.
        if bare != text and len(split_tokens(bare)) >= _MIN_WORDS_BESIDE_QUOTE:
            text, aside = bare, QUOTED
    reader = _Reader(aside, has_about=has_about)
    for sentence in _split_after(_SENTENCE_END, text):
        reader.read_sentence(sentence)
    return reader.build_scope()


class _Reader:
    """Reads a message sentence by sentence, and keeps what is in scope.

    Args:
        aside: what was set aside before.
        has_about: whether the turn says what was chosen.
    """

    def __init__(self, aside: str, *, has_about: bool) -> None:
        self._aside = aside
        self._has_about = has_about
        self._words: list[str] = []
        self._texts: list[str] = []
        self._decisive_from = -1
        self._contrasted_from = 0
        self._sentence_from = self._before_from = 0

    def read_sentence(self, sentence: str) -> None:
        """Read the clauses of a sentence; what sets one aside for good sets those after it aside, too."""
        clauses = _split_after(_CLAUSE_END, sentence)
        self._before_from, self._sentence_from = self._sentence_from, len(self._words)
        # "It would be nice, if you …": what keeps a clause may stand in the one before.
        kept: frozenset[str] | None = None if len(clauses) > 1 else frozenset()
        gone, after_colon = "", False
        for position, clause in enumerate(clauses):
            tokens = split_tokens(clause)
            if not tokens:
                continue
            cues = _find_cues(tokens)
            if not cues and not gone:
                # Most clauses, and what follows is about cues.
                self._keep_clause(tokens, clause)
                after_colon = clause.rstrip().endswith(_COLONS)
                continue
            kinds = {cue.kind for cue in cues}
            if not _KEPT.isdisjoint(kinds):
                kept = _find_exceptions(sentence) if kept is None else kept
                kinds |= kept
            gone = gone or self._find_sentence_aside(cues, kinds)
            set_aside = gone or (HISTORICAL if _holds(HISTORICAL, kinds) else "")
            if set_aside:
                self._aside = self._aside or set_aside
                continue
            if not after_colon:
                is_last = position == len(clauses) - 1
                self._note_contrast(*_find_contrast(cues, kinds, len(tokens), is_last=is_last))
            self._keep_clause(tokens, clause)
            after_colon = clause.rstrip().endswith(_COLONS)

    def _keep_clause(self, tokens: tuple[str, ...], clause: str) -> None:
        self._words += tokens
        self._texts.append(clause)

    def build_scope(self) -> Scope:
        """Return what was found."""
        decisive = tuple(self._words[self._decisive_from :]) if self._decisive_from >= 0 else ()
        contrasted_from = self._contrasted_from if decisive else 0
        return Scope(tuple(self._words), "".join(self._texts), decisive, self._aside, contrasted_from)

    def _find_sentence_aside(self, cues: Sequence[_Cue], kinds: set[str]) -> str:
        """Return why the rest of a sentence is set aside, if its clause says so."""
        if "asks_quoted" in kinds and self._aside == QUOTED:
            return QUOTED
        if not self._has_about:
            return _find_sentence_aside(cues, kinds)
        # "My teacher …": what a clause says whose subject is somebody of the user's is about them.
        openers = {cue.kind for cue in cues if cue.start == 0}
        if "person" in openers and "possessive" in openers:
            return OTHER_PERSON
        return _find_sentence_aside(cues, kinds - _KEPT_PEOPLE)

    def _note_contrast(self, start: int, end: int) -> None:
        """Note a "but" at these places of a clause, if there is one: the last of them decides."""
        if end >= 0:
            self._decisive_from = len(self._words) + end
            is_inside = len(self._words) + start > self._sentence_from
            self._contrasted_from = self._sentence_from if is_inside else self._before_from


def _cut_quotes(text: str) -> str:
    """Put a comma in the place of every quotation."""
    kept, start, place = [], 0, 0
    while match := _ANY_QUOTE.search(text, place):
        opened = match.start()
        window = text[opened + 1 : opened + 2 + _MAX_QUOTED].partition("\n")[0]
        closers = _QUOTES[text[opened]]
        length = next((place for place, character in enumerate(window) if character in closers), -1)
        place = opened + 1
        if length >= _MIN_QUOTED:
            kept += [text[start:opened], " , "]
            start = place = opened + length + 2
    return "".join([*kept, text[start:]])


def _split_after(stop: re.Pattern[str], text: str) -> list[str]:
    """Split a text after every run of stops, which stay with what they end; what is nothing but stops is left out."""
    parts, start = [], 0
    for match in stop.finditer(text):
        if match.start() > start:
            parts.append(text[start : match.end()])
        start = match.end()
    if start < len(text):
        parts.append(text[start:])
    return parts


def _find_exceptions(sentence: str) -> frozenset[str]:
    kinds = (cue.kind for cue in _find_cues(split_tokens(sentence)))
    return frozenset(kind for kind in kinds if kind.startswith(_EXCEPTION))


def _find_sentence_aside(cues: Sequence[_Cue], kinds: Collection[str]) -> str:
    """Return why the rest of a sentence is set aside, if its clause says so."""
    if _holds(SUPPOSED, kinds):
        return SUPPOSED
    if "quoting" in kinds:
        return QUOTED
    if "reported" in kinds or (_holds("person", kinds) and _has_speaker(cues)):
        return OTHER_PERSON
    return ""


def _holds(kind: str, kinds: Collection[str]) -> bool:
    return kind in kinds and f"{_EXCEPTION}{kind}" not in kinds


def _has_speaker(cues: Sequence[_Cue]) -> bool:
    """Return whether a person near the start of a clause is followed by a verb of saying or liking."""
    people = [cue.end for cue in cues if cue.kind == "person" and cue.start <= _MAX_WORDS_BEFORE_PERSON]
    verbs = [cue.start for cue in cues if cue.kind == "attitude"]
    return any(0 <= verb - end <= _MAX_WORDS_BEFORE_VERB for end in people for verb in verbs)


def _find_contrast(cues: Sequence[_Cue], kinds: Collection[str], length: int, *, is_last: bool) -> tuple[int, int]:
    """Return where in a clause what says so begins, and after which word what decides does; −1 where nothing does."""
    if "concession" in kinds and not is_last and any(cue.kind == "concession" and cue.start == 0 for cue in cues):
        return length, length
    # At the end of a clause, as in "再好不过", such words take nothing back: the clause speaks for itself.
    if any(cue.kind == "contrast" and cue.start and cue.start + 1 < cue.end == length for cue in cues):
        return 0, 0
    openers = {cue.start for cue in cues if cue.kind == "contrast_at_start"}
    found = [(cue.end, cue.start) for cue in cues if cue.kind == "contrast"]
    found += [(cue.start, cue.start) for cue in cues if cue.kind == "contrast_kept"]
    end, start = max(((end, start) for end, start in found if start == 0 or start not in openers), default=(-1, -1))
    return start, end


def _find_cues(tokens: tuple[str, ...]) -> list[_Cue]:
    root, found = _load_cues().following, []
    for start, token in enumerate(tokens):
        node, end = root.get(token), start + 1
        while node is not None:
            found += [_Cue(start, end, kind) for kind in node.kinds]
            node = node.following.get(tokens[end]) if end < len(tokens) else None
            end += 1
    return found


@cache
def _load_cues() -> _CueNode:
    source = resources.files("bandstand.judge").joinpath("data", "rules", "scope.toml")
    root = _CueNode()
    for kinds in tomllib.loads(source.read_text(encoding="utf-8")).values():
        slots = kinds.pop("slots", {})
        for kind, phrases in kinds.items():
            for phrase in chain.from_iterable(expand_slots(text, slots) for text in phrases):
                node = root
                for token in split_tokens(normalise_text(phrase)):
                    node = node.following.setdefault(token, _CueNode())
                if kind not in node.kinds:
                    node.kinds.append(kind)
    return root
