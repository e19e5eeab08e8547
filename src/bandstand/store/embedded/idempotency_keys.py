"""Idempotency-Keys: what came with each, a reward or a turn, in flight or in the ledger."""

from typing import Protocol, TypeVar

from bandstand.errors import IdempotencyMismatchError
from bandstand.store.embedded.state_directory import EventCollisionError, StateDirectory
from bandstand.store.records import Reward
from bandstand.store.sqlite.statements import Row
from bandstand.store.tables import decisions, judgement_queries
from bandstand.store.tables.event_rows import INSERT_IDEMPOTENCY_KEY, KeyInsert
from bandstand.store.tables.judgements import JudgedTurn


class _Keyed(Protocol):
    seq: int
    ts: float
    body_hash: bytes
    idempotency: tuple[str, str] | None


KeyedEvent = TypeVar("KeyedEvent", bound=_Keyed)
"""A reward or a turn."""


class IdempotencyKeys:
    """The keys of a state directory: a key is spent once, on a reward or on a turn.

    Attributes:
        rewards: rewards in flight, by scope and key.
        turns: turns in flight, by scope and key.
    """

    def __init__(self, directory: StateDirectory) -> None:
        self._directory = directory
        self.rewards: dict[tuple[str, str], Reward] = {}
        self.turns: dict[tuple[str, str], JudgedTurn] = {}

    async def find_reward(self, key: tuple[str, str]) -> Reward | None:
        """The reward that came with the key; ``None`` too where a turn did."""
        if (in_flight := self.rewards.get(key)) is not None:
            try:
                await self._directory.wait_committed(in_flight.seq)
            except EventCollisionError:  # another that came with the key was committed before it
                pass
            else:
                return in_flight
        return await self._directory.read(decisions.find_reward_by_key, self._directory.registry, *key)

    async def find_turn(self, key: tuple[str, str]) -> JudgedTurn | None:
        """The turn that came with the key; ``None`` too where a reward did."""
        if (in_flight := self.turns.get(key)) is not None:
            await self._directory.wait_committed(in_flight.seq)
        return await self._directory.read(judgement_queries.find_by_key, self._directory.registry, *key)

    async def find_reward_only(self, key: tuple[str, str]) -> Reward | None:
        """The reward that came with the key.

        Raises:
            IdempotencyMismatchError: a turn did.
        """
        known = await self.find_reward(key)
        if known is None and await self.find_turn(key) is not None:
            raise build_mismatch_error()
        return known

    async def find_turn_only(self, key: tuple[str, str]) -> JudgedTurn | None:
        """The turn that came with the key.

        Raises:
            IdempotencyMismatchError: a reward did.
        """
        known = await self.find_turn(key)
        if known is None and await self.find_reward(key) is not None:
            raise build_mismatch_error()
        return known

    async def is_used(self, key: tuple[str, str] | None) -> bool:
        """Whether the key was spent, on whatever; ``None`` never is."""
        return key is not None and await self._directory.read(judgement_queries.is_key_used, *key)


def add_key_row(rows: list[tuple[str, Row]], event: KeyedEvent, in_flight: dict[tuple[str, str], KeyedEvent]) -> None:
    """Spend the key of an event with its rows, if it has one; the event is in flight from here on."""
    key = event.idempotency
    if key is not None:
        rows.append((INSERT_IDEMPOTENCY_KEY, KeyInsert(*key, event.body_hash, event.seq, event.ts)))
        in_flight[key] = event


def build_mismatch_error() -> IdempotencyMismatchError:
    """The error of a key that was spent on something else."""
    return IdempotencyMismatchError("this Idempotency-Key came with another body before")
