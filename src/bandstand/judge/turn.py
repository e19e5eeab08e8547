"""A turn: what the user asked, what was answered, what the user said next, and what had been chosen; nothing else."""

from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from bandstand.errors import FieldError, InvalidRequestError
from bandstand.judge.text import strip_hidden, truncate_middle

_TEXTS: Final = ("query_t", "answer_t", "query_t1")


class TurnLimits(NamedTuple):
    """How many code points of each text are judged; head and tail are kept."""

    query_t: int
    answer_t: int
    query_t1: int
    about: int = 500


FOLLOWUP_LIMITS: Final = TurnLimits(2_000, 4_000, 2_000)
CORRECTION_LIMITS: Final = TurnLimits(1_000, 500, 1_000)


@dataclass(frozen=True, slots=True)
class CutTurn:
    """A turn as every tier sees it: visible characters only, and no longer than its limits. Made by :meth:`Turn.cut`.

    Attributes:
        query_t: the user's question; may be empty where it is not known.
        answer_t: the answer that is being judged.
        query_t1: the user's next message.
        about: what was chosen and what it is meant to do, such as "hints first"; empty where the turn does not say.
    """

    query_t: str
    answer_t: str
    query_t1: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn as it was sent.

    Attributes:
        query_t: the user's question.
        answer_t: the answer that is being judged.
        query_t1: the user's next message.
        about: what was chosen and what it is meant to do, such as "hints first"; empty where the turn does not say.

    Raises:
        TypeError: one is no string; nothing that was not said is judged.
    """

    query_t: str
    answer_t: str
    query_t1: str
    about: str = ""

    def __post_init__(self) -> None:
        for name in _TEXTS:
            text = getattr(self, name)
            if not isinstance(text, str):
                raise TypeError(f"{name} must be a str, not {type(text).__name__}")

    @classmethod
    def parse(cls, fields: object) -> Self:
        """Read a mapping that holds the three texts, ``about`` if it is known, and whatever else.

        Raises:
            InvalidRequestError: a text is missing or no string; names each.
        """
        given = fields if isinstance(fields, dict) else {}
        faults = [FieldError(name, "must be a string") for name in _TEXTS if not isinstance(given.get(name), str)]
        about = given.get("about")
        if not isinstance(about, str | None):
            faults.append(FieldError("about", "must be a string"))
        if faults:
            raise InvalidRequestError("a turn is three texts: query_t, answer_t and query_t1", faults)
        return cls(given["query_t"], given["answer_t"], given["query_t1"], about or "")

    def cut(self, limits: TurnLimits = FOLLOWUP_LIMITS) -> CutTurn:
        """Return what may be judged of it; the same texts always give the same cut."""
        return CutTurn(
            truncate_middle(strip_hidden(self.query_t), limits.query_t),
            truncate_middle(strip_hidden(self.answer_t), limits.answer_t),
            truncate_middle(strip_hidden(self.query_t1), limits.query_t1),
            truncate_middle(strip_hidden(self.about), limits.about).strip(),
        )
