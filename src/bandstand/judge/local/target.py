"""Targets: what a message speaks of, so that praise of the facts teaches nothing about how they were put.

A message that takes no stand speaks of what was set aside of it, or of nothing. One that does speaks of the behaviour
or of the content: as the rule that counts says; else by its words (``data/rules/targets.toml``): of the behaviour where
it names a manner, or what was chosen; of the content where it names a fault of fact, or holds nothing but facts against
the answer ("it was in May, not in March"); and else of the behaviour, since that is what was chosen. Where a turn does
not say what was chosen, a stand is about the content unless a rule says otherwise.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from bandstand.judge.local.lexicon import WordKind, has_words_of
from bandstand.judge.local.normalise import NormalisedTurn
from bandstand.judge.local.ratings import is_known_sign
from bandstand.judge.local.tokens import normalise_text, split_tokens
from bandstand.judge.taxonomy import Polarity
from bandstand.judge.verdict import TARGETS, Target

_STEM: Final = 5
_MIN_WORD: Final = 3
_NUMBER: Final = "0"
_PERSONAL: Final[frozenset[WordKind]] = frozenset({"praise", "complaint", "wish", "you", "me"})
"""A complaint without a word of displeasure, of a wish or of somebody states facts."""


@dataclass(frozen=True, slots=True)
class _Words:
    stems: frozenset[str]
    characters: tuple[str, ...]

    @classmethod
    def parse(cls, words: Iterable[str]) -> "_Words":
        folded = [normalise_text(word) for word in words]
        stems = frozenset(stem for word in folded if word.isascii() for stem in _find_stems(split_tokens(word)))
        return cls(stems, tuple(word for word in folded if not word.isascii()))

    def occur_in(self, stems: set[str], text: str) -> bool:
        return not self.stems.isdisjoint(stems) or any(word in text for word in self.characters)


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
    if stated or not turn.about:
        return stated or "content"
    if turn.rating is not None or any(map(is_known_sign, turn.judged_tokens)):
        return "behaviour"
    manner, substance = _load_words()
    stems, text = _find_stems(turn.judged_tokens), "".join(turn.judged_tokens)
    if manner.occur_in(stems, text) or _find_stems(turn.about) & stems:
        return "behaviour"
    is_factual = polarity == "negative" and (
        _NUMBER in turn.judged_tokens
        or substance.occur_in(stems, text)
        or not has_words_of(turn.judged_tokens, _PERSONAL)
    )
    return "content" if is_factual else "behaviour"


def _find_stems(tokens: Iterable[str]) -> set[str]:
    return {token[:_STEM] for token in tokens if len(token) > _MIN_WORD and token.isascii()}


@cache
def _load_words() -> tuple[_Words, _Words]:
    source = resources.files("bandstand.judge").joinpath("data", "rules", "targets.toml")
    document = tomllib.loads(source.read_text(encoding="utf-8"))
    return _Words.parse(document["manner"]), _Words.parse(document["substance"])
