"""Reward settings: what becomes of rewards over time, as a value that a loop's definition holds."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from bandstand.bandit.aggregation import AGGREGATIONS, Aggregation, PartSums
from bandstand.definition import describe_unknown, is_number, to_configuration_error
from bandstand.errors import FieldError, InvalidRequestError

MAX_WINDOW = 30 * 86_400.0
"""Seconds: a window must end before retention takes its decisions."""
MAX_REWARD = 1e6
"""Most that an end of the range of rewards may be away from 0: squares of sums of them keep their digits."""


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """What becomes of the rewards of a decision.

    Attributes:
        window: seconds after the decision in which its rewards count; ``None`` for ever.
        default_reward: taught at the window's end where none came; ``None`` teaches nothing then.
        aggregation: what several rewards of one decision come to.
        minimum: the least that a reward may be, and that is taught.
        maximum: the most.
    """

    window: float | None = None
    default_reward: float | None = None
    aggregation: Aggregation = "first"
    minimum: float = -1.0
    maximum: float = 1.0

    @classmethod
    def parse(cls, definition: Mapping[str, Any], where: str = "rewards") -> Self:
        """Read settings from a table of a configuration.

        Raises:
            ConfigurationError: names every field that is unknown or not allowed.
        """
        known = ("window", "default_reward", "aggregation", "minimum", "maximum")
        faults = [FieldError(f"{where}.{key}", describe_unknown(key, known)) for key in definition if key not in known]
        faults += [
            FieldError(f"{where}.{key}", "must be a finite number")
            for key in ("window", "default_reward", "minimum", "maximum")
            if definition.get(key) is not None and not _is_finite(definition[key])
        ]
        if (aggregation := definition.get("aggregation", "first")) not in AGGREGATIONS:
            faults.append(FieldError(f"{where}.aggregation", describe_unknown(str(aggregation), AGGREGATIONS)))
        if faults:
            raise to_configuration_error(faults)
        values: dict[str, Any] = {
            key: float(each) if is_number(each) else each for key, each in definition.items() if each is not None
        }
        settings = cls(**values)
        if faults := settings.find_faults(where):
            raise to_configuration_error(faults)
        return settings

    def to_document(self) -> dict[str, object]:
        """The table of which :meth:`parse` makes an equal value; what is as it is by default is left out."""
        return {name: value for name, value in asdict(self).items() if value != getattr(ONCE, name)}

    def find_faults(self, where: str = "rewards") -> list[FieldError]:
        """What of the settings does not fit together."""
        faults = []
        if self.window is not None and not 1.0 <= self.window <= MAX_WINDOW:
            faults.append(FieldError(f"{where}.window", f"must be from 1 to {MAX_WINDOW:.0f} seconds"))
        if not -MAX_REWARD <= self.minimum < self.maximum <= MAX_REWARD:
            faults.append(FieldError(f"{where}.maximum", f"must be over the minimum, and both within ±{MAX_REWARD:g}"))
        elif self.default_reward is not None and not self.minimum <= self.default_reward <= self.maximum:
            faults.append(FieldError(f"{where}.default_reward", "must be within the range of rewards"))
        if self.default_reward is not None and self.window is None:
            faults.append(FieldError(f"{where}.default_reward", "needs a window, at whose end it is taught"))
        return faults

    def compute_taught(self, parts: PartSums) -> float:
        """Return what parts of a decision teach: their aggregate, within the range of rewards."""
        return min(max(parts.aggregate(self.aggregation), self.minimum), self.maximum)

    def validate_reward(self, value: object, field: str = "reward") -> float:
        """Return a reward as a float once it is known to be within the range.

        Raises:
            InvalidRequestError: it is not, or not a number (true and false are none).
        """
        if is_number(value) and self.minimum <= value <= self.maximum:
            return float(value)
        message = f"must be a finite number in [{self.minimum:g}, {self.maximum:g}]"
        raise InvalidRequestError(f"{field} {message}.", [FieldError(field, message)])


ONCE = RewardSettings()
"""A decision is rewarded once, whenever that comes: what the contract has."""


def _is_finite(value: object) -> bool:
    return is_number(value) and math.isfinite(value)
