"""What a loop makes of the rewards that come for its decisions, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self

from bandstand.bandit.aggregation import AGGREGATIONS, Aggregation, PartSums
from bandstand.bandit.reaction_table import CONTRACT_REACTIONS, ReactionTable
from bandstand.bandit.reward_formula import RewardFormula, validate_metrics
from bandstand.definition import DefinitionTable, is_number
from bandstand.errors import FieldError, InvalidRequestError

MAX_WINDOW: Final = 30 * 86_400.0
"""Seconds."""
MAX_REWARD: Final = 1e6
"""Most that an end of the range of rewards may be away from 0: sums of their squares keep their digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardSettings:
    """How rewards count in a loop; as made here, they count as the contract has it: the first one, for ever.

    Attributes:
        window: seconds after the decision in which its rewards count; ``None`` for ever.
        default_reward: taught at the window's end where none came; ``None`` teaches nothing then.
        aggregation: how several rewards of one decision are combined; ``once`` refuses any but the first.
        minimum: the least that a reward may be, and that is taught.
        maximum: the most.
        formula: makes the reward of metrics; ``None`` makes none.
        reactions: makes the reward of a reaction.
    """

    window: float | None = None
    default_reward: float | None = None
    aggregation: Aggregation | Literal["once"] = "once"
    minimum: float = -1.0
    maximum: float = 1.0
    formula: RewardFormula | None = None
    reactions: ReactionTable = CONTRACT_REACTIONS

    @classmethod
    def parse(cls, entries: object, path: str, faults: list[FieldError]) -> Self:
        """Read a table; faults are noted, and reading continues.

        Args:
            entries: the table.
            path: where it stands, such as ``rewards``.
            faults: the list every fault is appended to.
        """
        table = DefinitionTable(entries, path, faults)
        known = len(faults)
        optional = {
            key: None if table.read_value(key) is None else table.read_number(key)
            for key in ("window", "default_reward")
        }
        metrics = table.read_value("metrics")
        reactions = table.read_value("reactions")
        settings = cls(
            **optional,
            aggregation=table.read_text("aggregation", "once", ("once", *AGGREGATIONS)),  # type: ignore[arg-type]  # one of them
            minimum=table.read_number("minimum", -1.0),
            maximum=table.read_number("maximum", 1.0),
            formula=None if metrics is None else RewardFormula.parse(metrics, f"{path}.metrics", faults),
            reactions=(
                CONTRACT_REACTIONS if reactions is None else ReactionTable.parse(reactions, f"{path}.reactions", faults)
            ),
        )
        table.check_unknown_keys()
        if len(faults) == known:
            faults += settings.find_faults(path)
        return settings

    def find_faults(self, path: str) -> list[FieldError]:
        """What of the settings does not fit together."""
        faults = []
        if self.window is not None and not 1.0 <= self.window <= MAX_WINDOW:
            faults.append(FieldError(f"{path}.window", f"must be from 1 to {MAX_WINDOW:.0f} seconds"))
        if not -MAX_REWARD <= self.minimum < self.maximum <= MAX_REWARD:
            faults.append(FieldError(f"{path}.maximum", f"must be over the minimum, and both within ±{MAX_REWARD:g}"))
        elif self.default_reward is not None and not self.minimum <= self.default_reward <= self.maximum:
            faults.append(FieldError(f"{path}.default_reward", "must be within the range of rewards"))
        if self.default_reward is not None and self.window is None:
            faults.append(FieldError(f"{path}.default_reward", "needs a window, at whose end it is taught"))
        return faults

    def to_document(self) -> dict[str, object]:
        """The table of which :meth:`parse` makes an equal value; defaults are left out."""
        given: dict[str, object] = {
            "window": self.window,
            "default_reward": self.default_reward,
            "aggregation": self.aggregation,
            "minimum": self.minimum,
            "maximum": self.maximum,
        }
        document = {key: value for key, value in given.items() if value != getattr(CONTRACT, key)}
        if self.formula is not None:
            document["metrics"] = self.formula.to_document()
        if self.reactions != CONTRACT_REACTIONS:
            document["reactions"] = self.reactions.to_document()
        return document

    @property
    def takes_parts(self) -> bool:
        """Whether a reward is a part of what its decision is taught, whatever the decision says."""
        once = (None, None, "once", -1.0, 1.0, None)
        return (
            self.window,
            self.default_reward,
            self.aggregation,
            self.minimum,
            self.maximum,
            self.formula,
        ) != once

    def compute_taught(self, parts: PartSums) -> float:
        """Return what parts of a decision teach: their aggregate, within the range of rewards."""
        aggregate = parts.aggregate("first" if self.aggregation == "once" else self.aggregation)
        return min(max(aggregate, self.minimum), self.maximum)

    def compute_reward(self, metrics: Mapping[str, float]) -> float:
        """Return the reward of metrics, clipped to the range of rewards.

        Raises:
            InvalidRequestError: there is no formula.
        """
        if self.formula is None:
            message = "no formula makes a reward of them here: give a reward beside them"
            raise InvalidRequestError(f"metrics: {message}", [FieldError("metrics", message)])
        return min(max(self.formula.compute(validate_metrics(metrics)), self.minimum), self.maximum)

    def compute_reaction_reward(self, action: str, dwell_ms: float | None) -> float:
        """Return the reward of a reaction, clipped to the range of rewards.

        Raises:
            InvalidRequestError: as :meth:`ReactionTable.compute_reward`.
        """
        return min(max(self.reactions.compute_reward(action, dwell_ms), self.minimum), self.maximum)

    def validate_reward(self, value: object) -> float:
        """Return a reward as a float once it is known to be within the range.

        Raises:
            InvalidRequestError: it is not, or not a number (true and false are none).
        """
        # A float that is not finite is in no range.
        if (type(value) is float or is_number(value)) and self.minimum <= value <= self.maximum:
            return float(value)
        message = f"must be a finite number in [{self.minimum:g}, {self.maximum:g}]"
        raise InvalidRequestError(f"reward {message}.", [FieldError("reward", message)])


CONTRACT: Final = RewardSettings()
"""A decision is rewarded once, whenever that comes."""
