"""A process that maps reactions by one table, then the other, for ever: ``python -m tests.store.reapplying STATE_DIR``.

It says so once a few of them are mapped.
"""

import asyncio
import itertools
import sys
from pathlib import Path

from bandstand.bandit.reaction_table import DwellStep, ReactionTable, SentReaction
from bandstand.bandit.reward_settings import RewardSettings
from tests.store.given import QUICK, Subject, make_embedded
from tests.store.stream import OPTIONS

USERS = 5
TABLES = [
    ReactionTable("shop", version, {"dismiss": (DwellStep(-0.25 * version),), "snooze": (DwellStep(0.125 * version),)})
    for version in (1, 2)
]
SUM = [RewardSettings(aggregation="sum", reactions=table) for table in TABLES]
ONCE = [RewardSettings(reactions=table) for table in TABLES]
_A_FEW = 3

TAUGHT = 60
"""What is taught of: a third as parts of two, a third at once, a third in the legacy form; of both actions in turn."""
WORTH = [{-0.25, 0.125, -0.5, 0.25}, {-0.5, 0.25, -1.0, 0.5}]
TOTAL = [TAUGHT / 6 * (-0.25 + 0.125) * 4 * version for version in (1, 2)]


async def fill(state_dir: Path) -> None:
    """Reactions of all kinds: of decisions, as parts, in the legacy form."""
    async with Subject(make_embedded(state_dir, QUICK)) as subject:
        for number in range(TAUGHT):
            user_id, action = f"user-{number % USERS}", ("dismiss", "snooze")[number % 2]
            sent = SentReaction.from_request({"action": action}, subject.clock(), TABLES[0])
            value = ONCE[0].compute_reaction_reward(action, None)
            if number % 3 == 0:
                await subject.store.reward(subject.legacy(user_id, value, reaction=sent))
                continue
            decision = await subject.decide(user_id)
            settings = SUM[0] if number % 3 == 1 else None
            for part in range(2 if settings else 1):
                await subject.reward(decision, value, settings=settings, reaction=sent, body=str(part))


async def reapply_all(subject: Subject, version: int, *, speaks: bool = False) -> int:
    """Map whatever stands by a table; returns how many changes that made."""
    revised, after = 0, 0
    while found := await subject.store.list_reactions(after, 0.0, 10):
        after = found[-1].seq
        for each in found:
            settings = (SUM if each.is_part else ONCE)[version]
            if each.fate == "held":
                revised += await subject.store.reapply_reactions([each], settings, "tests")
            if speaks and revised == _A_FEW:
                print("begun", flush=True)  # noqa: T201 (what the test reads)
    return revised


async def main(state_dir: Path) -> None:
    """Until killed."""
    async with Subject(make_embedded(state_dir, OPTIONS)) as subject:
        for number in itertools.count():
            await reapply_all(subject, (number + 1) % 2, speaks=number < len(TABLES))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
