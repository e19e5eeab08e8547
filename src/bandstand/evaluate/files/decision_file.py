"""A log of decisions from elsewhere, as JSON Lines: what was offered, what was picked how likely, what came of it.

Each line is a score request (``user_id``, ``context``, ``candidates`` with their ``features``) and besides it
``tip_id`` (the id of the picked candidate) or ``action`` (its index), ``propensity``, ``reward`` (null or missing where
none came), and, if known, ``policy``, ``ts`` in seconds since the epoch, and ``propensities`` of all candidates. A
reward teaches at once, before the next line.
"""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bandstand.bandit.distribution import hash_to_uniform
from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.files.jsonl_table import read_objects
from bandstand.evaluate.files.table import open_text
from bandstand.store.maintenance.decision_log import PAGE, LoggedDecision, LoggedEvent, LoggedReward
from bandstand.store.maintenance.export import describe_error

_DRAWS = b"evaluate"
_UNKNOWN = "unknown"

_Probability = Annotated[float, Field(ge=0, le=1)]


class _DecisionLine(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False, hide_input_in_errors=True)

    user_id: str
    candidates: Annotated[list[dict[str, Any]], Field(min_length=1)]
    propensity: Annotated[_Probability, Field(gt=0)]
    tip_id: str | None = None
    action: int | None = None
    reward: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    policy: str = _UNKNOWN
    ts: Annotated[float, Field(ge=0)] = 0.0
    propensities: list[_Probability] | None = None

    @model_validator(mode="after")
    def _check_pick(self) -> Self:
        count = len(self.candidates)
        if (self.tip_id is None) == (self.action is None):
            raise ValueError("give one of tip_id and action")
        if self.pick not in range(count):
            raise ValueError("the pick is none of the candidates")
        if self.propensities is not None and len(self.propensities) != count:
            raise ValueError(f"there are {len(self.propensities)} propensities and {count} candidates")
        return self

    @property
    def pick(self) -> int:
        if self.action is not None:
            return self.action
        ids = [candidate.get("id") for candidate in self.candidates]
        return ids.index(self.tip_id) if self.tip_id in ids else -1


def is_decision_file(path: Path) -> bool:
    """Tell whether the first line of a JSON Lines file is a decision, not a row of numbers.

    Raises:
        EvaluationError: it cannot be read.
    """
    with open_text(path) as file:
        _, first = next(read_objects(file), (0, {}))
    return "candidates" in first


def format_location(number: int) -> str:
    """Say which line an event of :func:`read_decisions` comes from."""
    return f"line {number // 2}"


def read_decisions(path: Path, page: int = PAGE) -> Iterator[list[LoggedEvent]]:
    """Read decisions and their rewards as a ledger has them, a page at a time.

    Raises:
        EvaluationError: a line is not as the module describes.
    """
    users: dict[str, int] = {}
    with open_text(path) as file:
        lines = read_objects(file)
        while batch := list(islice(lines, page)):
            yield [event for number, value in batch for event in _read_events(number, value, users)]


def _read_events(number: int, value: dict[str, Any], users: dict[str, int]) -> Iterator[LoggedEvent]:
    try:
        line = _DecisionLine.model_validate(value)
    except ValidationError as error:
        raise EvaluationError(f"line {number}: {describe_error(error)}") from None
    user = users.setdefault(line.user_id, len(users))
    body = json.dumps({"context": value.get("context", {}), "candidates": line.candidates}).encode()
    yield LoggedDecision(
        seq=2 * number,
        uid=user,
        policy=line.policy,
        ts=line.ts,
        seed=hash_to_uniform(_DRAWS, str(number)),
        pick=line.pick,
        propensity=line.propensity,
        probabilities=np.array(line.propensities or ()),
        body=body,
        reward=line.reward,
    )
    if line.reward is not None:
        yield LoggedReward(2 * number + 1, user, line.ts, line.reward, 1.0, 2 * number, line.pick, body)
