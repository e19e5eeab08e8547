"""A process that decides and rewards over one ledger through two stores until it is killed.

``python -m tests.store.postgres.stream URL CONCURRENCY SEED`` writes a line for whatever is acknowledged, after that:
``decision ID`` and ``reward ID VALUE``. A fifth of the rewards are sent twice at once, through both stores.
"""

import asyncio
import sys
import time

from bandstand.errors import BandstandError
from tests.store.given import Subject
from tests.store.postgres.shared import make_alternating
from tests.store.stream import write_acknowledgement

USERS = 5


async def stream(subject: Subject) -> None:
    """One client; what is refused while the database is away is not acknowledged, and given up."""
    number = 0
    while True:
        number += 1
        subject.clock.now = time.time()
        value = subject.random.randrange(-64, 65) / 64
        try:
            decision = await subject.decide(f"user-{number % USERS}")
            write_acknowledgement("decision", decision.decision_id)
            times = 2 if subject.random.random() < 0.2 else 1
            await asyncio.gather(*(subject.reward(decision, value) for _ in range(times)))
            write_acknowledgement("reward", f"{decision.decision_id} {value}")
        except BandstandError:
            await asyncio.sleep(0.05)


async def main(url: str, concurrency: int, seed: int) -> None:
    """Stream until killed."""
    async with Subject(make_alternating(url), seed) as subject:
        await asyncio.gather(*(stream(subject) for _ in range(concurrency)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
