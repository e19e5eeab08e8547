"""A log of decisions from elsewhere: recognised by what is in it, and read as a ledger's events."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final, Self

import numpy as np

from bandstand.bandit.distribution import hash_to_uniform
from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.files.forms.dsjson import DsjsonForm
from bandstand.evaluate.files.forms.form import DecisionForm, RecordedDecision
from bandstand.evaluate.files.forms.open_bandit import OpenBanditForm
from bandstand.evaluate.files.forms.personalizer import PersonalizerForm
from bandstand.evaluate.files.forms.recogym import RecogymForm
from bandstand.evaluate.files.forms.score_request import ScoreRequestForm
from bandstand.evaluate.files.log_table import open_table
from bandstand.evaluate.files.propensities import check_pick
from bandstand.evaluate.files.table import Record, RowTable
from bandstand.store.logged_events import PAGE, LoggedDecision, LoggedEvent, LoggedReward

FORMS: Final[tuple[type[DecisionForm], ...]] = (
    ScoreRequestForm,
    DsjsonForm,
    PersonalizerForm,
    RecogymForm,
    OpenBanditForm,
)
"""In the order in which a log is asked whether it is theirs."""

_DRAWS: Final = b"evaluate"


class DecisionFile:
    """Decisions and their rewards as a ledger has them, whatever form their file has.

    Args:
        table: the file.
        form: how it writes decisions down.
    """

    def __init__(self, table: RowTable, form: type[DecisionForm]) -> None:
        self._table = table
        self.form = form

    @classmethod
    def open(cls, path: Path, form: str | None = None) -> Self | None:
        """Open a file or a folder as decisions; None if it holds none.

        Args:
            path: where it is.
            form: the name of its form; if left out, its first record decides.

        Raises:
            EvaluationError: it cannot be read.
            ConfigurationError: it is Parquet and pyarrow is not installed.
        """
        table = open_table(path)
        if form is not None:
            return cls(table, next(each for each in FORMS if each.name == form))
        names = table.read_header().names
        found = next((each for each in FORMS if each.recognises(names)), None)
        return None if found is None else cls(table, found)

    def format_location(self, seq: int) -> str:
        """Say which row an event of :meth:`read_events` comes from."""
        return self._table.format_location(seq // 2 - 1)

    def read_events(self, page: int = PAGE) -> Iterator[list[LoggedEvent]]:
        """Read the decisions and their rewards, a page of records at a time.

        Raises:
            EvaluationError: a record is not of the file's form, or contradicts itself; names it.
        """
        form = self.form()
        form.survey(record for _, record in self._table.read_records())
        users: dict[str, int] = {}
        waiting: dict[str, LoggedDecision] = {}
        records = self._table.read_records()
        while batch := list(islice(records, page)):
            yield [event for record in batch for event in self._read_record(form, record, users, waiting)]

    def _read_record(
        self, form: DecisionForm, record: Record, users: dict[str, int], waiting: dict[str, LoggedDecision]
    ) -> Iterator[LoggedEvent]:
        number, value = record
        seq = 2 * (number + 1)  # a reward's is one more, and none is 0, which is before any log
        try:
            for event in form.parse(value):
                if isinstance(event, RecordedDecision):
                    yield from self._to_events(seq, event, users, waiting)
                elif (decision := waiting.pop(event.event_id, None)) is not None:
                    yield _to_reward(seq + 1, decision, event.value, event.ts or decision.ts)
        except EvaluationError as error:
            raise EvaluationError(f"{self._table.format_location(number)}: {error.detail}") from None

    def _to_events(
        self, seq: int, decision: RecordedDecision, users: dict[str, int], waiting: dict[str, LoggedDecision]
    ) -> Iterator[LoggedEvent]:
        propensities = np.array(decision.propensities, dtype=np.float64)
        if propensities.size and propensities.size != len(decision.candidates):
            raise EvaluationError(
                f"there are {propensities.size} propensities and {len(decision.candidates)} candidates"
            )
        if propensities.size:
            check_pick(decision.propensity, decision.pick, propensities)
        logged = LoggedDecision(
            seq=seq,
            uid=users.setdefault(decision.user_id, len(users)),
            policy=decision.policy,
            ts=decision.ts,
            seed=hash_to_uniform(_DRAWS, str(seq // 2)),
            pick=decision.pick,
            propensity=decision.propensity,
            probabilities=propensities,
            body=json.dumps({"context": decision.context, "candidates": decision.candidates}).encode(),
            reward=decision.reward,
        )
        yield logged
        if decision.rewarded_later is not None:
            waiting[decision.rewarded_later] = logged
        elif decision.reward is not None:
            yield _to_reward(seq + 1, logged, decision.reward, decision.ts)


def _to_reward(seq: int, decision: LoggedDecision, value: float, ts: float) -> LoggedReward:
    return LoggedReward(seq, decision.uid, ts, value, 1.0, decision.seq, decision.pick, decision.body)
