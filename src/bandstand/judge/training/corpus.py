"""The sentences the shipped model learns from: written for this project, filled in and varied by a seeded generator.

A corpus file holds, for one language, what an assistant may have said (``context``), what a user may say next and how
that took the answer (``say``), words for the slots in braces, and the openings, asides and closings that people add
without changing what they mean.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from random import Random
from typing import Any, Final

from bandstand.judge.local.rulebook import LANGUAGES
from bandstand.judge.turn import Turn
from bandstand.judge.verdict import Target

_FILES: Final = ("", "behaviour-", "followup-")
_SLOT_LIMIT: Final = 8
_OPENING, _ASIDE, _MIXED, _CLOSING = 0.25, 0.12, 0.3, 0.15
_SLIP, _CAPITAL, _STOP = 0.12, 0.35, 0.3

# What may stand beside a sentence without changing how the message as a whole takes the answer.
_MIXABLE: Final[Mapping[str, tuple[str, ...]]] = {
    "neg_constraint_restate": ("neutral",),
    "neg_correction": ("neutral", "pos_progress"),
    "neg_confusion": ("neutral",),
    "pos_praise": ("neutral", "pos_progress"),
    "pos_progress": ("neutral", "pos_progress"),
    "neutral": ("neutral",),
    "topic_shift": (),
}
_MIN_SENTENCE_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Example:
    """A turn and how the user took the answer.

    Attributes:
        turn: the turn.
        labels: by taxonomy.
        language: of the message.
        source: the sentence it was made from; examples of one belong all in a training set or all in its test set.
        target: what the message speaks of, where the corpus says so.
        about_only: whether it teaches nothing of turns that do not say what was chosen.
    """

    turn: Turn
    labels: Mapping[str, str]
    language: str
    source: str
    target: Target | None = None
    about_only: bool = False


def generate_examples(seed: int, per_sentence: int = 4) -> Iterator[Example]:
    """Make a number of examples of every sentence; the same seed makes the same examples."""
    for name in (f"{prefix}{language}" for prefix in _FILES for language in LANGUAGES):
        text = resources.files("bandstand.judge").joinpath("data", "corpus", f"{name}.toml").read_text("utf-8")
        yield from _Writer(tomllib.loads(text), Random(f"{seed}/{name}")).write(per_sentence)


class _Writer:
    def __init__(self, document: Mapping[str, Any], rng: Random) -> None:
        self._document = document
        self._rng = rng
        self._contexts: dict[str, list[Mapping[str, Any]]] = {}
        for context in document["context"]:
            self._contexts.setdefault(context["after"], []).append(context)
        self._neutral_additions: dict[tuple[str, str], list[str]] = {}
        for group in document["say"]:
            for after in group["after"] if group["kind"] == "neutral" else ():
                longer = [sentence for sentence in group["texts"] if len(sentence.encode()) >= _MIN_SENTENCE_BYTES]
                self._neutral_additions.setdefault((after, group["label"]), []).extend(longer)

    def write(self, per_sentence: int) -> Iterator[Example]:
        for group in self._document["say"]:
            labels = {"followup-v1": group["label"], "correction-v1": group["kind"]}
            for sentence in group["texts"]:
                for _ in range(per_sentence):
                    after = self._pick_choice(group["after"])
                    context = self._pick_choice(self._contexts[after])
                    question = self._add_variation(self._fill_slots(self._pick_choice(context["query"])))
                    answer = self._fill_slots(self._pick_choice(context["answer"]))
                    message = self._add_variation(
                        self._add_phrases(self._fill_slots(sentence), self._pick_others(after, group["label"]))
                    )
                    about = self._fill_slots(self._pick_choice(context["about"])) if "about" in context else ""
                    turn = Turn(question, answer, message, about)
                    yield Example(
                        turn,
                        labels,
                        self._document["language"],
                        sentence,
                        group.get("target"),
                        self._document.get("about_only", False),
                    )
        yield from self._write_repetitions(per_sentence)

    def _write_repetitions(self, per_sentence: int) -> Iterator[Example]:
        """The user's own question again, with or without a word of impatience."""
        labels = {"followup-v1": "neg_constraint_restate", "correction-v1": "repetition"}
        for context in self._document["context"]:
            if context["after"] not in {"told", "offer"}:
                continue
            for sentence in context["query"]:
                for _ in range(per_sentence):
                    question = self._fill_slots(sentence)
                    answer = self._fill_slots(self._pick_choice(context["answer"]))
                    yield Example(
                        Turn(self._add_variation(question), answer, self._add_variation(question)),
                        labels,
                        self._document["language"],
                        sentence,
                    )

    def _fill_slots(self, sentence: str) -> str:
        for _ in range(_SLOT_LIMIT):
            start = sentence.find("{")
            if start < 0:
                break
            end = sentence.index("}", start)
            sentence = (
                sentence[:start]
                + self._pick_choice(self._document["slots"][sentence[start + 1 : end]])
                + sentence[end + 1 :]
            )
        return sentence

    def _pick_others(self, after: str, label: str) -> list[str]:
        """Return what else the user says: at most one aside and one sentence that changes nothing."""
        others = [self._pick_choice(self._document["asides"])] if self._random_bool(_ASIDE) else []
        choices = (
            self._neutral_additions.get((after, self._pick_choice(_MIXABLE[label])), []) if _MIXABLE[label] else []
        )
        if choices and self._random_bool(_MIXED):
            others.append(self._pick_choice(choices))
        return [self._fill_slots(other) for other in others]

    def _add_phrases(self, sentence: str, others: list[str]) -> str:
        parts = [sentence]
        for other in others:
            parts.insert(self._random_below(len(parts) + 1), other)
        if self._random_bool(_OPENING):
            parts.insert(0, self._pick_choice(self._document["openings"]))
        if self._random_bool(_CLOSING):
            parts.append(self._pick_choice(self._document["closings"]))
        message = parts[0]
        for part in parts[1:]:
            joiner = " " if message.endswith(("?", "？", "!", "！")) else self._pick_choice(self._document["joiners"])
            message += joiner + part
        return message

    def _add_variation(self, message: str) -> str:
        if self._random_bool(_SLIP) and len(message) > 4:  # noqa: PLR2004 - a slip in "no" would leave nothing of it
            at = 1 + self._random_below(len(message) - 3)
            message = message[:at] + message[at + 1] + message[at] + message[at + 2 :]
        if self._random_bool(_CAPITAL):
            message = message[0].upper() + message[1:]
        if self._random_bool(_STOP) and message[-1].isalnum():
            message += self._pick_choice([".", "!", "...", "!!"])
        return message

    def _random_bool(self, probability: float) -> bool:
        return self._rng.random() < probability

    def _pick_choice(self, choices: Sequence[Any]) -> Any:
        return choices[self._random_below(len(choices))]

    def _random_below(self, limit: int) -> int:
        # random() is the one method whose stream Python keeps from version to version.
        return int(self._rng.random() * limit)
