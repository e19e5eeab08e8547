"""A process that streams rewards into an embedded store and prints each one that is acknowledged, until it is killed.

Run as ``python -m tests.store.stream STATE_DIR CONCURRENCY SEED``. Lines are ``decision ID`` and ``reward KEY``.
"""

import asyncio
import os
import sys
from pathlib import Path

from bandstand.bandit.aggregation import AGGREGATIONS, Aggregation
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.records import RewardWindow
from bandstand.store.tables.policies import to_policy_ref
from tests.store.given import CATALOGUE, Subject, make_embedded

USERS = 5
PARTS = {"": 0.5, "+": -0.25}
"""What the two parts of a decision are worth, by how their keys end."""
SHADOW = "linucb-v1"
OPTIONS = StoreOptions(checkpoint_seconds=0.02, max_warm_users=3)
"""Synced as in production; with documents written and users evicted all the while."""


async def stream(subject: Subject, name: str) -> None:
    """One client: decide, reward that, reward in the legacy form, and so on."""
    number = 0
    while True:
        number += 1
        key = f"{name}-{number}"
        user_id = f"user-{number % USERS}"
        if number % 5 == 1:  # in two parts, each sent twice, of a decision that was held back
            decision = await subject.decide(user_id, window=RewardWindow(held=True))
            settings = RewardSettings(aggregation=choose_aggregation(number))
            for part, value in PARTS.items():
                for _ in range(2):
                    await subject.reward(decision, value, key=("stream", key + part), settings=settings)
                write_acknowledgement("reward", key + part)
                await subject.store.activate(decision.decision_id, settings, "tests")
            continue
        if number % 5 == 2:  # silence, which another client's turn may close
            await subject.decide(user_id, window=RewardWindow(due=subject.clock(), fallback=-0.5))
            await subject.store.close_windows(3)
            continue
        if number % 3:
            decision = await subject.decide(user_id)
            write_acknowledgement("decision", decision.decision_id)
            await subject.reward(decision, 0.5, key=("stream", key))
        else:
            await subject.reward_legacy(user_id, 0.5, key=("stream", key))
        write_acknowledgement("reward", key)


def choose_aggregation(number: int) -> Aggregation:
    """What the parts of a client's decision of that number come to."""
    return AGGREGATIONS[number % len(AGGREGATIONS)]


def write_acknowledgement(kind: str, name: str) -> None:
    """Say so in one system call, which no kill can tear."""
    os.write(sys.stdout.fileno(), f"{kind} {name}\n".encode())


async def main(state_dir: Path, concurrency: int, seed: int) -> None:
    """Stream until killed."""
    async with Subject(make_embedded(state_dir, OPTIONS), seed) as subject:
        await subject.store.set_shadows([to_policy_ref(CATALOGUE.policies[SHADOW])])
        await asyncio.gather(*(stream(subject, f"{seed}-{client}") for client in range(concurrency)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
