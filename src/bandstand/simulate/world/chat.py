"""Conversations: what a persona says after a suggestion, driven by a satisfaction that nobody sees.

A user's satisfaction with a suggestion is their engagement with its task. It decides how likely each meaning of the
next message is, and the meaning, what is said; so the true label of every message is known, and the exact mean reward
of every candidate. Sentences are data (``followups.toml``), in English, Chinese, and both at once.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandstand.judge.taxonomy import Taxonomy, shipped_taxonomy
from bandstand.judge.turn import Turn
from bandstand.simulate.world.reaction import Reaction
from bandstand.simulate.world.tasks import Slates

DRAWS = 9
"""Uniform draws that one turn takes."""

# p(label) at satisfaction s: the first as they are, people being people; then times s; then times 1 − s. All sum to 1.
_CONSTANT_SHARES = {"neutral": 0.38, "topic_shift": 0.06}
_SATISFIED_SHARES = {"pos_praise": 0.40, "pos_progress": 0.16}
_DISSATISFIED_SHARES = {"neg_correction": 0.28, "neg_constraint_restate": 0.168, "neg_confusion": 0.112}

_MIXED_SHARES = {"en": 0.3, "zh": 0.3, "mixed": 0.4}
_SLIP_RATE = 0.12
_MIN_WORD_LENGTH = 4  # letters; in a shorter word a slip would leave nothing of it


@cache
def load_taxonomy() -> Taxonomy:
    """The taxonomy whose labels the messages have."""
    return shipped_taxonomy("followup-v1")


def compute_label_shares(satisfaction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give how likely each label is, in the taxonomy's order.

    neutral 0.38 and a new topic 0.06, whatever the satisfaction s; praise 0.40·s and progress 0.16·s; a correction
    0.28·(1 − s), a restated wish 0.168·(1 − s), confusion 0.112·(1 − s).

    Args:
        satisfaction: s in [0, 1], of any shape.

    Returns:
        Of shape (…, 7); sums to 1.
    """
    names = load_taxonomy().label_names
    constant, rising, falling = (
        np.array([shares.get(name, 0.0) for name in names])
        for shares in (_CONSTANT_SHARES, _SATISFIED_SHARES, _DISSATISFIED_SHARES)
    )
    s = satisfaction[..., None]
    return np.asarray(constant + rising * s + falling * (1 - s))


def compute_expected_reward(satisfaction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the exact mean reward of suggestions, Σ p(label) · reward(label): 0.7952·s − 0.4592, of the same shape."""
    return np.asarray(compute_label_shares(satisfaction) @ np.array([label.reward for label in load_taxonomy().labels]))


@dataclass(frozen=True, slots=True)
class Conversation:
    """What one user asks, is answered and says, at every step and for every candidate; always the same.

    Args:
        language: of the persona.
        satisfaction: (n, K), hidden from policies and judges.
        slates: what they are offered.
        draws: (n, K, DRAWS), uniform on [0, 1).
    """

    language: str
    satisfaction: NDArray[np.float64]
    slates: Slates
    draws: NDArray[np.float64]

    def label(self, step: int, candidate: int) -> str:
        """The true label of what the user says when this candidate is suggested at this step."""
        shares = np.cumsum(compute_label_shares(self.satisfaction[step, candidate]))
        names = load_taxonomy().label_names
        return names[min(int(np.searchsorted(shares, self.draws[step, candidate, 0], side="right")), len(names) - 1)]

    def get_reaction(self, step: int, candidate: int) -> Reaction:
        """The true label and its reward, in the form that every world's reactions have."""
        label = self.label(step, candidate)
        return Reaction(label, 0, load_taxonomy().label(label).reward)

    def get_turn(self, step: int, candidate: int) -> Turn:
        """The turn: question, answer and next message."""
        _, pool, sentence, limit, ask, answer, slips, where, kind = self.draws[step, candidate].tolist()
        spoken = self.language if self.language != "mixed" else _pick_by_share(_MIXED_SHARES, pool)
        written = "en" if spoken == "en" else "zh"  # titles, wishes and answers are in one language
        phrases = _load_phrases()
        words = {
            "limit": _pick_choice(phrases[written]["limits"], limit),
            "task": self._get_title(step, candidate, written),
        }
        message = _fill_sentence(_pick_choice(phrases[spoken]["says"][self.label(step, candidate)], sentence), words)
        return Turn(
            _fill_sentence(_pick_choice(phrases[written]["asks"], ask), words),
            _fill_sentence(_pick_choice(phrases[written]["answers"], answer), words),
            add_typo(message, where, kind) if slips < _SLIP_RATE else message,
        )

    def _get_title(self, step: int, candidate: int, language: str) -> str:
        if language == "en":
            title = self.slates.get_candidates(step)[candidate]["content"]
            return title[0].lower() + title[1:]
        return str(_load_phrases()["tasks"]["zh"][self.slates.title[step, candidate].item()])


def add_typo(message: str, where: float, kind: float) -> str:
    """Mistype one place: two letters swapped, one left out or doubled; in Chinese, a word that sounds the same.

    Args:
        message: the text; without a place for a typo it stays unchanged.
        where: uniform on [0, 1): which place.
        kind: uniform on [0, 1): which slip.
    """
    places = [at for at in range(1, len(message) - 2) if _is_inside_word(message, at)]
    if places:
        at = places[int(where * len(places))]
        here, there = message[at], message[at + 1]
        typed = (there + here, there, here + here + there)[int(kind * 3)]
        return message[:at] + typed + message[at + 2 :]
    sounds = [(meant, typed) for meant, typed in _load_phrases()["slips"]["zh"] if meant in message]
    if not sounds:
        return message
    meant, typed = sounds[int(where * len(sounds))]
    return message.replace(meant, typed, 1)


def _is_inside_word(message: str, at: int) -> bool:
    """Whether the letters at and after a place are inside one long enough."""
    around = message[at - 1 : at + _MIN_WORD_LENGTH - 1]
    return len(around) == _MIN_WORD_LENGTH and around.isascii() and around.isalpha()


@cache
def _load_phrases() -> Mapping[str, Any]:
    return tomllib.loads(files("bandstand.simulate.world").joinpath("followups.toml").read_text(encoding="utf-8"))


def _fill_sentence(sentence: str, words: Mapping[str, str]) -> str:
    for name, word in words.items():
        sentence = sentence.replace(f"{{{name}}}", word)
    return sentence[0].upper() + sentence[1:] if sentence.startswith(words["task"]) else sentence


def _pick_choice(choices: Sequence[str], draw: float) -> str:
    return choices[int(draw * len(choices))]


def _pick_by_share(shares: Mapping[str, float], draw: float) -> str:
    *names, last = shares
    for name in names:
        if draw < shares[name]:
            return name
        draw -= shares[name]
    return last
