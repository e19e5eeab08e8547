"""``kill -9`` with turns in the queue: none acknowledged is lost, none teaches twice."""

import asyncio
import json
import sqlite3
from pathlib import Path
from random import Random

import pytest

from bandstand.store.embedded.options import StoreOptions
from tests.contract.server import Connection, connect_to, start_server
from tests.store.given import Subject, assert_same, copy_as_killed, make_embedded, rebuild_profile

pytestmark = pytest.mark.slow

TURNS = 200
USERS = 20
FEATURES = {"hour_of_day": 9, "is_overdue": True, "task_age_days": 3.0, "priority": 2}
SAID = ("No, that's wrong. It's Canberra.", "Perfect, thank you so much!", "what do you mean? I don't understand")
READING = StoreOptions(sync=False, checkpoint_seconds=3600.0, retention_days=0)


def turn(random: Random) -> dict[str, str]:
    return {"query_t": "What is the capital?", "answer_t": "It is Sydney.", "query_t1": random.choice(SAID)}


async def send(ask: Connection, random: Random, number: int) -> str:
    """One turn, every second one for a decision; returns the judgement's id."""
    user_id = f"user-{number % USERS}"
    if number % 2:
        tips = [{"id": f"tip-{n}", "content": "", "source": "", "features": {}} for n in range(3)]
        _, scored = await ask.send_request("POST", "/score", {"user_id": user_id, "candidates": tips})
        body = {"decision_id": scored["decision_id"], "turn": turn(random)}
    else:
        body = {"user_id": user_id, "tip_id": "tip-1", "features": FEATURES, "turn": turn(random)}
    status, answer = await ask.send_request("POST", "/reward", body)
    assert status == 202, answer
    return str(answer["judgement_id"])


async def send_turns(port: int, count: int, seed: int) -> list[str]:
    random = Random(seed)
    async with connect_to(port) as ask:
        return [await send(ask, random, number) for number in range(count)]


async def wait_until_drained(port: int) -> None:
    async with asyncio.timeout(120), connect_to(port) as ask:
        while (await ask.send_request("GET", "/stats"))[1]["judge"]["waiting"]:  # noqa: ASYNC110 (over HTTP there is no event)
            await asyncio.sleep(0.05)


async def test_a_kill_with_turns_queued_loses_none_and_doubles_none(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    acknowledged: list[str] = []
    for trial in range(4):  # killed with all queued, then at other moments of the judging
        with start_server(state_dir, JUDGE_MAX_UPDATES_PER_USER_HOUR="1000") as server:
            acknowledged += await send_turns(server.port, TURNS if trial == 0 else 10, trial)
            await asyncio.sleep(trial * 0.3)
            server.kill()
    with start_server(state_dir, JUDGE_MAX_UPDATES_PER_USER_HOUR="1000") as server:
        await wait_until_drained(server.port)
        assert server.terminate() == 0
    ledger = sqlite3.connect(state_dir / "ledger.db")
    kept = {f"{seq:016x}{nonce}" for seq, nonce in ledger.execute("SELECT seq, nonce FROM judgements")}
    assert set(acknowledged) <= kept
    assert ledger.execute("SELECT count(*) FROM judgements WHERE state = 'waiting'").fetchone() == (0,)
    assert ledger.execute("SELECT DISTINCT rounds FROM judgements").fetchall() == [(1,)]
    taught = ledger.execute(
        "SELECT count(*), count(DISTINCT reward_seq) FROM judgements WHERE state = 'taught'"
    ).fetchone()
    rewards = ledger.execute("SELECT count(*) FROM rewards").fetchone()[0]
    assert taught == (rewards, rewards)
    assert rewards >= TURNS * 0.9, json.dumps(
        ledger.execute("SELECT state, reason, count(*) FROM judgements GROUP BY 1, 2").fetchall()
    )
    ledger.close()
    copy = copy_as_killed(state_dir, tmp_path / "copy")
    async with Subject(make_embedded(state_dir, READING)) as subject:
        for number in range(USERS):
            user_id = f"user-{number}"
            assert_same(await subject.store.load_profile(user_id), await rebuild_profile(copy, user_id))
