"""Taxonomies: which labels a verdict may carry, and what each teaches; data, so a deployment may bring its own."""

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final, Literal, Self, get_args

from bandstand.definition import (
    DefinitionTable,
    describe_unknown,
    hash_definition,
    is_name,
    is_number,
    to_configuration_error,
)
from bandstand.errors import ConfigurationError, FieldError
from bandstand.judge.verdict import TARGETS, Target

Polarity = Literal["negative", "positive", "other"]

POLARITIES: Final[tuple[Polarity, ...]] = get_args(Polarity)
SHIPPED_TAXONOMIES: Final = ("followup-v1", "correction-v1")

DEFAULT_TAUGHT_TARGETS: Final[frozenset[Target]] = frozenset({"behaviour"})

_LABEL: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Label:
    """One way a user may take an answer.

    Attributes:
        name: what a verdict calls it.
        reward: what it teaches, in [−1, 1].
        polarity: whether it speaks against the answer, for it, or neither; has the reward's sign, or is "other".
        updates: whether it teaches.
        means: one phrase for people and prompts.
    """

    name: str
    reward: float
    polarity: Polarity
    updates: bool
    means: str


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """A closed set of labels with the map from label to reward.

    Attributes:
        name: how verdicts, settings and requests refer to it.
        labels: at least two, in the order of the definition.
        hash: of the whole definition; stored with every reward it made.
        taught_targets: what a message must speak of to teach, where its turn says what was chosen.
    """

    name: str
    labels: tuple[Label, ...]
    hash: str
    taught_targets: frozenset[Target] = DEFAULT_TAUGHT_TARGETS

    @classmethod
    def parse(cls, definition: object, path: str = "taxonomy") -> Self:
        """Read a definition: ``name``, ``labels.NAME = {reward, means, polarity?, updates?}`` and ``targets?``.

        Without a polarity, the reward's sign decides it; without ``updates``, the label teaches. ``targets.NAME`` says
        of each target whether it teaches where a turn says what was chosen; those left out do not, and without the
        table the behaviour alone does.

        Args:
            definition: the parsed TOML table.
            path: where it stands, for messages.

        Raises:
            ConfigurationError: names every fault found, not only the first.
        """
        faults: list[FieldError] = []
        table = DefinitionTable(definition, path, faults)
        name = table.read_text("name")
        if name and not is_name(name):
            table.add_fault("name", "must be lower-case letters, digits, '.', '_' and '-'")
        labels = _read_labels(table, faults)
        targets = _read_targets(table, faults)
        table.check_unknown_keys()
        if faults:
            raise to_configuration_error(faults)
        return cls(name=name, labels=labels, hash=hash_definition(definition), taught_targets=targets)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the labels, in order."""
        return tuple(label.name for label in self.labels)

    def label(self, name: str) -> Label:
        """Return the label of that name.

        Raises:
            ConfigurationError: the taxonomy has no such label.
        """
        for label in self.labels:
            if label.name == name:
                return label
        raise ConfigurationError(f"taxonomy {self.name}: {describe_unknown(name, self.label_names)}")

    @property
    def neutral(self) -> Label:
        """The neutral label: of those with polarity "other", the one with the smallest reward in size."""
        return min(
            self.labels, key=lambda label: (label.polarity != "other", not label.updates, abs(label.reward), label.name)
        )

    def list_by_polarity(self, polarity: Polarity) -> tuple[str, ...]:
        """Return the names of the labels of one polarity."""
        return tuple(label.name for label in self.labels if label.polarity == polarity)


@cache
def shipped_taxonomy(name: str) -> Taxonomy:
    """Load ``followup-v1`` or ``correction-v1``.

    Raises:
        ConfigurationError: no taxonomy of that name ships with Bandstand.
    """
    if name not in SHIPPED_TAXONOMIES:
        raise ConfigurationError(f"taxonomy: {describe_unknown(name, SHIPPED_TAXONOMIES)}")
    source = resources.files("bandstand.judge").joinpath("data", "taxonomies", f"{name}.toml")
    return Taxonomy.parse(tomllib.loads(source.read_text(encoding="utf-8")), name)


def _read_targets(table: DefinitionTable, faults: list[FieldError]) -> frozenset[Target]:
    entries = table.read_value("targets")
    if entries is None:
        return DEFAULT_TAUGHT_TARGETS
    targets = DefinitionTable(entries, f"{table.path}.targets", faults)
    taught = frozenset(target for target in TARGETS if targets.read_boolean(target, default=False))
    targets.check_unknown_keys()
    return taught


def _read_labels(table: DefinitionTable, faults: list[FieldError]) -> tuple[Label, ...]:
    entries = table.read_value("labels")
    if not isinstance(entries, Mapping) or len(entries) < 2:  # noqa: PLR2004 - one label would decide nothing
        table.add_fault("labels", "must be a table of at least two labels")
        return ()
    return tuple(
        _read_label(str(name), entry, f"{table.path}.labels.{name}", faults) for name, entry in entries.items()
    )


def _read_label(name: str, entry: object, path: str, faults: list[FieldError]) -> Label:
    table = DefinitionTable(entry, path, faults)
    if not _LABEL.fullmatch(name):
        faults.append(FieldError(path, "must be named by a lower-case letter, then letters, digits and '_'"))
    reward = _read_reward(table)
    by_sign: Polarity = "negative" if reward < 0 else "positive" if reward > 0 else "other"
    stated = table.read_text("polarity", by_sign, POLARITIES)
    polarity = next((choice for choice in POLARITIES if choice == stated), by_sign)
    if polarity not in {by_sign, "other"}:
        table.add_fault("polarity", f"contradicts the reward {reward:g}")
    label = Label(name, reward, polarity, table.read_boolean("updates", default=True), table.read_text("means"))
    table.check_unknown_keys()
    return label


def _read_reward(table: DefinitionTable) -> float:
    reward = table.read_value("reward")
    if is_number(reward) and math.fabs(reward) <= 1:
        return float(reward)
    table.add_fault("reward", "must be a number from -1 to 1")
    return 0.0
