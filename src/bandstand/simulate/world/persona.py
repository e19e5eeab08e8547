"""Who meets the policy: personas as data, shipped, generated from a stated distribution, or a deployment's own."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from importlib.resources import files
from itertools import cycle, islice

from bandstand.errors import FieldError, InvalidRequestError
from bandstand.simulate.errors import make_invalid_request
from bandstand.simulate.world.streams import Stream, make_generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """One kind of person, as the contract's A8 describes them.

    Args:
        name: non-empty.
        prefers_high_priority: in [−1, 1], the contract's own in [0, 1]; 0 is indifferent, negative prefers low ones.
        prefers_overdue: in [−1, 1], the contract's own in [0, 1]; 0.5 is indifferent, less avoids overdue tasks.
        morning_active: more engaged from 5 to 10 h.
        evening_active: more engaged from 18 to 22 h.
        description: one sentence for a person, or for a judge that plays the persona.
        language: in conversations: ``en``, ``zh``, or ``mixed`` for whoever speaks both at once.

    Raises:
        InvalidRequestError: a field is of the wrong type or out of range; all such fields are named.
    """

    name: str
    prefers_high_priority: float
    prefers_overdue: float
    morning_active: bool = False
    evening_active: bool = False
    description: str = ""
    language: str = "en"

    def __post_init__(self) -> None:
        """Refuse what is not a persona."""
        errors = [FieldError(field, message) for field, message in _find_faults(asdict(self))]
        if errors:
            raise make_invalid_request("The persona", errors)


@dataclass(frozen=True, slots=True)
class PersonaDistribution:
    """Where generated personas come from: each preference uniform on its interval, each active period a coin.

    Args:
        name: names the set and, numbered, its personas.
        prefers_high_priority: interval of the preference for priority, within [−1, 1].
        prefers_overdue: interval of the preference for overdue tasks, within [−1, 1].
        active_share: probability of being active in the morning, and independently in the evening.
        english_share: probability of speaking English; whoever does not speaks Chinese or both, as likely one as other.
    """

    name: str
    prefers_high_priority: tuple[float, float]
    prefers_overdue: tuple[float, float]
    active_share: float = 0.5
    english_share: float = 0.5


UNIFORM = PersonaDistribution("uniform", (0.0, 1.0), (0.0, 1.0))
SIGNED = PersonaDistribution("signed", (-1.0, 1.0), (0.0, 1.0))

_DISTRIBUTIONS = {distribution.name: distribution for distribution in (UNIFORM, SIGNED)}
LANGUAGES = ("en", "zh", "mixed")
_LANGUAGE = 1  # of generated personas, drawn apart from what they prefer
PERSONA_SETS = ("shipped", *_DISTRIBUTIONS)


def make_personas(name: str, count: int, seed: int) -> tuple[Persona, ...]:
    """Give ``count`` personas of a set known by name (`PERSONA_SETS`).

    ``shipped`` starts over when it runs out and ignores the seed; the others are drawn.

    Raises:
        InvalidRequestError: there is no set of that name.
    """
    if name == "shipped":
        return expand_personas(load_shipped_personas(), count)
    if name in _DISTRIBUTIONS:
        return generate_personas(_DISTRIBUTIONS[name], count, seed)
    hint = "".join(f"; did you mean {close}?" for close in get_close_matches(name, PERSONA_SETS, n=1))
    raise InvalidRequestError(f"No such persona set: it is one of {', '.join(PERSONA_SETS)}{hint}")


def load_shipped_personas() -> tuple[Persona, ...]:
    """Give the personas that come with the package."""
    return parse_personas(files("bandstand.simulate.world").joinpath("personas.toml").read_text(encoding="utf-8"))


def generate_personas(distribution: PersonaDistribution, count: int, seed: int) -> tuple[Persona, ...]:
    """Draw ``count`` personas; more of them with the same seed begin with the same ones."""
    draws = make_generator(seed, Stream.PERSONAS).random((count, 4))
    languages = make_generator(seed, Stream.PERSONAS, _LANGUAGE).random(count).tolist()
    return tuple(
        Persona(
            name=f"{distribution.name}-{number}",
            prefers_high_priority=_scale_draw(distribution.prefers_high_priority, priority),
            prefers_overdue=_scale_draw(distribution.prefers_overdue, overdue),
            morning_active=morning < distribution.active_share,
            evening_active=evening < distribution.active_share,
            description=f"Drawn at random from the {distribution.name} personas.",
            language=_pick_language(distribution.english_share, languages[number]),
        )
        for number, (priority, overdue, morning, evening) in enumerate(draws.tolist())
    )


def expand_personas(personas: tuple[Persona, ...], count: int) -> tuple[Persona, ...]:
    """Give one persona to each of ``count`` users, in order, starting over when they run out."""
    return tuple(islice(cycle(personas), count))


def parse_personas(text: str) -> tuple[Persona, ...]:
    """Read personas from TOML: one ``[[personas]]`` table each, with the fields of `Persona`.

    Raises:
        InvalidRequestError: it is not TOML, or not personas; every wrong field is named.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequestError("The personas are not valid TOML.", [FieldError("toml", str(error))]) from error
    return build_personas(document)


def build_personas(document: Mapping[str, object]) -> tuple[Persona, ...]:
    """Read personas from a parsed document, ``{"personas": [{…}, …]}``.

    Raises:
        InvalidRequestError: it does not hold at least one persona, or a persona is wrong; every wrong field is named.
    """
    entries = document.get("personas")
    if set(document) != {"personas"} or not isinstance(entries, list) or not entries:
        raise InvalidRequestError('A persona set holds "personas", a list of at least one persona, and nothing else.')
    errors = [
        FieldError(f"personas.{position}.{field}".rstrip("."), message)
        for position, entry in enumerate(entries)
        for field, message in (_find_faults(entry) if isinstance(entry, dict) else [("", "must be a table")])
    ]
    if errors:
        raise make_invalid_request("The persona set", errors)
    personas = tuple(Persona(**entry) for entry in entries)
    if len({persona.name for persona in personas}) < len(personas):
        raise InvalidRequestError("Two personas have the same name.")
    return personas


def _find_faults(entry: Mapping[str, object]) -> list[tuple[str, str]]:
    faults = [(field, "is required") for field in _REQUIRED if field not in entry]
    for field, value in entry.items():
        if field not in _CHECKS:
            hint = "".join(f"; did you mean {close}?" for close in get_close_matches(str(field), _CHECKS, n=1))
            faults.append(("", f"has an unknown field{hint}"))
        elif message := _CHECKS[field](value):
            faults.append((field, message))
    return faults


def _check_preference(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    return None if -1 <= value <= 1 else "must lie in [-1, 1]"


def _check_flag(value: object) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _check_text(value: object) -> str | None:
    return None if isinstance(value, str) else "must be text"


def _check_name(value: object) -> str | None:
    return None if isinstance(value, str) and value.strip() else "must be text, and not empty"


def _scale_draw(interval: tuple[float, float], draw: float) -> float:
    low, high = interval
    return low + (high - low) * draw


def _pick_language(english_share: float, draw: float) -> str:
    if draw < english_share:
        return "en"
    return "zh" if draw < (1 + english_share) / 2 else "mixed"


def _check_language(value: object) -> str | None:
    return None if value in LANGUAGES else f"must be one of {', '.join(LANGUAGES)}"


_REQUIRED = ("name", "prefers_high_priority", "prefers_overdue")
_CHECKS: Mapping[str, Callable[[object], str | None]] = {
    "name": _check_name,
    "prefers_high_priority": _check_preference,
    "prefers_overdue": _check_preference,
    "morning_active": _check_flag,
    "evening_active": _check_flag,
    "description": _check_text,
    "language": _check_language,
}
