"""A reading of a turn: the few things about it that rules and classifier look at, worked out once.

Both ends of the user's message are read and no more, because people say how they took an answer first or last, and what
stands in between is often pasted. So the time a local verdict takes does not grow with the message.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Final

from bandstand.judge.local.ratings import parse_rating
from bandstand.judge.local.scope import Scope, find_scope
from bandstand.judge.local.tokens import normalise_text, split_tokens
from bandstand.judge.text import truncate_middle
from bandstand.judge.turn import CutTurn

WINDOW: Final = 400
"""How many code points of a message are read, head and tail together."""

REPETITION_THRESHOLD: Final = 0.8
"""A message this similar to the user's own question repeats it."""

_MAX_CLOSING_CHARS: Final = 40
"""A question still closes an answer if no more than this follows it, such as "Let me know!"."""

_QUESTION_PARTICLES: Final = ("吗", "呢", "么")
_MIN_PAIRS: Final = 5
_CACHED_CHOICES: Final = 256
"""Few things are chosen, again and again."""


@dataclass(frozen=True, slots=True)
class NormalisedTurn:
    """What the local tiers know of a turn.

    Attributes:
        text: the user's message, normalised by :func:`normalise_text`, both ends of it.
        tokens: its words, single Chinese or Japanese characters, emoji, and question marks.
        after_question: whether the answer closed with a question, so that "no" is an answer and no complaint.
        similarity: how much the message repeats the user's own question, in [0, 1]; see :func:`compute_similarity`.
        scope: which part of the message speaks of the answer.
        about: the words of what was chosen; none where the turn does not say.
        rating: the rating that the message is, from −1 to 1; None if it is none.
        question: the user's question, normalised, both ends of it.
        answer: the answer as given; few turns need it normalised.
    """

    text: str
    tokens: tuple[str, ...]
    after_question: bool
    similarity: float
    scope: Scope = field(default_factory=Scope)
    about: tuple[str, ...] = ()
    rating: float | None = None
    question: str = ""
    answer: str = ""

    @property
    def judged_tokens(self) -> tuple[str, ...]:
        """The words that are judged: those in scope; if none is, all, of which only the subject is then told."""
        return self.scope.tokens or self.tokens

    @property
    def judged_text(self) -> str:
        """The text of :attr:`judged_tokens`."""
        return self.scope.text if self.scope.tokens else self.text

    @property
    def is_aside(self) -> bool:
        """Whether nothing of the message speaks of the answer."""
        return bool(self.tokens) and not self.scope.tokens


def normalise_turn(turn: CutTurn) -> NormalisedTurn:
    """Read a turn."""
    text, question = extract_window(turn.query_t1), extract_window(turn.query_t)
    tokens = split_tokens(text)
    return NormalisedTurn(
        text,
        tokens,
        has_closing_question(turn.answer_t),
        compute_similarity(split_tokens(question), tokens),
        find_scope(text, has_about=bool(turn.about)),
        _read_about(turn.about),
        parse_rating(turn.query_t1),
        question,
        turn.answer_t,
    )


@lru_cache(maxsize=_CACHED_CHOICES)
def _read_about(about: str) -> tuple[str, ...]:
    return split_tokens(extract_window(about))


def extract_window(text: str) -> str:
    """Normalise both ends of a text, and leave out what stands between."""
    # Cut again, because decomposition can make eighteen characters of one.
    return truncate_middle(normalise_text(truncate_middle(text, WINDOW)), WINDOW)


def has_closing_question(answer: str) -> bool:
    """Return whether an answer closes with a question, a short farewell after it allowed.

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


def _build_pairs(tokens: tuple[str, ...]) -> set[tuple[str, str]]:
    letters = "".join(tokens).replace("?", "")
    return set(pairwise(letters))
