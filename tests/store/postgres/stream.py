"""A process that decides, rewards and judges through two stores over one ledger, until it is killed.

``python -m tests.store.postgres.stream URL CONCURRENCY SEED DURABILITY`` writes a line for whatever is acknowledged,
after that: ``decision ID``, ``reward ID VALUE``, ``turn ID`` and ``verdict ID``. A fifth of the rewards are sent twice
at once, through both stores, and every verdict is. What is refused is sent again. Whichever store leads writes
by which fence it does, over and over.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar, cast

import asyncpg

from bandstand.errors import (
    AlreadyRewardedError,
    BandstandError,
    OverloadedError,
    StorageUnavailableError,
    UnknownDecisionError,
)
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.store import SharedStore
from bandstand.store.records import Decision
from bandstand.store.tables.judgements import Conclusion
from tests.store.given import VERDICT, Subject
from tests.store.postgres.shared import AlternatingStore, make_alternating
from tests.store.stream import write_acknowledgement

T = TypeVar("T")
USERS = 5
_TURNS = 10
"""Of so many decisions one is judged."""
_PAUSE_S = 0.05


async def stream(subject: Subject) -> None:
    """One client; a decision that is not acknowledged is given up."""
    number = 0
    while True:
        number += 1
        subject.clock.now = time.time()
        try:
            decision = await subject.decide(f"user-{number % USERS}")
        except BandstandError:
            await asyncio.sleep(_PAUSE_S)
            continue
        write_acknowledgement("decision", decision.decision_id)
        with suppress(UnknownDecisionError):  # it was not synced, and has gone with the database
            await (judge(subject, decision) if number % _TURNS == 0 else reward(subject, decision))


async def reward(subject: Subject, decision: Decision) -> None:
    """Reward a decision, once or twice at once."""
    value = subject.random.randrange(-64, 65) / 64

    async def send() -> None:
        await insist(lambda: subject.reward(decision, value))
        write_acknowledgement("reward", f"{decision.decision_id} {value}")

    await asyncio.gather(*(send() for _ in range(2 if subject.random.random() < 0.2 else 1)))


async def judge(subject: Subject, decision: Decision) -> None:
    """Have a turn of a decision judged, by both stores at once."""
    key = ("stream", decision.decision_id)
    taken = (await insist(lambda: subject.store.accept(subject.turn(decision, key=key)))).judgement
    write_acknowledgement("turn", taken.judgement_id)

    verdict = Conclusion(cause="judge", client="stream", verdict=VERDICT, applied={"reward": 0.5}, teach=0.5)

    async def conclude() -> None:
        with suppress(AlreadyRewardedError):  # by the other one
            await insist(lambda: subject.store.apply_conclusion(taken, verdict))
        write_acknowledgement("verdict", taken.judgement_id)

    await asyncio.gather(*(conclude() for _ in range(2)))


async def insist(send: Callable[[], Awaitable[T]]) -> T:
    """Send something until it is answered, as a client does."""
    while True:
        try:
            return await send()
        except (StorageUnavailableError, OverloadedError):
            await asyncio.sleep(_PAUSE_S)


async def lead(store: SharedStore) -> None:
    """Write by which fence a store leads, as it does whatever only the leader does."""

    async def write(channel: Channel) -> None:
        holder, fence = store.upkeep.held_lease or ("nobody", 0)
        await channel.session.execute("INSERT INTO public.led (holder, fence) VALUES ($1, $2)", holder, fence)

    while True:
        with suppress(BandstandError):
            await store.upkeep._do(write)  # noqa: SLF001 (the way that all of its writes take)
        await asyncio.sleep(_PAUSE_S)


async def make_led(url: str) -> None:
    """Make the table of who led, where it is missing."""
    session = await asyncpg.connect(LedgerAddress.parse(url).dsn, target_session_attrs="read-write")
    with suppress(asyncpg.UniqueViolationError):  # another one makes it
        await session.execute("CREATE TABLE IF NOT EXISTS public.led (n bigserial, holder text, fence bigint)")
    await session.close()


async def main(url: str, concurrency: int, seed: int, durability: str) -> None:
    """Stream until killed."""
    await make_led(url)
    async with Subject(make_alternating(url, durability, may_lead=True), seed) as subject:
        stores = cast("AlternatingStore", subject.store).both
        await asyncio.gather(*(stream(subject) for _ in range(concurrency)), *map(lead, stores))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
