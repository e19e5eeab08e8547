"""Every setting of a deployment, read once from the environment; nothing below this package reads it again.

A setting is a field of one of the groups and an environment variable of the same name in capitals. A wrong one ends
start-up with one line that names it, its value (never a secret's) and what is allowed. ``docs/settings.md`` is
generated from the groups.
"""

from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from bandstand.config.access import AccessSettings
from bandstand.config.generate import GenerateSettings
from bandstand.config.judge import JudgeSettings
from bandstand.config.llm import ProviderKeySettings
from bandstand.config.policies import LearningSettings, PolicySettings, RewardCountSettings
from bandstand.config.serving import AddressSettings, ProcessSettings
from bandstand.config.storage import DirectorySettings, StorageSettings
from bandstand.errors import ConfigurationError

_MAX_VALUE_CHARS = 200  # so much of a wrong value: a path is most often whole


# The page of settings, and what is said of several wrong ones, begin with the fields of the last base.
class Settings(
    ProcessSettings,
    ProviderKeySettings,
    JudgeSettings,
    GenerateSettings,
    LearningSettings,
    RewardCountSettings,
    StorageSettings,
    AccessSettings,
    PolicySettings,
    DirectorySettings,
    AddressSettings,
    BaseSettings,
):
    """A deployment's settings: arguments first, then the environment, then the defaults.

    Raises:
        pydantic.ValidationError: a value is not allowed; ``read_settings`` makes one line of it.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True)


def read_settings(**flags: object) -> Settings:
    """Read the settings from the environment, the given flags first; a flag that is None was not given.

    Raises:
        ConfigurationError: its one line names each wrong setting, its value and what is allowed.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # flags arrive as text and are parsed like the environment
    except ValidationError as error:
        raise ConfigurationError("; ".join(_format_fault(fault, given) for fault in error.errors())) from None


def _format_fault(fault: ErrorDetails, flags: Mapping[str, object]) -> str:
    name = str(fault["loc"][0])
    source = "--" + name.replace("_", "-") if name in flags else name.upper()
    reason = f" ({fault['ctx']['error']})" if fault["type"] == "value_error" else ""
    shown = "" if _is_secret(name, fault["input"]) else f"={truncate_value(fault['input'])}"
    return f"{source}{shown} is not allowed{reason}; expected {get_allowed(name)}"


def _is_secret(name: str, value: object) -> bool:
    return name == "state_url" or name.endswith(("_key", "_keys")) or (name.endswith("_url") and "@" in str(value))


def truncate_value(value: object) -> str:
    """A wrong value as a message shows it: escaped, and cut where it is long."""
    text = ascii(value)
    return text if len(text) <= _MAX_VALUE_CHARS else f"{text[:_MAX_VALUE_CHARS]}…"


def get_allowed(name: str) -> str:
    """Say which values the setting of that field name takes."""
    extra = Settings.model_fields[name].json_schema_extra
    return str(extra["allowed"]) if isinstance(extra, dict) else ""
