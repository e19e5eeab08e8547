"""The policies and feature schemas of a deployment: those that ship, and those of its own file."""

import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.experiment import Experiment
from bandstand.bandit.holdout import CONTROL_POLICIES
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.config.settings import Settings, truncate_value
from bandstand.definition import describe_unknown, to_configuration_error
from bandstand.errors import ConfigurationError, FieldError

_DAY = 86_400.0

OTHER_TABLES = ("judge", "taxonomies", "loops", "rewards")
"""Tables of the deployment's file that are no schemas and no policies."""


def load_catalogue(settings: Settings) -> Catalogue:
    """Read the schemas and policies that ship and the deployment's own; those that settings name must be among them.

    Raises:
        ConfigurationError: the file cannot be read or says something wrong, or the policy is not configured.
    """
    shipped = read_shipped_tables()
    path = settings.bandstand_config
    catalogue = Catalogue.parse(shipped) if path is None else _load_with_deployment(shipped, path)
    require_named_policies(settings, catalogue)
    _require_distinct("SHADOW", settings.shadow, catalogue)
    return catalogue


def require_named_policies(settings: Settings, catalogue: Catalogue) -> None:
    """Refuse policies of the default loop that are without one by which a setting has users served.

    Raises:
        ConfigurationError: names the setting, and the policy.
    """
    names = (*catalogue.policies, *catalogue.aliases)
    if settings.active_policy is not None and settings.active_policy not in names:
        raise ConfigurationError(f"ACTIVE_POLICY: {describe_unknown(settings.active_policy, names)}")
    if settings.experiment is not None:
        _check_experiment(settings.experiment, settings, catalogue)
    if settings.holdout is not None:
        _require_distinct("HOLDOUT", [CONTROL_POLICIES[settings.holdout_control]], catalogue)


def _check_experiment(experiment: Experiment, settings: Settings, catalogue: Catalogue) -> None:
    if settings.active_policy is not None:
        raise ConfigurationError(
            "EXPERIMENT and ACTIVE_POLICY are both set: a split cannot be pinned, unset one of them"
        )
    _require_distinct("EXPERIMENT", [arm.policy for arm in experiment.arms], catalogue)


def _require_distinct(setting: str, policies: Iterable[str], catalogue: Catalogue) -> None:
    """Policies that a setting lists must be configured, and each there once, under whatever name."""
    names = (*catalogue.policies, *catalogue.aliases)
    seen: set[str] = set()
    for policy in policies:
        if policy not in names:
            raise ConfigurationError(f"{setting}: {describe_unknown(policy, names)}")
        name = catalogue.get_policy(policy).name
        if name in seen:
            raise ConfigurationError(f"{setting}: it names {name!r} twice")
        seen.add(name)


def read_shipped_tables() -> dict[str, Any]:
    """Read the schemas and policies that ship."""
    return tomllib.loads(resources.files("bandstand").joinpath("defaults.toml").read_text(encoding="utf-8"))


def read_deployment_tables(settings: Settings) -> dict[str, Any]:
    """Read the tables of the deployment's own file; none if there is no file.

    Raises:
        ConfigurationError: it cannot be read.
    """
    return {} if settings.bandstand_config is None else _read_toml(settings.bandstand_config)


def load_reward_settings(settings: Settings) -> RewardSettings:
    """How rewards count: the table ``rewards`` of the deployment's own file, and the settings that replace its values.

    Raises:
        ConfigurationError: the file or a value is wrong, or rewards count for longer than they are kept.
    """
    replaced = {
        "window": settings.reward_window,
        "default_reward": settings.default_reward,
        "aggregation": settings.reward_aggregation,
    }
    table = read_deployment_tables(settings).get("rewards", {})
    given = {key: value for key, value in replaced.items() if value is not None}
    faults: list[FieldError] = []
    rewards = RewardSettings.parse({**table, **given} if isinstance(table, Mapping) else table, "rewards", faults)
    days = settings.decision_retention_days
    if days and rewards.window is not None and rewards.window > (days - 1) * _DAY:
        faults.append(FieldError("rewards.window", "must end a day before DECISION_RETENTION_DAYS takes its decisions"))
    if faults:
        raise to_configuration_error(faults)
    return rewards


def _load_with_deployment(shipped: Mapping[str, object], path: Path) -> Catalogue:
    try:
        return Catalogue.parse(shipped, _read_toml(path), OTHER_TABLES)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"BANDSTAND_CONFIG={truncate_value(str(path))}: {error.detail}", error.errors
        ) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ConfigurationError(f"is not TOML ({error})") from None
