"""Feedback: whether a message praises what was chosen, complains of it, or does neither, as written turns teach it.

A small softmax regression beside the text model, for turns that say what was chosen: p = softmax(Σ_f scale_f/√|f|
Σ_{i∈f} w_i + b) over *negative*, *positive* and *other*. It reads the same buckets as the text model
(:mod:`bandstand.judge.local.ngrams`), and a sixth family of facts: what rules, text model and lexicon each make of the
message, the signs of its target, and what it shares with what was chosen, question and answer. Text model and rules
know sentences that were made up for them; this knows how far to believe them on sentences that were not.
"""

import hashlib
import io
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Final, NamedTuple, Self
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from bandstand.judge.local.lexicon import WordKind, find_side, is_question
from bandstand.judge.local.ngrams import SCALES, SIDE, Buckets
from bandstand.judge.local.normalise import NormalisedTurn
from bandstand.judge.local.ratings import has_known_sign
from bandstand.judge.local.rules import RuleMatch, get_stated_target
from bandstand.judge.local.stems import find_chosen_telling, find_telling, read_earlier
from bandstand.judge.local.target import TargetSigns, find_target_signs
from bandstand.judge.taxonomy import POLARITIES, Polarity, Taxonomy
from bandstand.judge.verdict import Target

Floats = NDArray[np.float64]

FACTS: Final = 1 << 12
"""Buckets of the facts, behind those that the text model reads too."""
ROWS: Final = SIDE + FACTS
_FACTS_SCALE: Final = 1.0
FEEDBACK_SCALES: Final = (*SCALES, _FACTS_SCALE)
TAXONOMY: Final = "followup-v1"
"""Whose text model and rules the weights were learned with."""

_STEPS: Final = 127
_HASH_DIGITS: Final = 16
_MASSES: Final = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99)
_SIGN_SUMS: Final = range(-3, 6)
_SURE_RULE: Final = 0.85
_MAX_SHARED: Final = 2
_MAX_NEW: Final = 4
_CACHED_FACTS: Final = 1 << 12
"""Of every kind there are hundreds; a deployment's own rules add theirs."""


@dataclass(frozen=True, eq=False, slots=True)
class FeedbackWeights:
    """What is learned, as it is stored.

    Attributes:
        table: int8, shape (ROWS, 3): a column for each of ``POLARITIES``.
        steps: float32, shape (3,): the size of one unit of a column.
        bias: float32, shape (3,).
    """

    table: NDArray[np.int8]
    steps: NDArray[np.float32]
    bias: NDArray[np.float32]

    @classmethod
    def from_floats(cls, weights: Floats, bias: Floats) -> Self:
        """Round weights of shape (ROWS, 3) to 8 bits a column."""
        steps = np.maximum(np.abs(weights).max(axis=0), 1e-9) / _STEPS
        return cls(
            np.rint(weights / steps).astype(np.int8), steps.astype(np.float32), np.round(bias, 6).astype(np.float32)
        )

    @property
    def hash(self) -> str:
        """Sixteen hex digits over every stored number."""
        digest = hashlib.sha256()
        for numbers in (self.table, self.steps, self.bias):
            digest.update(numbers.astype(numbers.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()[:_HASH_DIGITS]

    def to_bytes(self) -> bytes:
        """Return a file that :meth:`from_bytes` reads; the same weights always give the same bytes."""
        file = io.BytesIO()
        np.savez(file, table=self.table, steps=self.steps, bias=self.bias)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read a file of weights."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(arrays["table"], arrays["steps"], arrays["bias"])


class Hearing(NamedTuple):
    """What the judge's parts make of a turn.

    Attributes:
        normalised: the turn.
        matches: the rules that fire, the one that counts first.
        masses: the text model's mass of each of ``POLARITIES``.
    """

    normalised: NormalisedTurn
    matches: Sequence[RuleMatch]
    masses: tuple[float, ...]


class FeedbackModel:
    """The regression, ready to use.

    Args:
        weights: what was learned.
        taxonomy: of the rules and the text model.
    """

    def __init__(self, weights: FeedbackWeights, taxonomy: Taxonomy) -> None:
        self.hash = weights.hash
        self._polarities: Mapping[str, Polarity] = {label.name: label.polarity for label in taxonomy.labels}
        self._table = np.ascontiguousarray(weights.table)
        self._steps = weights.steps.astype(np.float64)
        self._bias = weights.bias.astype(np.float64)

    @classmethod
    def shipped(cls, taxonomy: Taxonomy) -> Self | None:
        """Load the shipped weights; None if they were learned with other labels than a taxonomy's."""
        return cls(load_shipped_feedback(), taxonomy) if taxonomy.name == TAXONOMY else None

    @property
    def text_table(self) -> NDArray[np.int8]:
        """The weights of the buckets that the text model reads too, shape (SIDE, 3)."""
        return self._table[:SIDE]

    def predict(self, hearing: Hearing, buckets: Buckets, sums: NDArray[np.int64]) -> dict[Polarity, float]:
        """Return the probability of each polarity; they sum to 1.

        Args:
            hearing: what the judge's parts make of the turn.
            buckets: the turn's.
            sums: of the rows of :attr:`text_table` over each of their families that is not empty.
        """
        facts = array("q", find_facts(hearing, self._polarities))
        rows = self._table.take(np.frombuffer(facts, dtype=np.int64), axis=0)
        known = np.add.reduce(rows, dtype=np.int64) * (_FACTS_SCALE / len(facts) ** 0.5)
        logits = self._bias + (buckets.weights @ sums + known) * self._steps
        odds = np.exp(logits - np.maximum.reduce(logits))
        return dict(zip(POLARITIES, (odds / np.add.reduce(odds)).tolist(), strict=True))


@cache
def load_shipped_feedback() -> FeedbackWeights:
    """Load the weights that ship with Bandstand: once, for all judges of a process."""
    return FeedbackWeights.from_bytes(resources.files("bandstand.judge").joinpath("data", "feedback.npz").read_bytes())


def hash_facts(names: Iterable[str]) -> frozenset[int]:
    """Return the buckets of facts."""
    return frozenset([SIDE + crc32(name.encode()) % FACTS for name in names])


def find_facts(hearing: Hearing, polarities: Mapping[str, Polarity]) -> frozenset[int]:
    """Return the buckets of what is known of a turn, and of what of it belongs together.

    Args:
        hearing: what the judge's parts make of it.
        polarities: by label.
    """
    normalised, tokens, masses = hearing.normalised, hearing.normalised.judged_tokens, hearing.masses
    asks = f"asks{is_question(tokens)}"
    said = [polarities[match.label] for match in hearing.matches]
    model = POLARITIES[masses.index(max(masses))]
    rule = said[0] if said else None
    side = find_side(tokens, normalised.scope.decisive)[1]
    signs = find_target_signs(normalised)
    facts = _hash_stands(model, rule, side, max(-2, min(3, signs.balance)), asks).union(
        _hash_masses(tuple([bisect_right(_MASSES, mass) for mass in masses])),
        _hash_signs(signs, model, side),
        _hash_form(_read_form(normalised), asks),
        _hash_shared(_count_shared(normalised), asks),
        _hash_rules(_describe_rule(hearing.matches), rule, frozenset(said[1:]), get_stated_target(hearing.matches)),
    )
    if normalised.rating is not None:
        facts |= hash_facts([f"rating{normalised.rating > 0}"])
    return facts | hash_facts(["emoji", f"emoji:model:{model}"]) if has_known_sign(tokens) else facts


# Few of each kind there are, and naming and hashing them costs more than all else that is done with them.
@lru_cache(maxsize=_CACHED_FACTS)
def _hash_masses(levels: tuple[int, ...]) -> frozenset[int]:
    return hash_facts(
        f"{name}:{mass}" for name, level in zip(POLARITIES, levels, strict=True) for mass in _MASSES[:level]
    )


def _describe_rule(matches: Sequence[RuleMatch]) -> tuple[str, str, int, bool] | None:
    """Return the rule that counts: itself, its label, how it ranks and whether it is sure."""
    if not matches:
        return None
    first = matches[0]
    return first.rule_id, first.label, first.rank, first.score > _SURE_RULE


@lru_cache(maxsize=_CACHED_FACTS)
def _hash_rules(
    first: tuple[str, str, int, bool] | None, rule: Polarity | None, others: frozenset[Polarity], stated: Target | None
) -> frozenset[int]:
    names = [f"rule:{rule}", *(f"then:{polarity}" for polarity in others)]
    if first:
        rule_id, label, rank, is_sure = first
        names += [rule_id, label, f"rule:{rule}:rank{rank}", f"rule:{rule}:sure{is_sure}"]
    return hash_facts([*names, *([f"stated:{stated}", f"stated:{stated}:rule:{rule}"] if stated else [])])


@lru_cache(maxsize=_CACHED_FACTS)
def _hash_signs(signs: TargetSigns, model: Polarity, side: WordKind | None) -> frozenset[int]:
    return hash_facts([
        f"subjects{signs.subjects}",
        *(fact for name in signs.found for fact in (name, f"{name}:model:{model}", f"{name}:side:{side}")),
        *(f"balance{least}" for least in _SIGN_SUMS if signs.balance >= least),
    ])  # fmt: skip


@lru_cache(maxsize=_CACHED_FACTS)
def _hash_stands(
    model: Polarity, rule: Polarity | None, side: WordKind | None, balance: int, asks: str
) -> frozenset[int]:
    m, r, s, b = f"model:{model}", f"rule:{rule}", f"side:{side}", f"signs{balance}"
    pairs = ((s, m), (s, r), (s, asks), (s, b), (m, r), (m, asks), (m, b), (r, asks), (r, b))
    return hash_facts([s, *map(":".join, pairs)])


class _Form(NamedTuple):
    size: int
    is_answer: bool
    aside: str
    is_aside: bool


def _read_form(normalised: NormalisedTurn) -> _Form:
    size = len(normalised.judged_tokens).bit_length()
    return _Form(size, normalised.after_question, normalised.scope.aside, normalised.is_aside)


@lru_cache(maxsize=_CACHED_FACTS)
def _hash_form(form: _Form, asks: str) -> frozenset[int]:
    size, answered, aside = f"size{form.size}", f"answered{form.is_answer}", f"aside:{form.aside}"
    pairs = ((size, asks), (answered, asks), (answered, size), (aside, f"{form.is_aside}"))
    return hash_facts([size, answered, aside, *map(":".join, pairs)])


@lru_cache(maxsize=_CACHED_FACTS)
def _hash_shared(counts: tuple[int, ...], asks: str) -> frozenset[int]:
    new, *shared = counts
    named = (f"shares:{name}{count}" for name, count in zip(("about", "question", "answer"), shared, strict=True))
    return hash_facts([*named, f"new{new}", f"new{new}:{asks}"])


def _count_shared(normalised: NormalisedTurn) -> tuple[int, ...]:
    """Count the words that are a message's own, and those that it shares with what was chosen, question and answer."""
    said, about = find_telling(normalised.judged_tokens), find_chosen_telling(normalised.about)
    earlier = read_earlier(normalised.question, normalised.answer)
    new = said.difference(about, earlier.question, earlier.answer)
    shared = [min(_MAX_SHARED, len(said & words)) for words in (about, earlier.question, earlier.answer)]
    return min(_MAX_NEW, len(new)), *shared
