"""A deployment's own judge: its taxonomies, literal rules and thresholds, in addition to those that ship."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Self

from bandstand.definition import DefinitionTable, describe_unknown, is_integer, is_number, to_configuration_error
from bandstand.errors import ConfigurationError, FieldError
from bandstand.judge.arbiter import THRESHOLDS, ArbiterSettings
from bandstand.judge.local.classifier import Classifier, Weights
from bandstand.judge.local.feedback import FeedbackModel
from bandstand.judge.local.local_judge import Local
from bandstand.judge.local.rulebook import load_shipped_rules, parse_rules
from bandstand.judge.local.rules import Rule, Rules
from bandstand.judge.taxonomy import SHIPPED_TAXONOMIES, Taxonomy, shipped_taxonomy

DEFAULT_TAXONOMY: Final = "followup-v1"

_MAX_TIMEOUT_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeConfiguration:
    """Make one with :meth:`parse`; an empty document leaves what ships.

    Attributes:
        taxonomies: by name.
        default_taxonomy: the one that turns are judged by which name none.
        rules: a deployment's own, by taxonomy.
        arbiter: when to ask the LLM.
    """

    taxonomies: Mapping[str, Taxonomy]
    default_taxonomy: str
    rules: Mapping[str, tuple[Rule, ...]]
    arbiter: ArbiterSettings

    @classmethod
    def parse(cls, document: Mapping[str, object]) -> Self:
        """Read the tables ``taxonomies`` and ``judge`` of a deployment's file.

        Args:
            document: the parsed TOML; its other tables are not looked at.

        Raises:
            ConfigurationError: names every fault found, not only the first.
        """
        faults: list[FieldError] = []
        taxonomies = {name: shipped_taxonomy(name) for name in SHIPPED_TAXONOMIES}
        taxonomies |= _parse_taxonomies(document.get("taxonomies", {}), faults)
        table = DefinitionTable(document.get("judge", {}), "judge", faults)
        default_taxonomy = table.read_text("taxonomy", DEFAULT_TAXONOMY, tuple(taxonomies))
        rules = _parse_own_rules(table.read_value("rules"), default_taxonomy, taxonomies, faults)
        arbiter = _parse_arbiter(table.read_value("arbiter"), faults)
        table.check_unknown_keys()
        if faults:
            raise to_configuration_error(faults)
        return cls(
            taxonomies=MappingProxyType(taxonomies),
            default_taxonomy=default_taxonomy,
            rules=MappingProxyType(rules),
            arbiter=arbiter,
        )

    def build_local(self, taxonomy: str, weights: Weights | None = None) -> Local | Rules:
        """Return the local tiers of a taxonomy: rules and text model, or rules alone where no model was trained.

        Args:
            taxonomy: its name.
            weights: of a team's own, in place of those that ship.

        Raises:
            ConfigurationError: there is no such taxonomy, or a rule of its own has the id of one that ships.
        """
        if taxonomy not in self.taxonomies:
            raise ConfigurationError(f"taxonomy: {describe_unknown(taxonomy, self.taxonomies)}")
        labels = self.taxonomies[taxonomy]
        rules = load_shipped_rules(labels, self.rules.get(taxonomy, ()))
        if weights is not None:
            return Local(rules, Classifier(weights, labels), FeedbackModel.shipped(labels))
        if taxonomy not in SHIPPED_TAXONOMIES:
            return rules
        return Local(rules, Classifier.shipped(taxonomy), FeedbackModel.shipped(labels))


def _parse_taxonomies(tables: object, faults: list[FieldError]) -> dict[str, Taxonomy]:
    if not isinstance(tables, Mapping):
        faults.append(FieldError("taxonomies", "must be a table"))
        return {}
    parsed = {}
    for name, definition in tables.items():
        path = f"taxonomies.{name}"
        if name in SHIPPED_TAXONOMIES:
            faults.append(FieldError(path, "ships with Bandstand; give yours another name"))
        elif not isinstance(definition, Mapping):
            faults.append(FieldError(path, "must be a table"))
        else:
            try:
                parsed[name] = Taxonomy.parse({"name": name, **definition}, path)
            except ConfigurationError as error:
                faults += error.errors
                continue
            if parsed[name].name != name:
                faults.append(FieldError(f"{path}.name", "is not the name of the table"))
    return parsed


def _parse_own_rules(
    definitions: object, default: str, taxonomies: Mapping[str, Taxonomy], faults: list[FieldError]
) -> dict[str, tuple[Rule, ...]]:
    """Read each rule under the taxonomy that it names."""
    if definitions is None:
        return {}
    if not isinstance(definitions, list):
        faults.append(FieldError("judge.rules", "must be a list of tables"))
        return {}
    by_taxonomy: dict[str, list[Rule]] = {}
    for index, entry in enumerate(definitions):
        path = f"judge.rules[{index}]"
        fields: dict[str, Any] = dict(entry) if isinstance(entry, Mapping) else {}
        taxonomy = fields.pop("taxonomy", default)
        if taxonomy not in taxonomies:
            faults.append(FieldError(f"{path}.taxonomy", describe_unknown(str(taxonomy), taxonomies)))
            continue
        try:
            (rule,) = parse_rules([fields], taxonomies[taxonomy], path)
        except ConfigurationError as error:
            faults += [fault._replace(field=fault.field.replace("[0]", "", 1)) for fault in error.errors]
        else:
            by_taxonomy.setdefault(taxonomy, []).append(rule)
    return {name: tuple(rules) for name, rules in by_taxonomy.items()}


def _parse_arbiter(entries: object, faults: list[FieldError]) -> ArbiterSettings:
    given = entries if isinstance(entries, Mapping) else {}
    if entries is not None and not isinstance(entries, Mapping):
        faults.append(FieldError("judge.arbiter", "must be a table"))
    wrong = [
        FieldError(f"judge.arbiter.{key}", message)
        for key, value in given.items()
        if (message := _describe_fault(key, value))
    ]
    faults += wrong
    return ArbiterSettings() if wrong else ArbiterSettings(**given)


def _describe_fault(key: str, value: object) -> str:
    """Say what is wrong with a setting of the arbiter; nothing where it is right."""
    if key == "llm_judge_enabled":
        return "" if isinstance(value, bool) else "must be true or false"
    if key == "llm_judge_timeout_ms":
        right = is_integer(value) and 1 <= value <= _MAX_TIMEOUT_MS
        return "" if right else f"must be an integer from 1 to {_MAX_TIMEOUT_MS}"
    if key in THRESHOLDS:
        return "" if is_number(value) and 0 <= value <= 1 else "must be a number from 0 to 1"
    return describe_unknown(key, ArbiterSettings.list_names())
