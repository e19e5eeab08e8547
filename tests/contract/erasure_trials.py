"""Erasures under mixed load with ``kill -9`` in the middle: whoever got a receipt is in no file of the state.

    python -m tests.contract.erasure_trials [ERASURES] [SEED] [SECONDS]

Clients make users whose ids, tips, keys and turns all hold one word of their own, and erase them. After each receipt
every file of the state is read byte by byte for the words of all who were erased so far. The service is killed again
and again, mostly while an erasure is under way; at the next start such a user is either whole or gone, and is erased
again. The same once more after a stop in good order.
"""

import asyncio
import math
import re
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.contract.server import Connection, connect_to, start_server

CONNECTIONS = 8
STAYING = 40
"""Users who are served all the while, and never erased."""
KILL_AFTER = (0.2, 2.0)
"""Seconds of load before a kill."""
WORD = re.compile(rb"zq7-[0-9a-f]{16}")
FEATURES = {"priority": 2, "is_overdue": True}


@dataclass
class Erased:
    """What became of the users.

    Attributes:
        words: of users for whom there is a receipt that names no log.
        unfinished: of users whose erasure was asked for and not answered, and how many decisions they had.
        receipts: how many there were.
        kept_logs: how many of them said that a reader kept the log.
        kills: how often the service was killed.
        finished: erasures that a killed process had begun, and the next one finished.
        reads: how often all files were read.
        found: words that should not have been there, and where.
    """

    words: set[bytes] = field(default_factory=set)
    unfinished: dict[str, int] = field(default_factory=dict)
    receipts: int = 0
    kept_logs: int = 0
    kills: int = 0
    finished: int = 0
    reads: int = 0
    found: list[tuple[str, str]] = field(default_factory=list)


class Trials:
    """Clients, and what they know.

    Args:
        state_dir: the service's.
        erasures: how many receipts are asked for.
        random: the source of everything.
    """

    def __init__(self, state_dir: Path, erasures: int, random: Random) -> None:
        self.erased = Erased()
        self._state_dir = state_dir
        self._erasures = erasures
        self._random = random
        self._number = 0

    @property
    def is_done(self) -> bool:
        """Whether there were as many receipts as were asked for."""
        return self.erased.receipts >= self._erasures

    async def run_client(self, port: int) -> None:
        """Make users, serve others beside them and erase the first until the service is gone or all is done."""
        with suppress(OSError, EOFError):
            async with connect_to(port) as connection:
                while not self.is_done:
                    await self._make_and_erase(connection)

    async def finish(self, port: int) -> None:
        """Erase those whose erasure nobody answered; each must be whole, or gone."""
        async with connect_to(port) as connection:
            for user, decisions in list(self.erased.unfinished.items()):
                status, answer = await connection.send_request("GET", f"/features/{user}")
                assert status == 200, answer
                assert len(answer["history"]) in (0, decisions), (user, decisions, len(answer["history"]))
                self.erased.finished += not answer["history"]
                await self._erase(connection, user)

    async def _make_and_erase(self, connection: Connection) -> None:
        random = self._random
        word = f"zq7-{random.getrandbits(64):016x}"
        user = word if random.random() < 0.7 else f"{word}-{'x' * random.choice([10, 100, 200])}"
        decisions = random.choice([0, 1, 1, 2, 3, 8, 30])
        for _ in range(decisions):
            await self._live(connection, user, word)
            for _ in range(random.randrange(3)):
                await self._live(connection, f"staying-{random.randrange(STAYING)}", "tip")
        if random.random() < 0.3:
            self._number += 1
            body = {"user_id": user, "tip_id": f"{word}-tip", "reward": 0.5, "features": FEATURES}
            await connection.send_request("POST", "/reward", body, (f"idempotency-key: {word}-{self._number}",))
        if random.random() < 0.1:
            await connection.send_request("POST", f"/reset/{user}")
        if random.random() < 0.15:
            return  # some stay, so that their neighbours' pages are shared out again later
        self.erased.unfinished[user] = decisions
        await self._erase(connection, user)

    async def _live(self, connection: Connection, user: str, word: str) -> None:
        """A decision, and perhaps what comes of it."""
        random = self._random
        tips = [
            {"id": f"{word}-tip-{n}", "content": word * random.choice([1, 1, 9, 99]), "source": "task", "features": {}}
            for n in range(random.choice([2, 4, 10]))
        ]
        body: dict[str, Any] = {"user_id": user, "candidates": tips}
        if random.random() < 0.3:
            self._number += 1
            body["decision_id"] = f"{word}-own-{self._number}"
        status, answer = await connection.send_request("POST", "/score", body)
        assert status == 200, answer
        decision_id, kind = answer["decision_id"], random.random()
        if kind < 0.5:
            reward: dict[str, Any] = {"decision_id": decision_id, "reward": random.choice([-1.0, 0.5])}
        elif kind < 0.6:
            said = f"{word} {word * random.choice([1, 50, 400])}"
            turn = {"query_t": said, "answer_t": "Start with the report.", "query_t1": f"Thank you, {word}!"}
            reward = {"decision_id": decision_id, "turn": turn}
        else:
            return
        status, answer = await connection.send_request("POST", "/reward", reward)
        assert status in (200, 202), answer

    async def _erase(self, connection: Connection, user: str) -> None:
        status, receipt = await connection.send_request("DELETE", f"/users?user_id={user}")
        assert status == 200, receipt
        erased = self.erased
        erased.receipts += 1
        del erased.unfinished[user]
        if any("log" in place and "write-ahead" in place for place in receipt["unreachable"]):
            erased.kept_logs += 1
            return
        match = WORD.match(user.encode())
        assert match is not None
        erased.words.add(match[0])
        self.read_files()

    def read_files(self) -> None:
        """Read every file for the words of those who were erased."""
        self.erased.reads += 1
        for path in self._state_dir.rglob("*"):
            with suppress(FileNotFoundError):
                content = path.name.encode() + (path.read_bytes() if path.is_file() else b"")
                for word in set(WORD.findall(content)) & self.erased.words:
                    self.erased.found.append((word.decode(), path.name))


async def run(state_dir: Path, erasures: int, seed: int, seconds: float = math.inf) -> Erased:
    """Erase so many users of a service that is killed again and again, or as many as there is time for."""
    random = Random(seed)
    trials = Trials(state_dir, erasures, random)
    end = time.monotonic() + seconds
    while not trials.is_done and time.monotonic() < end:
        with start_server(state_dir) as server:
            await trials.finish(server.port)
            clients = asyncio.gather(*(trials.run_client(server.port) for _ in range(CONNECTIONS)))
            until = time.monotonic() + random.uniform(*KILL_AFTER)
            while not clients.done() and (time.monotonic() < until or not trials.erased.unfinished):  # noqa: ASYNC110 (a time)
                await asyncio.sleep(0.002)
            server.kill()
            trials.erased.kills += 1
            await clients
    with start_server(state_dir) as server:
        await trials.finish(server.port)
        server.terminate()
    trials.read_files()
    return trials.erased


if __name__ == "__main__":
    words = sys.argv[1:] + ["2000", "0", "inf"][len(sys.argv) - 1 :]
    count, first, limit = int(words[0]), int(words[1]), float(words[2])
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(run(Path(folder) / "state", count, first, limit))
    print(  # noqa: T201 (a script)
        f"{outcome.receipts} erasures, {outcome.kills} kills, {outcome.finished} of them finished by the next process, "
        f"{outcome.kept_logs} receipts that named the log, files read {outcome.reads} times: "
        f"{len(outcome.found)} words found {outcome.found[:5]}"
    )
