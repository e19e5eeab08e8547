"""The catalogue: every feature schema and policy of a deployment, read from what ships and what the deployment adds."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Self

from bandstand.bandit.columns import RawValue
from bandstand.bandit.features import FeatureSchema, Field
from bandstand.bandit.policies import KINDS, First, Policy
from bandstand.definition import NAME_PATTERN, DefinitionTable, describe_unknown, is_name, to_configuration_error
from bandstand.errors import ConfigurationError, FieldError, UnknownPolicyError

ALIASES: Mapping[str, str] = MappingProxyType({"linucb": "linucb-v1", "egreedy": "egreedy-v1"})
"""Names that always mean the contract's policies, whatever a deployment configures."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Schemas and policies by name; make one with :meth:`parse`.

    Attributes:
        schemas: every feature schema.
        policies: every policy.
        aliases: other names of policies.
        context_fields: every field some schema reads from the context.
        candidate_fields: every field some schema reads from a candidate's features.
    """

    schemas: dict[str, FeatureSchema]
    policies: dict[str, Policy]
    aliases: Mapping[str, str]
    context_fields: Mapping[str, Field]
    candidate_fields: Mapping[str, Field]

    @cached_property
    def is_open(self) -> bool:
        """Whether some schema reads whatever context and candidates have."""
        return any(schema.is_open for schema in self.schemas.values())

    @cached_property
    def defaults(self) -> Mapping[str, RawValue]:
        """The default of every field, by its name: no two fields have the same."""
        return {name: field.default for name, field in (*self.context_fields.items(), *self.candidate_fields.items())}

    @classmethod
    def parse(
        cls,
        shipped: Mapping[str, object],
        deployment: Mapping[str, object] | None = None,
        other_tables: Collection[str] = (),
    ) -> Self:
        """Read the tables ``schemas`` and ``policies`` of both files; the deployment's add to or replace the shipped.

        The contract's policies, their schemas and their aliases are reserved: a deployment cannot redefine them.

        Args:
            shipped: the package's own definitions.
            deployment: the deployment's.
            other_tables: other top-level tables that the deployment's file may hold, for others to read.

        Raises:
            ConfigurationError: names every fault found, not only the first.
        """
        faults: list[FieldError] = []
        shipped_schemas, shipped_policies = _read_tables(shipped, (), faults)
        own_schemas, own_policies = _read_tables(deployment or {}, other_tables, faults)
        _require_unreserved(shipped_policies, own_schemas, own_policies, faults)
        schemas = _read_schemas({**shipped_schemas, **own_schemas}, faults)
        definitions = {**shipped_policies, **own_policies}
        known_schemas = (*shipped_schemas, *own_schemas)
        policies = _read_policies(definitions, schemas, known_schemas, faults)
        context, candidate = _merge_fields(schemas.values(), faults)
        if faults:
            raise to_configuration_error(faults)
        aliases = {alias: name for alias, name in ALIASES.items() if name in policies}
        return cls(schemas, policies, MappingProxyType(aliases), context, candidate)

    def get_policy(self, name: str) -> Policy:
        """Return the policy of that name or alias.

        Raises:
            UnknownPolicyError: there is no such policy.
        """
        policy = self.policies.get(self.aliases.get(name, name))
        if policy is None:
            raise UnknownPolicyError("No policy of that name is configured.")
        return policy

    def find_baseline(self, schema: str | None = None) -> Policy | None:
        """Return the first policy that serves the first candidate with probability 1, of those that read a schema."""
        return next(
            (
                policy
                for policy in self.policies.values()
                if isinstance(policy, First) and not policy.parameters["floor"] and schema in {None, policy.schema.name}
            ),
            None,
        )


def _read_tables(
    document: Mapping[str, object], other_tables: Collection[str], faults: list[FieldError]
) -> tuple[Mapping[str, object], Mapping[str, object]]:
    allowed = ("schemas", "policies", *other_tables)
    faults += [FieldError(key, describe_unknown(key, allowed)) for key in document if key not in allowed]
    schemas, policies = (document.get(key, {}) for key in ("schemas", "policies"))
    for key, table in (("schemas", schemas), ("policies", policies)):
        if not isinstance(table, Mapping):
            faults.append(FieldError(key, "must be a table"))
    return (schemas if isinstance(schemas, Mapping) else {}), (policies if isinstance(policies, Mapping) else {})


def _require_unreserved(
    shipped_policies: Mapping[str, object],
    schemas: Mapping[str, object],
    policies: Mapping[str, object],
    faults: list[FieldError],
) -> None:
    definitions = (shipped_policies.get(name) for name in ALIASES.values())
    reserved_schemas = {entry.get("schema") for entry in definitions if isinstance(entry, Mapping)}
    reserved_policies = {*ALIASES, *ALIASES.values()}
    message = "is reserved for the contract; give yours another name"
    faults += [FieldError(f"schemas.{name}", message) for name in schemas if name in reserved_schemas]
    faults += [FieldError(f"policies.{name}", message) for name in policies if name in reserved_policies]


def _read_schemas(definitions: Mapping[str, object], faults: list[FieldError]) -> dict[str, FeatureSchema]:
    schemas = {}
    for name, definition in definitions.items():
        if not isinstance(definition, Mapping):
            faults.append(FieldError(f"schemas.{name}", "must be a table"))
            continue
        try:
            schemas[name] = FeatureSchema.parse(name, definition)
        except ConfigurationError as error:
            faults += error.errors
    return schemas


def _read_policies(
    definitions: Mapping[str, object],
    schemas: Mapping[str, FeatureSchema],
    known_schemas: Collection[str],
    faults: list[FieldError],
) -> dict[str, Policy]:
    policies = {}
    for name, definition in definitions.items():
        path = f"policies.{name}"
        if not is_name(name):
            faults.append(FieldError(path, f"the name must match {NAME_PATTERN}"))
        table = DefinitionTable(definition, path, faults)
        kind = table.read_text("kind", choices=KINDS)
        schema = schemas.get(table.read_text("schema", choices=known_schemas))
        if not kind or not isinstance(definition, Mapping):
            continue
        parameters = {key: value for key, value in definition.items() if key not in {"kind", "schema"}}
        try:
            if schema is None:
                KINDS[kind].check_parameters(name, parameters)
            else:
                policies[name] = KINDS[kind](name, schema, parameters)
        except ConfigurationError as error:
            faults += error.errors
    return policies


def _merge_fields(
    schemas: Iterable[FeatureSchema], faults: list[FieldError]
) -> tuple[Mapping[str, Field], Mapping[str, Field]]:
    """Unite the fields of all schemas: a name is one field, of one source, wherever it is read."""
    fields: dict[str, Field] = {}
    for schema in schemas:
        for field in (*schema.context_fields.values(), *schema.candidate_fields.values()):
            first = fields.setdefault(field.name, field)
            if first != field:
                faults.append(
                    FieldError(
                        f"schemas.{schema.name}",
                        f"{field.source}.{field.name} is {_describe_field(field)}, "
                        f"but {first.source}.{first.name} is {_describe_field(first)} in another schema",
                    )
                )
    context = {name: field for name, field in fields.items() if field.source == "context"}
    candidate = {name: field for name, field in fields.items() if field.source == "candidate"}
    return MappingProxyType(context), MappingProxyType(candidate)


def _describe_field(field: Field) -> str:
    limits = "" if field.minimum is None and field.maximum is None else f" from {field.minimum} to {field.maximum}"
    return f"{field.type}{limits}, default {field.default!r}"
