"""Reaction tables: what users do, as rewards, as named and versioned data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from bandstand.definition import NAME_PATTERN, DefinitionTable, hash_definition, is_name, is_number
from bandstand.errors import FieldError, InvalidRequestError

MAX_ACTIONS: Final = 50
"""That one table may map."""
MAX_STEPS: Final = 20
"""That the dwell of one action may be divided into."""
MAX_VERSION: Final = 1_000_000

_ACTION = "reaction.action"
_DWELL = "reaction.dwell_ms"


@dataclass(frozen=True, slots=True)
class DwellStep:
    """The reward of an action that came before ``below`` milliseconds, but not within an earlier step."""

    reward: float
    below: float = math.inf


@dataclass(frozen=True, slots=True)
class ReactionTable:
    """The reward of each action, by its dwell if the table has steps for it.

    Attributes:
        name: what it is called, in logs and in the ledger.
        version: which of its name.
        rules: for every action, its steps; their ends rise, and the last has none.
        hash: 16 hex digits over all of it.
    """

    name: str
    version: int
    rules: Mapping[str, tuple[DwellStep, ...]] = field(hash=False)
    hash: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hash", hash_definition(self.to_document()))

    @classmethod
    def parse(cls, entries: object, path: str, faults: list[FieldError]) -> Self:
        """Read a table with ``name``, ``version`` and ``rules``.

        A rule is a reward, or a list of steps ``{below, reward}`` whose last one has no ``below``.

        Args:
            entries: the table.
            path: where it stands, such as ``rewards.reactions``.
            faults: the list every fault is appended to.
        """
        table = DefinitionTable(entries, path, faults)
        name = table.read_text("name")
        if name and not is_name(name):
            table.add_fault("name", f"must match {NAME_PATTERN}")
        version = table.read_integer("version", minimum=1, maximum=MAX_VERSION)
        rules = table.read_value("rules")
        table.check_unknown_keys()
        if not isinstance(rules, Mapping) or not 0 < len(rules) <= MAX_ACTIONS:
            table.add_fault("rules", f"must be a table of 1 to {MAX_ACTIONS} actions")
            return cls(name, version, {})
        place = f"{path}.rules"
        faults += [
            FieldError(f"{place}.{each}", f"an action must match {NAME_PATTERN}") for each in rules if not is_name(each)
        ]
        return cls(name, version, {each: _parse_steps(rules[each], f"{place}.{each}", faults) for each in rules})

    def to_document(self) -> dict[str, object]:
        """The table of which :meth:`parse` makes an equal value."""
        rules = {
            action: steps[0].reward if len(steps) == 1 else [_to_entry(step) for step in steps]
            for action, steps in self.rules.items()
        }
        return {"name": self.name, "version": self.version, "rules": rules}

    def compute_reward(self, action: str, dwell_ms: float | None = None) -> float:
        """Return the reward of a reaction.

        Args:
            action: one of the table's.
            dwell_ms: milliseconds from showing the candidate to the action; one with several steps needs it.

        Raises:
            InvalidRequestError: the action is unknown, the dwell is missing, negative or not finite.

        >>> ReactionTable("shop", 1, {"buy": (DwellStep(1.0),)}).compute_reward("buy")
        1.0
        """
        if dwell_ms is not None and not (is_number(dwell_ms) and dwell_ms >= 0):
            raise _build_error(_DWELL, "must be a finite number of milliseconds, not negative")
        steps = self.rules.get(action)
        if steps is None:
            raise _build_error(_ACTION, f"must be {_join(list(self.rules))}")
        if len(steps) == 1:
            return steps[0].reward
        if dwell_ms is None:
            raise _build_error(_DWELL, f"is required with {action}")
        return next(step.reward for step in steps if dwell_ms < step.below)


@dataclass(frozen=True, slots=True)
class SentReaction:
    """A reaction as it was sent, and the table that made a reward of it.

    Attributes:
        action: what the user did.
        dwell_ms: milliseconds to the action; ``None`` if that was not sent.
        ts: when it came, seconds since the epoch.
        table: name of the table.
        version: which of its name.
        hash: its hash.
    """

    action: str
    dwell_ms: float | None
    ts: float
    table: str
    version: int
    hash: str

    @classmethod
    def from_request(cls, reaction: Mapping[str, object], ts: float, table: ReactionTable) -> Self:
        """What a request brought that was valid, under a table."""
        return cls(reaction["action"], reaction.get("dwell_ms"), ts, table.name, table.version, table.hash)  # type: ignore[arg-type]  # as validated


def _parse_steps(entry: object, path: str, faults: list[FieldError]) -> tuple[DwellStep, ...]:
    if is_number(entry):
        return (DwellStep(float(entry)),)
    if not isinstance(entry, list | tuple) or not 0 < len(entry) <= MAX_STEPS:
        faults.append(FieldError(path, f"must be a reward, or a list of 1 to {MAX_STEPS} steps"))
        return (DwellStep(0.0),)
    known = len(faults)
    steps = tuple(_parse_step(each, f"{path}[{number}]", faults) for number, each in enumerate(entry))
    ends = [0.0, *(step.below for step in steps)]
    if len(faults) == known and (ends != sorted(set(ends)) or ends[-1] != math.inf):
        faults.append(FieldError(path, "the steps' below must rise from above 0, and only the last has none"))
    return steps


def _parse_step(entry: object, path: str, faults: list[FieldError]) -> DwellStep:
    table = DefinitionTable(entry, path, faults)
    below = math.inf if table.read_value("below") is None else table.read_number("below")
    step = DwellStep(table.read_number("reward"), below)
    table.check_unknown_keys()
    return step


def _to_entry(step: DwellStep) -> dict[str, float]:
    return {"reward": step.reward} if step.below == math.inf else {"below": step.below, "reward": step.reward}


def _join(words: Sequence[str]) -> str:
    return " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _build_error(place: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(f"{place} {message}.", [FieldError(place, message)])


CONTRACT_REACTIONS: Final = ReactionTable(
    "contract-v1",
    1,
    {
        "dismiss": (DwellStep(-1.0),),
        "snooze": (DwellStep(0.1),),
        "done": (DwellStep(-0.3, 15_000.0), DwellStep(1.0, 120_000.0), DwellStep(0.6, 600_000.0), DwellStep(0.3)),
    },
)
"""What the contract makes of a reaction (A4)."""
