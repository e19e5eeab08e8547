"""Loops as the deployment's file has them, and the policies and schemas of each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bandstand.bandit.catalogue import ALIASES, Catalogue
from bandstand.bandit.loop_definition import DEFAULT_LOOP, LoopDefinition
from bandstand.bandit.policies import First
from bandstand.config.catalogue import (
    load_reward_settings,
    read_deployment_tables,
    read_shipped_tables,
    require_named_policies,
)
from bandstand.config.settings import Settings
from bandstand.definition import describe_unknown
from bandstand.errors import ConfigurationError, FieldError

BASELINE: Final = "baseline"
"""Added to a loop that has no policy which serves the first candidate over the schema of its own policy."""

_DEFAULT_POLICY: Final = "linucb-v2"
_FOLDER: Final = "loops"


def get_loop_directory(settings: Settings, name: str) -> Path:
    """Where the state of a loop is."""
    return settings.state_dir if name == DEFAULT_LOOP else settings.state_dir / _FOLDER / name


def load_default_loop(settings: Settings) -> LoopDefinition:
    """What the settings say of the default loop.

    Raises:
        ConfigurationError: they say something wrong of rewards.
    """
    return LoopDefinition(
        name=DEFAULT_LOOP,
        policy=settings.active_policy,
        shadow=settings.shadow,
        rewards=load_reward_settings(settings),
    )


def load_loops(settings: Settings) -> dict[str, LoopDefinition]:
    """Read the loops of the deployment's file, each with its policies and schemas; none if there is no file.

    What the file does not say of the default one, the settings do.

    Raises:
        ConfigurationError: the file cannot be read, or one of them says something wrong.
    """
    tables = read_deployment_tables(settings).get("loops", {})
    if not isinstance(tables, Mapping):
        raise ConfigurationError("BANDSTAND_CONFIG: loops: must be a table", [FieldError("loops", "must be a table")])
    loops = {}
    for name, table in tables.items():
        try:
            if name == DEFAULT_LOOP and isinstance(table, Mapping):
                table = {**load_default_loop(settings).to_document(), **table}  # noqa: PLW2901 (the whole of it)
            loops[name] = LoopDefinition.parse(name, table, f"loops.{name}")
            if name != DEFAULT_LOOP:
                load_loop_catalogue(settings, loops[name])
        except ConfigurationError as error:
            raise ConfigurationError(f"BANDSTAND_CONFIG: {error.detail}", error.errors) from None
    return loops


def load_loop_catalogue(settings: Settings, definition: LoopDefinition) -> Catalogue:
    """Read the policies and schemas of a loop: those of the service that it includes, and its own.

    A loop that includes all of the service's reads a context by all of their schemas; one that has its own alone reads
    it by its own alone. The default one cannot be without a policy by which a setting has users served.

    Raises:
        ConfigurationError: names every fault found, not only the first.
    """
    shipped, deployment = read_shipped_tables(), read_deployment_tables(settings)
    policies = {**shipped["policies"], **deployment.get("policies", {})}
    schemas = {**shipped["schemas"], **deployment.get("schemas", {})}
    faults = []
    if definition.include is not None:
        faults = [
            FieldError("include", describe_unknown(each, policies))
            for each in definition.include
            if each not in policies
        ]
        policies = {name: policies[name] for name in definition.include if name in policies}
        used = {_get_schema(each) for each in (*policies.values(), *definition.policies.values())}
        schemas = {name: schema for name, schema in schemas.items() if name in used}
    own = {"schemas": dict(definition.schemas), "policies": dict(definition.policies)}
    names = [*policies, *own["policies"]]
    names += [alias for alias, name in ALIASES.items() if name in names]
    chosen = resolve_policy(definition)
    for key, named in (("policy", (chosen,)), ("shadow", definition.shadow)):
        faults += [FieldError(key, describe_unknown(each, names)) for each in named if each not in names]
    if faults:
        raise ConfigurationError("; ".join(f"{fault.field}: {fault.message}" for fault in faults), faults)
    base = {"schemas": schemas, "policies": policies}
    catalogue = Catalogue.parse(base, own)
    schema: str | None = catalogue.get_policy(chosen).schema.name
    if definition.name == DEFAULT_LOOP:
        require_named_policies(settings, catalogue)
        schema = None  # whichever it has had since before anything of it could be changed
    if catalogue.find_baseline(schema) is not None:
        return catalogue
    own["policies"][BASELINE] = {"kind": First.kind, "schema": catalogue.get_policy(chosen).schema.name}
    return Catalogue.parse(base, own)


def resolve_policy(definition: LoopDefinition) -> str:
    """The policy that a loop's un-named requests mean where none was promoted."""
    return definition.policy or _DEFAULT_POLICY


def _get_schema(policy: Any) -> object:
    return policy.get("schema") if isinstance(policy, Mapping) else None
