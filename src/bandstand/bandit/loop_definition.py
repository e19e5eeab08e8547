"""What a loop is, as data: a named decision point with its policies, its models' scope, its mode and its rewards."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal, Self, get_args

from bandstand.bandit.reward_settings import RewardSettings
from bandstand.definition import NAME_PATTERN, DefinitionTable, is_name, to_configuration_error
from bandstand.errors import FieldError

EVERYBODY: Final = "(everybody)"
"""The user whose model is that of all users of a loop of the scope ``loop``."""

DEFAULT_LOOP: Final = "default"
"""The loop of the addresses without a prefix; what nobody has changed of it, the settings say."""

LearningMode = Literal["online", "apprentice", "logging"]
"""``online``: the policy serves and learns.

``apprentice``: the baseline, which is the first candidate, serves with probability 1, and the policy learns in the
shadow. ``logging``: the baseline serves, and nothing is taught.
"""

ModelScope = Literal["user", "loop"]
"""Whose the models are: each user's own, or one for everybody."""

CHANGEABLE: Final = ("mode", "rewards", "personalizer")
"""Fields that can change while a loop runs, without a new start."""

_SCOPES: tuple[str, ...] = get_args(ModelScope)
_MODES: tuple[str, ...] = get_args(LearningMode)
_TABLES = ("schemas", "policies", "personalizer")
_DAY: Final = 86_400.0
_MAX_DAYS: Final = 36_500


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopDefinition:
    """The definition of a loop; :meth:`parse` reads one.

    Attributes:
        name: stands in paths, file names and logs.
        scope: whose the models are; it is for good.
        mode: how it learns.
        policy: the one that un-named requests mean until another is promoted; ``None`` for the service's default.
        shadow: policies that look on, as in the setting ``SHADOW``.
        include: names of the service's policies that this loop has too; ``None`` for all.
        schemas: feature schemas of its own, by name, in the form of the deployment's file.
        policies: policies of its own, likewise.
        personalizer: what only Personalizer's wire knows of it, as that wire wrote it; and under ``user`` where in the
            context of its calls a user's id stands, names joined by dots.
        rewards: how rewards count.
        retention_days: how long decisions and rewards stay in its ledger, 0 for ever; ``None`` as the settings say.
    """

    name: str
    scope: ModelScope = "user"
    mode: LearningMode = "online"
    policy: str | None = None
    shadow: tuple[str, ...] = ()
    include: tuple[str, ...] | None = None
    schemas: Mapping[str, Any] = field(default_factory=dict)
    policies: Mapping[str, Any] = field(default_factory=dict)
    personalizer: Mapping[str, Any] = field(default_factory=dict)
    rewards: RewardSettings = field(default_factory=RewardSettings)
    retention_days: int | None = None

    @classmethod
    def parse(cls, name: str, document: object, path: str = "") -> Self:
        """Read a loop's table, from the configuration file, a request or the ledger.

        Schemas and policies are read with the catalogue that they make: :func:`bandstand.config.loops.load_catalogue`.

        Args:
            name: its name.
            document: the table.
            path: where it stands, for what is said of its faults, such as ``loops.NAME``.

        Raises:
            ConfigurationError: names every fault found, not only the first.
        """
        faults: list[FieldError] = []
        if not is_name(name):
            faults.append(FieldError(path or "name", f"a loop's name must match {NAME_PATTERN}"))
        table = DefinitionTable(document, path or "loop", faults)
        definition = cls(
            name=name,
            scope=table.read_text("scope", "user", _SCOPES),  # type: ignore[arg-type]  # one of the choices
            mode=table.read_text("mode", "online", _MODES),  # type: ignore[arg-type]  # one of the choices
            policy=_read_policy(table),
            shadow=table.read_texts("shadow") or (),
            include=table.read_texts("include"),
            **{key: _read_mapping(table, key) for key in _TABLES},
            rewards=RewardSettings.parse(table.read_value("rewards") or {}, f"{table.path}.rewards", faults),
            retention_days=_read_days(table),
        )
        table.check_unknown_keys()
        faults += definition.find_faults(table.path)
        if faults:
            raise to_configuration_error(faults)
        return definition

    def find_faults(self, path: str) -> list[FieldError]:
        """What of it does not fit together."""
        days, window = self.retention_days, self.rewards.window
        if days and window is not None and window > (days - 1) * _DAY:
            return [FieldError(f"{path}.retention_days", "must be a day longer than rewards count")]
        user = self.personalizer.get("user")
        if user is not None and not (isinstance(user, str) and all(user.split("."))):
            return [FieldError(f"{path}.personalizer.user", "must be names joined by dots, such as user.id")]
        return []

    def apply_to(self, other: "LoopDefinition") -> "LoopDefinition":
        """The other with what of this one can change while a loop runs."""
        return other.take_fields(CHANGEABLE, self)

    def find_differences(self, other: "LoopDefinition") -> tuple[str, ...]:
        """The names of the fields that are not as another has them."""
        return tuple(each.name for each in fields(self) if getattr(self, each.name) != getattr(other, each.name))

    def take_fields(self, names: Collection[str], other: "LoopDefinition") -> "LoopDefinition":
        """This one, but for some fields, which are as another has them."""
        return replace(self, **{name: getattr(other, name) for name in names})

    def to_document(self) -> dict[str, object]:
        """The table of which :meth:`parse` makes an equal value; defaults are left out."""
        document: dict[str, object] = {"scope": self.scope, "mode": self.mode}
        if self.policy is not None:
            document["policy"] = self.policy
        if self.shadow:
            document["shadow"] = list(self.shadow)
        if self.include is not None:
            document["include"] = list(self.include)
        document |= {key: dict(table) for key in _TABLES if (table := getattr(self, key))}
        if rewards := self.rewards.to_document():
            document["rewards"] = rewards
        if self.retention_days is not None:
            document["retention_days"] = self.retention_days
        return document


def _read_policy(table: DefinitionTable) -> str | None:
    return None if table.read_value("policy") is None else table.read_text("policy")


def _read_days(table: DefinitionTable) -> int | None:
    if table.read_value("retention_days") is None:
        return None
    return table.read_integer("retention_days", minimum=0, maximum=_MAX_DAYS)


def _read_mapping(table: DefinitionTable, key: str) -> Mapping[str, Any]:
    value = table.read_value(key)
    if value is None or isinstance(value, Mapping):
        return value or {}
    table.add_fault(key, "must be a table")
    return {}
