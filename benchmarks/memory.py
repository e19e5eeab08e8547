"""What a warm user costs in memory: allocated bytes a user and policy, after decisions and a reward.

    python benchmarks/memory.py [--users 5000]

Fills a store in this process with users of one policy, lets it forget the decisions, and divides what is still
allocated. The floor beside it is the arrays alone: gram, V, b and m at d.
"""

import argparse
import asyncio
import gc
import tempfile
import tomllib
import tracemalloc
from importlib.resources import files
from pathlib import Path

from bandstand.bandit.catalogue import Catalogue
from bandstand.service.context import ServiceContext
from bandstand.service.reward import reward
from bandstand.service.score import score
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore

_BODY = {
    "context": {"hour_of_day": 9, "day_of_week": 2},
    "candidates": [
        {"id": "a", "content": "", "source": "t", "features": {"priority": 4}},
        {"id": "b", "content": "", "source": "t", "features": {"is_overdue": True}},
    ],
}
_GROUP = 500


def allocated() -> int:
    """Bytes that this process has allocated and not freed, numpy's included."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def main(users: int) -> None:
    """Fill, and print a line per policy."""
    tracemalloc.start()
    catalogue = Catalogue.parse(tomllib.loads(files("bandstand").joinpath("defaults.toml").read_text(encoding="utf-8")))
    for name, policy in catalogue.policies.items():
        with tempfile.TemporaryDirectory() as state:
            store = EmbeddedStore(Path(state), catalogue, options=StoreOptions(sync=False, checkpoint_seconds=3600))
            await store.open()
            deployment = ServiceContext(catalogue, store, active_policy=name)

            async def visit(user: int, deployment: ServiceContext = deployment) -> None:
                request = {"user_id": f"user-{user:06d}", **_BODY}
                scored = await score(deployment, request, body=b'{"candidates":[{},{}]}', client="bench")
                await reward(deployment, {"decision_id": scored.decision_id, "reward": 0.5}, client="bench")
                await score(deployment, request, body=b'{"candidates":[{},{}]}', client="bench")  # caches the posterior

            for user in range(_GROUP):
                await visit(user)
            store._decisions._recent.clear()  # noqa: SLF001 (remembered decisions have a bound of their own)
            before = allocated()
            for start in range(_GROUP, users, _GROUP):
                await asyncio.gather(*(visit(user) for user in range(start, start + _GROUP)))
            store._decisions._recent.clear()  # noqa: SLF001 (remembered decisions have a bound of their own)
            grown = (allocated() - before) / (users - _GROUP)
            d = policy.schema.dimension
            print(f"{name:12} d={d}: {grown:6.0f} bytes a user; the arrays alone {8 * (2 * d * d + 2 * d)}")
            await store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=5_000)
    asyncio.run(main(parser.parse_args().users))
