"""Processes and databases killed in the middle of rewards: every acknowledged one is there, none twice.

``BANDSTAND_CHAOS=N`` multiplies the kills: ``make chaos`` takes many.
"""

import asyncio
import time
from collections.abc import Callable
from random import Random

import pytest

from bandstand.testing.postgres_server import PostgresServer
from tests.store.postgres.shared import run_test_server
from tests.store.postgres.trials import CHAOS, Streamer, record_totals, require_kept, run_streamers

pytestmark = pytest.mark.slow

KILLS = 4 * CHAOS or 2
KILLS_A_CRASH = 10 if CHAOS else 2
"""Processes that are killed before the database is."""
PAUSE_S = 12.0
"""Longer than anybody leads, or holds a lock, without a sign of life."""


@pytest.mark.parametrize("durability", ["full", "strict"] if CHAOS else ["full"])
async def test_every_acknowledged_reward_survives_killed_processes_and_databases_and_none_counts_twice(
    durability: str, record_property: Callable[[str, object], None]
) -> None:
    random, words, crashes, pauses = Random(1), list[list[str]](), 0, 0
    with run_test_server({"autovacuum": "off"}) as server:
        url = server.build_url()
        with run_streamers(url, 3 if CHAOS else 2, durability) as streamers:
            for kill in range(KILLS):
                await asyncio.sleep(random.uniform(0.05, 0.6))
                words += streamers.pop(0).kill()
                streamers.append(Streamer(url, 100 + kill, durability))
                if kill % KILLS_A_CRASH == KILLS_A_CRASH - 1:
                    await asyncio.sleep(random.uniform(0.3, 1.0))
                    kill_and_restart(server)
                    crashes += 1
                elif kill % KILLS_A_CRASH == KILLS_A_CRASH // 2 and CHAOS:
                    streamers[0].pause()  # the oldest, which leads most likely
                    await asyncio.sleep(PAUSE_S)
                    streamers[0].resume()
                    pauses += 1
                    await asyncio.sleep(1.0)
            await asyncio.sleep(1.5)
            while streamers:
                words += streamers.pop().kill()
        totals = await require_kept(url, words, keeps_decisions=durability == "strict")
    record_totals(record_property, totals, kills=KILLS, crashes=crashes, pauses=pauses)


def kill_and_restart(server: PostgresServer) -> None:
    """Kill the database, and start it again as soon as that can be."""
    server.kill()
    for _ in range(100):
        try:
            server.start()
        except RuntimeError:  # what was killed has not let go of its memory yet
            time.sleep(0.1)
        else:
            return
    raise AssertionError((server.folder / "log").read_text(errors="replace")[-2000:])
