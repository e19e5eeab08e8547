"""Calibrations and trainings of the judge that a service runs in the background.

The child is ``bandstand judge-run RUN``; what it learns from are the labels that people gave in the console's review.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from bandstand.background_runs import RunKind, RunQueue
from bandstand.errors import BandstandError, FieldError, InvalidRequestError
from bandstand.judge.calibration import MIN_EXAMPLES
from bandstand.store.tables.judge_runs import JudgeRuns
from bandstand.store.tables.run_table import RunRecord

JudgeRunKind = Literal["calibrate", "train"]


class UnknownJudgeRunError(BandstandError):
    """No run of that number, or it was deleted."""

    code = "unknown-judge-run"


@dataclass(frozen=True, slots=True)
class JudgeRunPlan:
    """What a run is to make of people's labels.

    Attributes:
        kind: a calibration, or weights.
        taxonomy: whose labels.
    """

    kind: JudgeRunKind
    taxonomy: str

    @classmethod
    def build(cls, kind: str, taxonomy: str) -> "JudgeRunPlan":
        """A plan of what a form says.

        Raises:
            InvalidRequestError: there is no such kind.
        """
        for each in get_args(JudgeRunKind):
            if each == kind:
                return cls(each, taxonomy)
        fault = FieldError("kind", f"must be one of {', '.join(get_args(JudgeRunKind))}")
        raise InvalidRequestError(f"{fault.field}: {fault.message}", [fault])

    @classmethod
    def from_json(cls, text: str) -> "JudgeRunPlan":
        """The plan that :meth:`to_json` wrote."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """The plan as a run's row holds it."""
        return json.dumps(asdict(self))


class JudgeRunQueue(RunQueue):
    """The calibrations and trainings of one loop.

    Args:
        runs: where they are kept.
        words: by which the children find the loop's ledger.
        environment: of the children, for what no list of processes may show; this process's if ``None``.
        clock: seconds since the epoch.

    Attributes:
        made_at: when this service came up: what was learned before acts in it, what is learned later does not yet.
    """

    def __init__(
        self,
        runs: JudgeRuns,
        words: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.made_at = clock()
        super().__init__(
            runs,
            RunKind(
                "judge run", UnknownJudgeRunError, lambda run: ("judge-run", str(run), *words), environment=environment
            ),
            clock=clock,
        )

    async def start(self, plan: JudgeRunPlan, labels: int, client: str) -> RunRecord:
        """Queue a run.

        Args:
            plan: what it is to do.
            labels: how many labels there are to learn from.
            client: name of the API key.

        Raises:
            InvalidRequestError: they are too few.
            OverloadedError: too many runs wait.
        """
        if labels < MIN_EXAMPLES:
            raise InvalidRequestError(f"this needs {MIN_EXAMPLES} labelled turns, and there are {labels}")
        return await self.enqueue(plan.to_json(), labels, client)
