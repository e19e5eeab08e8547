"""Feedback: whether a message praises what was chosen, complains of it, or does neither, as people's turns teach it.

A small softmax regression beside the text model, for turns that say what was chosen: p = softmax(Σ_f scale_f/√|f|
Σ_{i∈f} w_i + b) over *negative*, *positive* and *other*. It reads the same buckets as the text model
(:mod:`bandstand.judge.local.ngrams`), and a sixth family of facts: what rules, text model and lexicon each make of the
message, the signs of its target, and what it shares with what was chosen, question and answer. Text model and rules
know sentences that were made up for them; this knows how far to believe them on sentences that were not.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from itertools import pairwise
from typing import Final, NamedTuple, Self
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from bandstand.judge.local.lexicon import find_side, is_question
from bandstand.judge.local.ngrams import SCALES, SIDE, Buckets
from bandstand.judge.local.normalise import NormalisedTurn
from bandstand.judge.local.ratings import has_known_sign
from bandstand.judge.local.rules import RuleMatch, get_stated_target
from bandstand.judge.local.target import find_target_signs, split_earlier
from bandstand.judge.local.topic_shift import is_stop_word
from bandstand.judge.taxonomy import POLARITIES, Polarity, Taxonomy

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
_SCALES: Final = np.array(SCALES)
_MASSES: Final = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99)
_SIGN_SUMS: Final = range(-3, 6)
_SURE_RULE: Final = 0.85
_STEM: Final = 5
_MIN_WORD: Final = 4
_MAX_SHARED: Final = 2
_MAX_NEW: Final = 4
_CACHED_FACTS: Final = 1 << 13
"""There are few thousand; a deployment's own rules add theirs."""


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
        for array in (self.table, self.steps, self.bias):
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
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

    def predict(self, hearing: Hearing, buckets: Buckets) -> dict[Polarity, float]:
        """Return the probability of each polarity; they sum to 1."""
        facts = hash_facts(build_facts(hearing, self._polarities))
        ids, starts, lengths = buckets
        filled = lengths > 0
        # Integers are summed exactly, so the order of the buckets cannot matter.
        sums = np.add.reduceat(self._table.take(ids - SIDE, axis=0), starts[filled], axis=0, dtype=np.int64)
        weights = _SCALES[filled] / np.sqrt(lengths[filled])
        known = self._table.take(facts, axis=0).sum(axis=0, dtype=np.int64) * (_FACTS_SCALE / len(facts) ** 0.5)
        logits = self._bias + (weights @ sums + known) * self._steps
        odds = np.exp(logits - logits.max())
        return dict(zip(POLARITIES, (odds / odds.sum()).tolist(), strict=True))


@cache
def load_shipped_feedback() -> FeedbackWeights:
    """Load the weights that ship with Bandstand: once, for all judges of a process."""
    return FeedbackWeights.from_bytes(resources.files("bandstand.judge").joinpath("data", "feedback.npz").read_bytes())


def hash_facts(names: Sequence[str]) -> NDArray[np.int64]:
    """Return the buckets of facts: sorted, each once."""
    return np.array(sorted(set(map(_hash_fact, names))), dtype=np.int64)


@lru_cache(maxsize=_CACHED_FACTS)
def _hash_fact(name: str) -> int:
    return SIDE + crc32(name.encode()) % FACTS


def build_facts(hearing: Hearing, polarities: Mapping[str, Polarity]) -> list[str]:
    """Name what is known of a turn, and what of it belongs together.

    Args:
        hearing: what the judge's parts make of it.
        polarities: by label.
    """
    normalised, tokens = hearing.normalised, hearing.normalised.judged_tokens
    asks, size = f"asks{is_question(tokens)}", f"size{len(tokens).bit_length()}"
    answered = f"answered{normalised.after_question}"
    model = f"model:{POLARITIES[int(np.argmax(hearing.masses))]}"
    rule = f"rule:{polarities[hearing.matches[0].label] if hearing.matches else None}"
    side = f"side:{find_side(tokens, normalised.scope.decisive)[1]}"
    aside = f"aside:{normalised.scope.aside}"
    signs = find_target_signs(normalised)
    balance = f"signs{max(-2, min(3, signs.balance))}"
    return [
        *(f"{name}:{m}" for name, p in zip(POLARITIES, hearing.masses, strict=True) for m in _MASSES if p >= m),
        *_name_rules(hearing.matches, rule, polarities),
        *(fact for name in signs.found for fact in (name, f"{name}:{model}", f"{name}:{side}")),
        *(f"balance{least}" for least in _SIGN_SUMS if signs.balance >= least),
        *(first if second is None else f"{first}:{second}" for first, second in (
            (f"subjects{signs.subjects}", None), (side, None), (size, None), (answered, None), (aside, None),
            (side, model), (side, rule), (side, asks), (side, balance), (model, rule), (model, asks), (model, balance),
            (rule, asks), (rule, balance), (size, asks), (answered, asks), (answered, size),
            (aside, f"{normalised.is_aside}"),
        )),
        *_name_shared(normalised, asks),
        *([f"rating{normalised.rating > 0}"] if normalised.rating is not None else []),
        *(["emoji", f"emoji:{model}"] if has_known_sign(tokens) else []),
    ]  # fmt: skip


def _name_rules(matches: Sequence[RuleMatch], rule: str, polarities: Mapping[str, Polarity]) -> Iterator[str]:
    yield rule
    if not matches:
        return
    first, stated = matches[0], get_stated_target(matches)
    yield from (first.rule_id, first.label, f"{rule}:rank{first.rank}", f"{rule}:sure{first.score > _SURE_RULE}")
    yield from (f"then:{polarities[other.label]}" for other in matches[1:])
    if stated:
        yield from (f"stated:{stated}", f"stated:{stated}:{rule}")


def _name_shared(normalised: NormalisedTurn, asks: str) -> list[str]:
    """Name how many of its words a message shares with what came before, and how many are its own."""
    said = _find_telling(normalised.judged_tokens)
    about = _find_telling(normalised.about)
    question, answer = map(_find_telling, split_earlier(normalised.question, normalised.answer))
    new = f"new{min(_MAX_NEW, len(said - about - question - answer))}"
    earlier = (("about", about), ("question", question), ("answer", answer))
    return [*(f"shares:{name}{min(_MAX_SHARED, len(said & words))}" for name, words in earlier), new, f"{new}:{asks}"]


def _find_telling(tokens: Sequence[str]) -> set[str]:
    """Find the stems of the words that tell something, and all pairs of neighbouring Chinese characters."""
    stems = {word[:_STEM] for word in tokens if len(word) >= _MIN_WORD and word.isascii() and not is_stop_word(word)}
    if all(map(str.isascii, tokens)):
        return stems
    return stems | {a + b for a, b in pairwise(tokens) if not a.isascii() and not b.isascii()}
