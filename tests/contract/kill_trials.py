"""``kill -9`` in the middle of mixed load over HTTP: nothing acknowledged is lost, nothing counts twice.

    python -m tests.contract.kill_trials [TRIALS] [SEED]

Each trial serves one state directory again, drives it from many connections with scores (some under ids of the caller's
own), rewards by id, rewards in the legacy form under keys, turns, resets and erasures, and kills the service after a
random while. After the last one, what each client was told is held against what the service says.
"""

import asyncio
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.contract.server import Connection, connect_to, start_server

CONNECTIONS = 16
CANDIDATES = [
    {"id": f"tip-{number}", "content": "", "source": "task", "features": {"priority": number + 1}}
    for number in range(4)
]
TURN = {"query_t": "Plan my day", "answer_t": "Start with the report.", "query_t1": "Thank you, perfect!"}
FEATURES = {"priority": 2, "is_overdue": True}


@dataclass
class Acknowledged:
    """What clients were told, and what they asked for without hearing what came of it.

    Attributes:
        decisions: by id: the user and the pick.
        rewards: by decision id: the value.
        keyed: by Idempotency-Key: user and value of a legacy reward.
        turns: ids of judgements that were accepted.
        unknown: how many rewards of each user may or may not have been taken.
        gone: users who were reset or erased at some time; of them only their newest rewards are known.
    """

    decisions: dict[str, tuple[str, str]] = field(default_factory=dict)
    rewards: dict[str, float] = field(default_factory=dict)
    keyed: dict[str, tuple[str, float]] = field(default_factory=dict)
    turns: list[str] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    gone: set[str] = field(default_factory=set)


class Client:
    """One connection's work. Its users are its own, so that it knows what becomes of them."""

    def __init__(self, name: str, random: Random, known: Acknowledged) -> None:
        self._random = random
        self._known = known
        self._users = [f"{name}-{number}" for number in range(4)]
        self._leaving = f"{name}-leaving"
        self._name = name
        self._number = 0

    async def run_work(self, connection: Connection) -> None:
        """Ask for one thing after the other until the service is gone."""
        while True:
            self._number += 1
            kind = self._random.choices(["decide", "legacy", "turn", "reset", "erase"], [60, 25, 8, 4, 3])[0]
            await getattr(self, f"_{kind}")(connection)

    async def _decide(self, connection: Connection) -> None:
        user, known = self._random.choice(self._users), self._known
        body: dict[str, Any] = {"user_id": user, "candidates": CANDIDATES}
        if self._random.random() < 0.3:
            body["decision_id"] = f"{self._name}-own-{self._number}"
        decision_id, tip_id = await self._score(connection, body)
        known.decisions[decision_id] = (user, tip_id)
        if self._random.random() < 0.7:
            known.unknown[user] += 1
            value = self._random.choice([-1.0, 0.5, 1.0])
            status, answer = await connection.send_request(
                "POST", "/reward", {"decision_id": decision_id, "reward": value}
            )
            assert (status, answer["applied"]) == (200, True), answer
            known.rewards[decision_id] = value
            known.unknown[user] -= 1

    async def _score(self, connection: Connection, body: dict[str, Any]) -> tuple[str, str]:
        status, answer = await connection.send_request("POST", "/score", body)
        assert status == 200, answer
        return answer["decision_id"], answer["tip_id"]

    async def _legacy(self, connection: Connection) -> None:
        user, known = self._random.choice(self._users), self._known
        key, value = f"{self._name}-key-{self._number}", self._random.choice([-0.5, 0.25])
        known.unknown[user] += 1
        status, answer = await connection.send_request("POST", "/reward", *build_legacy(user, value, key))
        assert status == 200, answer
        known.keyed[key] = (user, value)
        known.unknown[user] -= 1

    async def _turn(self, connection: Connection) -> None:
        body = {"user_id": f"{self._name}-talking", "candidates": CANDIDATES}
        decision_id, _ = await self._score(connection, body)
        status, answer = await connection.send_request("POST", "/reward", {"decision_id": decision_id, "turn": TURN})
        assert status == 202, answer
        self._known.turns.append(answer["judgement_id"])

    async def _reset(self, connection: Connection) -> None:
        await self._score(connection, {"user_id": self._leaving, "candidates": CANDIDATES})
        status, _ = await connection.send_request("POST", f"/reset/{self._leaving}")
        assert status == 200

    async def _erase(self, connection: Connection) -> None:
        user = f"{self._name}-erased-{self._number}"
        await self._score(connection, {"user_id": user, "candidates": CANDIDATES})
        status, _ = await connection.send_request("DELETE", f"/users?user_id={user}")
        assert status == 200
        self._known.gone.add(user)


def build_legacy(user: str, value: float, key: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Body and headers of a legacy reward under a key."""
    body = {"user_id": user, "tip_id": "tip-1", "reward": value, "features": FEATURES}
    return body, (f"idempotency-key: {key}",)


async def run_trial(port: int, clients: list[Client]) -> None:
    """Let every client work until the service is gone."""

    async def run_work(client: Client) -> None:
        with suppress(OSError, EOFError):
            async with connect_to(port) as connection:
                await client.run_work(connection)

    await asyncio.gather(*(run_work(client) for client in clients))


async def verify(port: int, known: Acknowledged, random: Random) -> None:
    """Hold what clients were told against what the service says now."""
    async with connect_to(port) as connection:
        for decision_id in random.sample(sorted(known.decisions), min(300, len(known.decisions))):
            status, found = await connection.send_request("GET", f"/decisions/{decision_id}")
            assert status == 200, decision_id
            assert (found["user_id"], found["tip_id"]) == known.decisions[decision_id]
        counts: Counter[str] = Counter(known.decisions[decision_id][0] for decision_id in known.rewards)
        counts.update(user for user, _ in known.keyed.values())
        for user, count in counts.items():
            status, stats = await connection.send_request("GET", f"/stats/{user}")
            assert count <= stats["reward_count"] <= count + known.unknown[user], (user, count, stats)
        for decision_id in random.sample(sorted(known.rewards), min(50, len(known.rewards))):
            body = {"decision_id": decision_id, "reward": known.rewards[decision_id]}
            assert (await connection.send_request("POST", "/reward", body))[0] == 200
        for key in random.sample(sorted(known.keyed), min(50, len(known.keyed))):
            status, _ = await connection.send_request("POST", "/reward", *build_legacy(*known.keyed[key], key))
            assert status == 200, key
        for user, count in counts.items():  # which taught nothing once more
            status, stats = await connection.send_request("GET", f"/stats/{user}")
            assert count <= stats["reward_count"] <= count + known.unknown[user], (user, count, stats)
        for judgement_id in random.sample(sorted(known.turns), min(50, len(known.turns))):
            assert (await connection.send_request("GET", f"/judgements/{judgement_id}"))[0] == 200
        for user in known.gone:
            status, stats = await connection.send_request("GET", f"/features/{user}")
            assert (status, stats["history"]) == (200, [])


async def run(state_dir: Path, trials: int, seed: int) -> Acknowledged:
    """Kill the service ``trials`` times under load, then verify."""
    random, known = Random(seed), Acknowledged()
    clients = [Client(f"client-{number}", Random(f"{seed}/{number}"), known) for number in range(CONNECTIONS)]
    for _ in range(trials):
        with start_server(state_dir) as server:
            trial = asyncio.create_task(run_trial(server.port, clients))
            await asyncio.sleep(random.uniform(0.05, 0.6))
            server.kill()
            await trial
    with start_server(state_dir) as server:
        await verify(server.port, known, random)
    return known


if __name__ == "__main__":
    words = sys.argv[1:] + ["200", "0"][len(sys.argv) - 1 :]
    count, first = map(int, words)
    with tempfile.TemporaryDirectory() as folder:
        told = asyncio.run(run(Path(folder) / "state", count, first))
    print(  # noqa: T201 (a script)
        f"{count} kills: {len(told.decisions)} decisions, {len(told.rewards) + len(told.keyed)} rewards, "
        f"{len(told.turns)} turns and {len(told.gone)} erasures acknowledged; none lost, none counted twice"
    )
