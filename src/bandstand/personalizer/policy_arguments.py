"""Policies as Personalizer has them: a Vowpal Wabbit command line, of which we read what has a meaning here."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bandstand.personalizer.errors import PersonalizerError

MAX_NAME: Final = 256
MAX_ARGUMENTS: Final = 1024
DEFAULT_EXPLORATION: Final = 0.2

_EXPLORE: Final = ("--cb_explore_adf", "--ccb_explore_adf")
_OTHER_KINDS: Final = frozenset(
    {"--cover", "--bag", "--softmax", "--regcb", "--regcbopt", "--first", "--cats", "--rnd", "--synthcover"}
)


@dataclass(frozen=True, slots=True)
class PolicyArguments:
    """A requested policy.

    Attributes:
        name: what it was called.
        text: the command line, as it came.
        kind: of our policy.
        epsilon: the share of uniform picks; ``None`` if the command line does not say it.
        gamma: of ``squarecb``; ``None`` if it does not say it.
    """

    name: str
    text: str
    kind: str
    epsilon: float | None
    gamma: float | None

    @classmethod
    def parse_body(cls, body: Mapping[str, Any]) -> "PolicyArguments":
        """Read a body of ``name`` and ``arguments``.

        Raises:
            PersonalizerError: it says something that cannot be.
        """
        name, text = body.get("name"), body.get("arguments")
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
            raise _refuse(f"name: must be text of 1 to {MAX_NAME} characters", "InvalidPolicyContract")
        if not isinstance(text, str) or not 0 < len(text) <= MAX_ARGUMENTS:
            raise _refuse(f"arguments: must be text of 1 to {MAX_ARGUMENTS} characters", "InvalidPolicyContract")
        return cls.parse(name, text)

    @classmethod
    def parse(cls, name: str, text: str) -> "PolicyArguments":
        """Read a command line.

        Raises:
            PersonalizerError: it has no exploration over actions, or one of a kind that is not served here.
        """
        words = _split(text)
        if not any(option in words for option in _EXPLORE):
            raise _refuse(f"arguments: must contain {_EXPLORE[0]}")
        for option in sorted(_OTHER_KINDS & words.keys()):
            raise _refuse(f"arguments: {option} is not served here; use --epsilon or --squarecb")
        if "--squarecb" in words:
            return cls(name, text, "squarecb", None, _read_number(words, "--gamma_scale", 1e9))
        return cls(name, text, "egreedy", _read_number(words, "--epsilon", 1.0), None)


def build_default_arguments(exploration: float) -> str:
    """The command line that a new Personalizer resource had, at a share of uniform picks."""
    return f"--cb_explore_adf --epsilon {exploration:g} --power_t 0 -l 0.001 --cb_type mtr -q ::"


def _split(text: str) -> dict[str, str | None]:
    """The options of a command line with their values; ``None`` if one has none.

    Raises:
        PersonalizerError: its quotes do not match.
    """
    try:
        words: Sequence[str] = shlex.split(text.replace("=", " "))
    except ValueError:
        raise _refuse("arguments: the quotes do not match") from None
    following = [*words[1:], None]
    return {
        word: None if value is None or _is_option(value) else value
        for word, value in zip(words, following, strict=True)
        if _is_option(word)
    }


def _is_option(word: str) -> bool:
    return word.startswith("-") and not word.removeprefix("-")[:1].isdigit()


def _read_number(words: Mapping[str, str | None], option: str, most: float) -> float | None:
    text = words.get(option)
    if text is None:
        if option in words:
            raise _refuse(f"arguments: {option} needs a number")
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= most:
        raise _refuse(f"arguments: {option} must be a number from 0 to {most:g}")
    return number


def _refuse(message: str, wire_code: str = "InvalidPolicyConfiguration") -> PersonalizerError:
    return PersonalizerError(400, wire_code, message)
