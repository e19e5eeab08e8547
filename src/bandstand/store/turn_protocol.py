"""What a store promises of turns: those that wait for a judge, and what is made of them."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from bandstand.store.records import Decision
from bandstand.store.tables.judgements import (
    AcceptedTurn,
    Conclusion,
    JudgedTurn,
    JudgementState,
    Settlement,
    TurnOutcome,
    TurnPage,
    TurnTotals,
)

TEACHING_WINDOW_S = 3600.0
"""Seconds in which one user's turns may teach so much and no more."""

AllowUpdate = Callable[[Sequence[float] | None], bool]
"""Whether one more turn of a user may teach, given when turns of theirs have lately.

``None`` if no other process could have had one teach.
"""


class TurnQueue(Protocol):
    """Turns that wait for a judge, and what their judging costs."""

    async def accept(self, judgement: JudgedTurn) -> AcceptedTurn:
        """Log a turn, once for its request; it is synced when this returns, and holds its decision.

        Raises:
            UnknownDecisionError: the decision is gone, or another user's.
            WrongPolicyError: another policy made it.
            AlreadyRewardedError: it has a reward.
            RewardPendingError: another turn holds it.
            DecisionHeldError: it was held back, and not activated.
            IdempotencyMismatchError: the key was spent on something else than a turn.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """

    async def find_turn_by_key(self, key: tuple[str, str]) -> JudgedTurn | None:
        """The turn that came with that Idempotency-Key, named by scope and key; nothing is logged.

        Raises:
            IdempotencyMismatchError: what came with it was no turn.
        """

    async def retry_judgement(self, judgement: JudgedTurn) -> bool:
        """Put an unscored turn back into the queue; returns whether it waits now.

        Raises:
            AlreadyRewardedError, RewardPendingError: its decision is not free any more.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """

    async def list_waiting(self) -> list[tuple[int, str, int]]:
        """Every turn that waits, oldest first: its event number, its user, how often it was tried."""

    async def load_waiting(self, seqs: Collection[int]) -> list[JudgedTurn]:
        """Those of the judgements that still wait, each with its turn."""

    async def claim_turns(self, seqs: Collection[int]) -> list[JudgedTurn]:
        """Those of the judgements that still wait and that no other process judges, each with its turn.

        From here on they are this process's to judge, for as long as it lives. Where it is the only one, all are.
        """
        return await self.load_waiting(seqs)

    async def list_abandoned(self) -> list[tuple[int, str, int]]:
        """Waiting turns that no living process has, in the form of :meth:`list_waiting`.

        Empty with a single process.
        """
        return []

    async def record_attempt(self, judgement: JudgedTurn, reservation: Settlement | None, day: int) -> None:
        """Log that a turn is about to be judged, and what that may cost on that day (days since the epoch)."""

    async def reserve(self, reservation: Settlement, day: int) -> None:
        """Log what a call may cost."""

    async def settle(self, settlement: Settlement) -> None:
        """Replace a reservation by its actual cost."""

    async def load_spending(self, day: int) -> tuple[int, float]:
        """Tokens and US dollars of a day, with what is still reserved."""


class JudgementLog(Protocol):
    """What is made of turns."""

    async def apply_conclusion(
        self, judgement: JudgedTurn, conclusion: Conclusion, *, allow_update: AllowUpdate = lambda _: True
    ) -> TurnOutcome | None:
        """Log what is made of a judgement, teach it, and take back what it taught before, all in one commit.

        A judgement is concluded by one caller at a time.

        Args:
            judgement: as it stands in the ledger.
            conclusion: what is made of it.
            allow_update: called last, before a reward that would teach is submitted.

        Returns:
            What became of it; ``None`` if its user has been erased.

        Raises:
            AlreadyRewardedError: it would teach, and its decision has got another reward meanwhile.
            RewardPendingError: or is held by another turn.
            JudgementExpiredError: what it taught cannot be taken back any more.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """

    async def get_judgement(self, judgement_id: str) -> JudgedTurn:
        """The judgement of that id.

        Raises:
            UnknownJudgementError: there is no such judgement.
        """

    async def find_decision_turn(self, decision: Decision) -> JudgedTurn | None:
        """The newest turn that was taken as the decision's reward; ``None`` if none was."""

    async def list_judgements(self, states: Collection[JudgementState], before: int, limit: int) -> TurnPage:
        """Judgements in any of ``states``, newest first."""

    async def list_judgement_ids(
        self, states: Collection[JudgementState], since: float, reason: str | None = None
    ) -> list[str]:
        """Ids of the judgements in any of ``states``, taken since a time, oldest first."""

    async def load_detail(self, judgement: JudgedTurn) -> dict[str, Any]:
        """Its verdicts, and what was made of them."""

    async def find_verdict(self, judgement: JudgedTurn) -> dict[str, Any] | None:
        """The verdict that stands."""

    async def find_last_applied(self, judgement: JudgedTurn) -> dict[str, Any] | None:
        """What the gate last applied to the current verdict."""

    async def list_update_times(self, user_id: str, ts: float) -> list[float]:
        """When turns of the user taught, since ``ts``."""

    async def load_turn_totals(self) -> list[TurnTotals]:
        """How many judgements stand where, by policy."""
