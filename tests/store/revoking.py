"""A process that teaches users batch by batch, takes every batch back and says so, until it is killed.

Run as ``python -m tests.store.revoking STATE_DIR SEED``. A batch is the rewards of one client; lines say ``begin``
and its name before it is taken back, ``end`` and its name after.
"""

import asyncio
import os
import sys
from pathlib import Path

from msgspec import structs

from bandstand.store.embedded.options import StoreOptions
from bandstand.store.tables.undo import Selection
from tests.store.given import Subject, make_embedded

USERS = 8
BATCH = 40
OPTIONS = StoreOptions(checkpoint_seconds=0.02, max_warm_users=4)


async def main(state_dir: Path, seed: int) -> None:
    """Go on until killed."""
    async with Subject(make_embedded(state_dir, OPTIONS), seed) as subject:
        number = 0
        while True:
            number += 1
            batch = f"batch-{seed}-{number}"
            rewards = [
                structs.replace(subject.legacy(f"user-{each % USERS}", 0.5), client=batch) for each in range(BATCH)
            ]
            kept = [subject.reward_legacy(f"user-{each}", -0.25) for each in range(USERS)]
            await asyncio.gather(*map(subject.store.reward, rewards), *kept)
            write_at_once("begin", batch)
            selection = Selection(client=batch)
            found = await subject.store.select_rewards(selection)
            await subject.store.revoke(found.revocable, cause="undo", client="tests", selection=selection)
            write_at_once("end", batch)


def write_at_once(what: str, batch: str) -> None:
    """Say so in one system call, which no kill can tear."""
    os.write(sys.stdout.fileno(), f"{what} {batch}\n".encode())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
