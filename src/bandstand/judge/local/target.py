"""Targets: what a message speaks of, so that praise of the facts teaches nothing about how they were put.

A message that takes no stand speaks of what was set aside of it, or of nothing. One that does speaks of the behaviour
or of the content. Where a turn does not say what was chosen, a stand is about the content unless a rule says otherwise.
Where it does, enough more signs must speak for the behaviour than against it:

    Σ signs for the behaviour − Σ signs for the content ≥ 2 for a complaint, ≥ 1 for praise

since facts are put right far more often than they are praised. Every sign counts alike (Dawes 1979), as in
:mod:`bandstand.judge.local.topic_shift`. For the behaviour: words that judge, all on the side of the stand; a word for
a manner (``data/rules/targets.toml``); one of what was chosen; "you"; "me"; a wish; and no room for more, in a message
of five words. A rule that says so counts for two. For the content: a number, a word for a fault of fact, and up to two
words that question or answer were about. Emoji and ratings are of the behaviour.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Final, NamedTuple

from bandstand.judge.local.lexicon import SIDES, WordKind, find_kinds, find_side, is_known_word
from bandstand.judge.local.normalise import NormalisedTurn
from bandstand.judge.local.ratings import has_known_sign
from bandstand.judge.local.stems import find_chosen_stems, find_stems, read_earlier
from bandstand.judge.local.tokens import normalise_text, split_tokens
from bandstand.judge.local.topic_shift import get_stop_words
from bandstand.judge.taxonomy import Polarity
from bandstand.judge.verdict import TARGETS, Target

_NUMBER: Final = "0"
_KINDS: Final[tuple[WordKind, ...]] = ("you", "me", "wish")
_MAX_SUBJECTS: Final = 2
_SHORT: Final = 5
_ENOUGH_SIGNS: Final = 1


class TargetSigns(NamedTuple):
    """The signs of what a message speaks of.

    Attributes:
        found: their names.
        subjects: how many words it has that question or answer were about, up to two.
        balance: how many more speak for the behaviour than for the content.
    """

    found: tuple[str, ...]
    subjects: int
    balance: int


@dataclass(frozen=True, slots=True)
class _Words:
    stems: frozenset[str]
    characters: tuple[str, ...]

    @classmethod
    def parse(cls, words: Iterable[str]) -> "_Words":
        folded = [normalise_text(word) for word in words]
        stems = frozenset(stem for word in folded if word.isascii() for stem in find_stems(split_tokens(word)))
        return cls(stems, tuple(word for word in folded if not word.isascii()))

    def names(self, pair: str) -> bool:
        return any(pair in word for word in self.characters)

    def occur_in(self, stems: set[str], text: str) -> bool:
        if not self.stems.isdisjoint(stems):
            return True
        return not text.isascii() and any(word in text for word in self.characters)


def find_target(turn: NormalisedTurn, polarity: Polarity, stated: Target | None) -> Target:
    """Say what a message speaks of.

    Args:
        turn: the turn.
        polarity: of its verdict.
        stated: what the rule that counts says, if it does.
    """
    if polarity == "other":
        # What is only supposed speaks of nothing.
        return next((target for target in TARGETS if target == turn.scope.aside), "none")
    if not turn.about:
        return stated or "content"
    if stated not in {None, "behaviour"}:
        return stated
    if turn.rating is not None or has_known_sign(turn.judged_tokens):
        return "behaviour"
    is_behaviour = _has_enough_signs(turn, polarity, is_stated=stated is not None)
    return "behaviour" if is_behaviour else "content"


def _has_enough_signs(turn: NormalisedTurn, polarity: Polarity, *, is_stated: bool) -> bool:
    """Return whether enough more signs say that a stand is about the behaviour than that it is about the content."""
    judges = find_side(turn.judged_tokens, turn.scope.decisive)[1] == SIDES[polarity]
    _, balance = _find_signs(turn)
    room = balance + is_stated + (is_stated or judges) - _ENOUGH_SIGNS
    # The answer is read only where that can still decide.
    return room >= _MAX_SUBJECTS or (room >= 0 and room >= len(_find_subjects(turn, _load_words()[0])))


def find_target_signs(turn: NormalisedTurn) -> TargetSigns:
    """Find the signs of what a message speaks of, whatever stand it takes."""
    found, balance = _find_signs(turn)
    subjects = min(_MAX_SUBJECTS, len(_find_subjects(turn, _load_words()[0])))
    return TargetSigns(found, subjects, balance - subjects)


def _find_signs(turn: NormalisedTurn) -> tuple[tuple[str, ...], int]:
    """Find the signs that need only the message: their names, and how many more speak for the behaviour."""
    tokens = turn.judged_tokens
    stems, text, kinds = find_stems(tokens), "".join(tokens), find_kinds(tokens)
    manner, substance = _load_words()
    chosen = find_chosen_stems(turn.about)
    found = ["manner"] if manner.occur_in(stems, text) else []
    found += ["chosen"] if not stems.isdisjoint(chosen) else []
    found += [kind for kind in _KINDS if kind in kinds]
    found += ["short"] if len(tokens) <= _SHORT else []
    for_behaviour = len(found)
    found += ["number"] if _NUMBER in tokens else []
    found += ["substance"] if substance.occur_in(stems, text) else []
    return tuple(found), 2 * for_behaviour - len(found)


def _find_subjects(turn: NormalisedTurn, manner: _Words) -> set[str]:
    """Return what question or answer are about that the message names: stems, and pairs of Chinese characters.

    Words that judge, wish or name a manner, and those of what was chosen, are no subject.
    """
    earlier = read_earlier(turn.question, turn.answer)
    said = find_stems([token for token in set(turn.judged_tokens) - get_stop_words() if not is_known_word(token)])
    said -= find_chosen_stems(turn.about)
    said -= manner.stems
    shared = said & earlier.question | said & earlier.answer | said & earlier.common
    if turn.text.isascii():
        return shared
    about = "".join(turn.about)
    pairs = _find_pairs(turn.judged_tokens) & _find_pairs(earlier.tokens)
    return shared | {pair for pair in pairs if pair not in about and not manner.names(pair)}


def _find_pairs(tokens: tuple[str, ...]) -> set[str]:
    told = {token for token in set(tokens) - get_stop_words() if not token.isascii()}
    return {first + second for first, second in pairwise(tokens) if first in told and second in told}


@cache
def _load_words() -> tuple[_Words, _Words]:
    source = resources.files("bandstand.judge").joinpath("data", "rules", "targets.toml")
    document = tomllib.loads(source.read_text(encoding="utf-8"))
    return _Words.parse(document["manner"]), _Words.parse(document["substance"])
