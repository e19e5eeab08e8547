"""Our own form: what was offered, what was picked with which probability, and the reward.

Each record is a score request (``user_id``, ``context``, ``candidates`` with their ``features``) and besides it
``tip_id`` (the id of the picked candidate) or ``action`` (its index, or its id), ``propensity``, ``reward`` (null or
missing where none came), and, if known, ``policy``, ``ts`` (seconds or milliseconds since the epoch, or ISO 8601), and
``propensities`` of all candidates. A reward teaches at once, before the next record.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.files.forms.form import UNKNOWN_POLICY, RecordedDecision, parse_timestamp
from bandstand.store.maintenance.export import describe_error

_Probability = Annotated[float, Field(ge=0, le=1)]


def _parse_time(value: object) -> float:
    try:
        return parse_timestamp(value)
    except EvaluationError as error:
        raise ValueError(error.detail.removeprefix("ts: ")) from None


class _DecisionLine(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False, hide_input_in_errors=True)

    user_id: str
    candidates: Annotated[list[dict[str, Any]], Field(min_length=1)]
    propensity: Annotated[_Probability, Field(gt=0)]
    context: dict[str, Any] | None = None
    tip_id: str | None = None
    action: int | str | None = None
    reward: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    policy: str | None = None
    ts: Annotated[float, BeforeValidator(_parse_time)] = 0.0
    propensities: list[_Probability] | None = None

    @model_validator(mode="after")
    def _check_pick(self) -> Self:
        count = len(self.candidates)
        if (self.tip_id is None) == (self.action is None):
            raise ValueError("give one of tip_id and action")
        if self.pick not in range(count):
            raise ValueError("the pick is not one of the candidates")
        if self.propensities is not None and len(self.propensities) != count:
            raise ValueError(f"there are {len(self.propensities)} propensities and {count} candidates")
        return self

    @property
    def pick(self) -> int:
        if isinstance(self.action, int):
            return self.action
        wanted = self.tip_id if self.action is None else self.action
        ids = [candidate.get("id") for candidate in self.candidates]
        return ids.index(wanted) if wanted in ids else -1


class ScoreRequestForm:
    """Score requests with their picks and rewards."""

    name: ClassVar = "decisions"

    @classmethod
    def recognises(cls, names: Collection[str]) -> bool:
        """Candidates stand in no other form."""
        return "candidates" in names

    def survey(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Every record is independent of the others."""

    def parse(self, record: Mapping[str, Any]) -> Iterator[RecordedDecision]:
        """Read a decision with its reward.

        Raises:
            EvaluationError: it is not as the module describes.
        """
        try:
            line = _DecisionLine.model_validate(record)
        except ValidationError as error:
            raise EvaluationError(describe_error(error)) from None
        yield RecordedDecision(
            user_id=line.user_id,
            context=line.context or {},
            candidates=line.candidates,
            pick=line.pick,
            propensity=line.propensity,
            propensities=line.propensities or (),
            reward=line.reward,
            policy=line.policy or UNKNOWN_POLICY,
            ts=line.ts,
        )
