"""The Open Bandit Pipeline's feedback (``action``, ``reward``, ``pscore``, …) and the Open Bandit Dataset's frames.

Candidates are the actions themselves, with what ``action_context`` holds of each; the context of a row is its
``context``, or the dataset's columns ``user_feature_…``. Where ``pi_b`` is there it says how likely each action was.

Source: obp.types.BanditFeedback and the dataset's README (Saito, Aihara, Matsutani & Narita, 2021).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.files.cells import is_missing, parse_list, read_vector
from bandstand.evaluate.files.forms.form import EVERYBODY, RecordedDecision, parse_timestamp, read_index, read_number

_LOGGER: Final = "logged"
_NAMES: Final = (
    {"action": "action", "reward": "reward", "propensity": "pscore"},
    {"action": "item_id", "reward": "click", "propensity": "propensity_score"},
)
_CONTEXT_PREFIX: Final = ("user_feature_", "context_", "position")


class OpenBanditForm:
    """Rows of obp's bandit feedback, or of the Open Bandit Dataset."""

    name: ClassVar = "obp"

    def __init__(self) -> None:
        self._count = 0
        self._names = _NAMES[0]
        self._features: list[dict[str, float]] | None = None

    @classmethod
    def recognises(cls, names: Collection[str]) -> bool:
        """Actions with ``pscore``, or items with ``propensity_score``."""
        return any({each["action"], each["propensity"]} <= set(names) for each in _NAMES)

    def survey(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Count the actions: as many as the log says there are, else as the highest number that occurs."""
        for record in records:
            if not self._count:
                self._names = next(
                    (each for each in _NAMES if {each["action"], each["propensity"]} <= record.keys()), _NAMES[0]
                )
                self._count = read_index(record, "n_actions") if record.get("n_actions") is not None else 0
                listed = _read_list(record.get("pi_b"))
                self._count = max(self._count, len(listed or ()))
                if self._count:
                    return
                self._count = 1
            self._count = max(self._count, 1 + read_index(record, self._names["action"]))

    def parse(self, record: Mapping[str, Any]) -> Iterator[RecordedDecision]:
        """Read a row.

        Raises:
            EvaluationError: a number is missing or out of range.
        """
        pick = read_index(record, self._names["action"])
        if pick >= self._count:
            raise EvaluationError(f"{self._names['action']}: is not in [0, {self._count})")
        propensity = read_number(record, self._names["propensity"])
        if not 0 < propensity <= 1:
            raise EvaluationError(f"{self._names['propensity']}: is not in (0, 1]")
        missing = is_missing(record.get(self._names["reward"]))
        context = {
            name: _to_value(value)
            for name, value in record.items()
            if name.startswith(_CONTEXT_PREFIX) and not isinstance(value, list) and value is not None
        }
        vector = _read_list(record.get("context")) or ()
        if self._features is None:
            self._features = self._read_features(record)
        yield RecordedDecision(
            user_id=str(record.get("user_id") or EVERYBODY),
            context=context | {f"context_{number}": each for number, each in enumerate(vector)},
            candidates=[{"id": str(number), "features": each} for number, each in enumerate(self._features)],
            pick=pick,
            propensity=propensity,
            propensities=_read_list(record.get("pi_b")) or (),
            reward=None if missing else read_number(record, self._names["reward"]),
            policy=_LOGGER,
            ts=parse_timestamp(record.get("timestamp"), "timestamp"),
        )

    def _read_features(self, record: Mapping[str, Any]) -> list[dict[str, float]]:
        """Return what is known of every action: the same in all rows."""
        table = record.get("action_context")
        if not isinstance(table, list) or len(table) != self._count:
            return [{"action": float(number)} for number in range(self._count)]
        return [
            {f"action_context_{number}": value for number, value in enumerate(read_vector(row) or ())} for row in table
        ]


def _read_list(value: object) -> list[float] | None:
    return parse_list(value) if isinstance(value, str) else read_vector(value)


def _to_value(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if number.is_integer() else number
