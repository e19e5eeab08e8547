"""Service configurations: what an admin of a Personalizer resource could say, as data."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from bandstand.definition import is_integer, is_number
from bandstand.personalizer.durations import format_duration, parse_duration
from bandstand.personalizer.errors import PersonalizerError
from bandstand.times import format_timestamp, parse_bound

AGGREGATIONS: Final[Mapping[str, str]] = {
    "earliest": "first",
    "sum": "sum",
    "average": "mean",
    "median": "median",
    "min": "min",
    "max": "max",
}
"""What each aggregation of Personalizer's is called here."""
MODES: Final[Mapping[str, str]] = {"Online": "online", "Apprentice": "apprentice", "LoggingOnly": "logging"}
"""What each learning mode of Personalizer's is called here."""

FOR_EVER: Final = -1
"""Days that a log is kept which is never deleted."""

_INVALID: Final = "InvalidServiceConfiguration"
_INVALID_MODE: Final = "InvalidLearningModeServiceConfiguration"
_WAIT_LIMITS: Final = (5.0, 172_800.0)
_DAY: Final = 86_400.0
_LEAST_FREQUENCY: Final = 3_600.0
_MAX_TEXT: Final = 256
_BOUND_TO_MODE: Final = ("reward_wait_s", "default_reward", "aggregation")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfiguration:
    """A configuration; the defaults are those of a new Personalizer resource.

    Attributes:
        reward_wait_s: seconds from the rank call for which a reward is waited for.
        default_reward: taught where none came.
        aggregation: what several rewards of one event make; one of :data:`AGGREGATIONS`.
        exploration: the share of uniform picks.
        learning_mode: one of :data:`MODES`.
        log_retention_days: -1 for ever.
        explains: whether rank answers say why.
        export_frequency: of a model that here needs no export; echoed.
        optimizes: whether a better policy is looked for, and applied, at times.
        optimization_frequency: the time between two looks.
        optimization_start: when the first of them is.
        retrain_days: echoed.
        edited: when it was last changed, in seconds since the epoch; ``None`` for never.
    """

    reward_wait_s: float = 600.0
    default_reward: float = 0.0
    aggregation: str = "earliest"
    exploration: float = 0.2
    learning_mode: str = "Online"
    log_retention_days: int = 90
    explains: bool = False
    export_frequency: str = "PT5M"
    optimizes: bool = False
    optimization_frequency: str = "P7D"
    optimization_start: str = "1970-01-01T00:00:00Z"
    retrain_days: int = 0
    edited: float | None = None

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "ServiceConfiguration":
        """Read what :meth:`to_document` wrote; what it does not say is as by default."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})

    def to_document(self) -> dict[str, Any]:
        """The configuration as the ledger keeps it."""
        return asdict(self)

    def change(self, body: Mapping[str, Any], now: float) -> "ServiceConfiguration":
        """The configuration that a body requests; fields that it leaves out keep their values.

        Raises:
            PersonalizerError: it says something that cannot be.
        """
        if body.get("logMirrorEnabled"):
            raise _refuse("logMirrorEnabled: logs are not mirrored here")
        changes = {
            attribute: read(body[name], name)
            for name, (attribute, read) in _READERS.items()
            if body.get(name) is not None
        }
        changed = replace(self, **changes, edited=now)
        if (self.log_retention_days, self.reward_wait_s) != (changed.log_retention_days, changed.reward_wait_s):
            _check_retention(changed)
        _check_mode_change(self, changed)
        return changed

    def to_wire(self) -> dict[str, Any]:
        """The configuration in the form of the wire."""
        return {
            "rewardWaitTime": format_duration(self.reward_wait_s),
            "defaultReward": self.default_reward,
            "rewardAggregation": self.aggregation,
            "explorationPercentage": self.exploration,
            "modelExportFrequency": self.export_frequency,
            "logMirrorEnabled": False,
            "logMirrorSasUri": None,
            "logRetentionDays": self.log_retention_days,
            "lastConfigurationEditDate": format_date(self.edited or 0.0),
            "learningMode": self.learning_mode,
            "isAutoOptimizationEnabled": self.optimizes,
            "autoOptimizationFrequency": self.optimization_frequency,
            "autoOptimizationStartDate": self.optimization_start,
            "isInferenceExplainabilityEnabled": self.explains,
            "modelRetrainDays": self.retrain_days,
        }


def format_date(ts: float) -> str:
    """A moment as Personalizer has it: UTC, with Z."""
    return format_timestamp(ts).replace("+00:00", "Z")


def _check_retention(configuration: ServiceConfiguration) -> None:
    days = configuration.log_retention_days
    least = int(-(-configuration.reward_wait_s // _DAY)) + 1
    if days != FOR_EVER and days < least:
        message = f"logRetentionDays: must be -1 or at least {least}, a day more than rewards are waited for"
        raise _refuse(message, "InvalidLogRetentionDays")


def _check_mode_change(before: ServiceConfiguration, after: ServiceConfiguration) -> None:
    moved = any(getattr(before, name) != getattr(after, name) for name in _BOUND_TO_MODE)
    if before.learning_mode != after.learning_mode and moved:
        message = "learningMode: change it by itself, and what rewards mean in another request"
        raise _refuse(message, _INVALID_MODE)


def _refuse(message: str, wire_code: str = _INVALID) -> PersonalizerError:
    return PersonalizerError(400, wire_code, message)


def _read_wait(value: object, name: str) -> float:
    seconds = parse_duration(value)
    least, most = _WAIT_LIMITS
    if seconds is None or not least <= seconds <= most:
        raise _refuse(f"{name}: must be a duration from 5 seconds to 2 days, such as PT10M", "InvalidRewardWaitTime")
    return seconds


def _read_duration(value: object, name: str) -> str:
    if parse_duration(value) is None:
        raise _refuse(f"{name}: must be a duration, such as PT5M")
    return str(value)


def _read_frequency(value: object, name: str) -> str:
    if (parse_duration(value) or 0.0) < _LEAST_FREQUENCY:
        raise _refuse(f"{name}: must be a duration of an hour or more, such as P7D")
    return str(value)


def _read_number(least: float, most: float) -> Callable[[object, str], float]:
    def read(value: object, name: str) -> float:
        if not is_number(value) or not least <= value <= most:
            raise _refuse(f"{name}: must be a number from {least:g} to {most:g}")
        return float(value)

    return read


def _read_choice(choices: Mapping[str, str], wire_code: str) -> Callable[[object, str], str]:
    def read(value: object, name: str) -> str:
        by_lower = {choice.lower(): choice for choice in choices}
        found = by_lower.get(value.lower()) if isinstance(value, str) else None
        if found is None:
            raise _refuse(f"{name}: must be one of {', '.join(choices)}", wire_code)
        return found

    return read


def _read_days(value: object, name: str) -> int:
    if not is_integer(value) or not FOR_EVER <= value <= _MAX_DAYS or value == 0:
        raise _refuse(f"{name}: must be a whole number of days, or -1 for ever", "InvalidLogRetentionDays")
    return value


def _read_retrain_days(value: object, name: str) -> int:
    if not is_integer(value) or not 0 <= value <= _MAX_DAYS:
        raise _refuse(f"{name}: must be a whole number of days")
    return value


def _read_boolean(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise _refuse(f"{name}: must be true or false")
    return value


def _read_date(value: object, name: str) -> str:
    try:
        return format_date(parse_bound(value, needs_zone=False))
    except ValueError:
        raise _refuse(f"{name}: must be a date and a time") from None


_MAX_DAYS: Final = 36_500
_READERS: Final[Mapping[str, tuple[str, Callable[[object, str], Any]]]] = {
    "rewardWaitTime": ("reward_wait_s", _read_wait),
    "defaultReward": ("default_reward", _read_number(-1.0, 1.0)),
    "rewardAggregation": ("aggregation", _read_choice(AGGREGATIONS, _INVALID)),
    "explorationPercentage": ("exploration", _read_number(0.0, 1.0)),
    "modelExportFrequency": ("export_frequency", _read_duration),
    "logRetentionDays": ("log_retention_days", _read_days),
    "learningMode": ("learning_mode", _read_choice(MODES, _INVALID_MODE)),
    "isInferenceExplainabilityEnabled": ("explains", _read_boolean),
    "isAutoOptimizationEnabled": ("optimizes", _read_boolean),
    "autoOptimizationFrequency": ("optimization_frequency", _read_frequency),
    "autoOptimizationStartDate": ("optimization_start", _read_date),
    "modelRetrainDays": ("retrain_days", _read_retrain_days),
}
