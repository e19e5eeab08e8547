"""What a store of parts hands on whole: each of these protocols is one part's to keep, whatever the engine."""

from collections.abc import Collection
from typing import Any

from bandstand.store.protocol import GenerationLog, LoopLog
from bandstand.store.records import Decision
from bandstand.store.tables.generations import LoggedGeneration, PromptTotals, TipOrigin
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
from bandstand.store.tables.loops import LoopChange
from bandstand.store.turn_protocol import AllowUpdate, JudgementLog, TurnQueue


class ComposedLogs(GenerationLog, LoopLog):
    """Generations and loops of a store, each in a part of its own; the protocols say what a method promises."""

    _generations: GenerationLog
    _loops: LoopLog

    async def log_generation(self, generation: LoggedGeneration) -> bool:
        return await self._generations.log_generation(generation)

    async def load_prompt_totals(self) -> list[PromptTotals]:
        return await self._generations.load_prompt_totals()

    async def find_origin(self, decision: Decision) -> TipOrigin | None:
        return await self._generations.find_origin(decision)

    async def log_loop_change(self, change: LoopChange, *, after: int | None = None) -> LoopChange:
        return await self._loops.log_loop_change(change, after=after)

    async def list_loop_changes(self) -> list[LoopChange]:
        return await self._loops.list_loop_changes()

    async def note_erasure(self, user_id: str, client: str) -> None:
        await self._loops.note_erasure(user_id, client)

    async def list_erasure_notes(self) -> list[tuple[str, str]]:
        return await self._loops.list_erasure_notes()

    async def delete_erasure_note(self, user_id: str) -> bool:
        return await self._loops.delete_erasure_note(user_id)


class ComposedTurns(TurnQueue, JudgementLog):
    """Waiting turns and judgements, each in a part of its own; the protocols say what a method promises."""

    _turns: TurnQueue
    _judgements: JudgementLog

    async def accept(self, judgement: JudgedTurn) -> AcceptedTurn:
        return await self._turns.accept(judgement)

    async def find_turn_by_key(self, key: tuple[str, str]) -> JudgedTurn | None:
        return await self._turns.find_turn_by_key(key)

    async def retry_judgement(self, judgement: JudgedTurn) -> bool:
        return await self._turns.retry_judgement(judgement)

    async def list_waiting(self) -> list[tuple[int, str, int]]:
        return await self._turns.list_waiting()

    async def load_waiting(self, seqs: Collection[int]) -> list[JudgedTurn]:
        return await self._turns.load_waiting(seqs)

    async def claim_turns(self, seqs: Collection[int]) -> list[JudgedTurn]:
        return await self._turns.claim_turns(seqs)

    async def list_abandoned(self) -> list[tuple[int, str, int]]:
        return await self._turns.list_abandoned()

    async def record_attempt(self, judgement: JudgedTurn, reservation: Settlement | None, day: int) -> None:
        await self._turns.record_attempt(judgement, reservation, day)

    async def reserve(self, reservation: Settlement, day: int) -> None:
        await self._turns.reserve(reservation, day)

    async def settle(self, settlement: Settlement) -> None:
        await self._turns.settle(settlement)

    async def load_spending(self, day: int) -> tuple[int, float]:
        return await self._turns.load_spending(day)

    async def apply_conclusion(
        self, judgement: JudgedTurn, conclusion: Conclusion, *, allow_update: AllowUpdate = lambda _: True
    ) -> TurnOutcome | None:
        return await self._judgements.apply_conclusion(judgement, conclusion, allow_update=allow_update)

    async def get_judgement(self, judgement_id: str) -> JudgedTurn:
        return await self._judgements.get_judgement(judgement_id)

    async def find_decision_turn(self, decision: Decision) -> JudgedTurn | None:
        return await self._judgements.find_decision_turn(decision)

    async def list_judgements(self, states: Collection[JudgementState], before: int, limit: int) -> TurnPage:
        return await self._judgements.list_judgements(states, before, limit)

    async def list_judgement_ids(
        self, states: Collection[JudgementState], since: float, reason: str | None = None
    ) -> list[str]:
        return await self._judgements.list_judgement_ids(states, since, reason)

    async def load_detail(self, judgement: JudgedTurn) -> dict[str, Any]:
        return await self._judgements.load_detail(judgement)

    async def find_verdict(self, judgement: JudgedTurn) -> dict[str, Any] | None:
        return await self._judgements.find_verdict(judgement)

    async def find_last_applied(self, judgement: JudgedTurn) -> dict[str, Any] | None:
        return await self._judgements.find_last_applied(judgement)

    async def list_update_times(self, user_id: str, ts: float) -> list[float]:
        return await self._judgements.list_update_times(user_id, ts)

    async def load_turn_totals(self) -> list[TurnTotals]:
        return await self._judgements.load_turn_totals()
