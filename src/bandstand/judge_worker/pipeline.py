"""What becomes of a turn: one pipeline from the queue to its conclusion.

Reserve, record the attempt, judge, settle, gate, commit, notify. Before the judge has a turn, the ledger knows that it
is tried and what that may cost. Its verdict, what that teaches and what it did cost are one commit. So a crash between
two steps means at most that a turn is judged again.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum

import structlog

from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge_worker.budget import LedgerBudget
from bandstand.judge_worker.conclusions import Conclusions
from bandstand.judge_worker.process import (
    JudgeProcess,
    JudgeProcessDiedError,
    JudgeProcessNotStartedError,
    TurnFailedError,
)
from bandstand.judge_worker.protocol import TurnQuestion
from bandstand.judge_worker.waiters import VerdictWaiters
from bandstand.store.tables.judgements import Conclusion, JudgedTurn

_MAX_DEATHS = 2
"""Processes that a turn may take with it, alone in them, before it is given up."""
_MAX_FAILURES = 3
_SUSPECT_TRIES = 2
"""Tries that did not come back, by the ledger, after which a turn is tried alone: the service may have died of it."""
_MAX_TRIES = 6

log = structlog.get_logger("bandstand")


class PipelineOutcome(Enum):
    """What became of a turn in the pipeline."""

    CONCLUDED = "concluded"
    """Its conclusion is in the ledger."""
    RETRY = "retry"
    """It is to be tried again in its turn."""
    ISOLATE = "isolate"
    """It is to be tried again alone: a process may have died of it."""


class TurnPipeline:
    """Takes turns through every step, many at once.

    Args:
        budget: what the LLM may cost.
        conclusions: the gate, and the commit.
        waiters: who waits for verdicts.
        taxonomies: by name.
    """

    def __init__(
        self,
        budget: LedgerBudget,
        conclusions: Conclusions,
        waiters: VerdictWaiters,
        taxonomies: Mapping[str, Taxonomy],
    ) -> None:
        self._budget = budget
        self._conclusions = conclusions
        self._waiters = waiters
        self._taxonomies = taxonomies
        self._deaths: Counter[int] = Counter()

    async def run(self, turn: JudgedTurn, process: JudgeProcess, *, alone: bool = False) -> PipelineOutcome:
        """Take a turn as far as it goes.

        Args:
            turn: as it waits in the ledger.
            process: judges it.
            alone: whether nothing else is in that process.

        Raises:
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was recorded, and the turn waits as
                before.
        """
        result = await self._judge(turn, process, alone=alone)
        if isinstance(result, PipelineOutcome):
            return result
        self._deaths.pop(turn.seq, None)
        await self._conclusions.commit(turn, result)  # commit
        self._waiters.notify(turn.seq)  # notify
        return PipelineOutcome.CONCLUDED

    async def _judge(self, turn: JudgedTurn, process: JudgeProcess, *, alone: bool) -> Conclusion | PipelineOutcome:
        """Return what is to be committed for a turn, or how the turn continues without a commit."""
        if (reason := self._find_refusal(turn)) is not None:
            return _build_unscored(turn, reason)
        if turn.tries >= _SUSPECT_TRIES and not alone:
            return PipelineOutcome.ISOLATE
        texts, taxonomy = turn.texts or ("", "", "", ""), self._taxonomies[turn.taxonomy]
        reserved = await self._budget.reserve_turn(texts, turn.taxonomy)  # reserve
        try:
            await self._budget.record_attempt(turn, reserved)  # record the attempt
            question = TurnQuestion(texts, turn.taxonomy, allow_llm=reserved is not None)
            judged, usage = await process.judge(question)  # judge
            settlement = self._budget.settle(reserved, usage)  # settle: who waits for room need not wait for the disk
            conclusion = self._conclusions.build_conclusion(judged, taxonomy, cause="judge", client=turn.client)  # gate
            return replace(conclusion, settlement=settlement)
        except (JudgeProcessDiedError, JudgeProcessNotStartedError):
            self._deaths[turn.seq] += alone
            return PipelineOutcome.ISOLATE if self._deaths[turn.seq] < _MAX_DEATHS else _build_unscored(turn, "crashed")
        except TurnFailedError as error:
            log.error("a turn could not be judged", judgement=turn.judgement_id, fault=error.detail)  # noqa: TRY400 (its traceback is the child's)
            return PipelineOutcome.RETRY if turn.tries < _MAX_FAILURES else _build_unscored(turn, "failed")
        finally:
            self._budget.keep(reserved)  # unless it is settled, nobody knows what the turn has cost

    def _find_refusal(self, turn: JudgedTurn) -> str | None:
        """The reason for not judging a turn, if there is one."""
        if turn.texts is None:
            return "expired"
        if turn.taxonomy not in self._taxonomies:
            return "unknown_taxonomy"
        return "crashed" if turn.tries >= _MAX_TRIES else None


def _build_unscored(turn: JudgedTurn, reason: str) -> Conclusion:
    return Conclusion(cause="judge", client=turn.client, state="unscored", reason=reason)
