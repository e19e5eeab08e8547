"""The requests of the benchmarks: made beforehand, all different, each exactly as large as it is said to be."""

import itertools
import json
import random
import secrets
from collections.abc import Iterator
from typing import Any

from load import drive, post
from server_process import Server

KEY = secrets.token_hex(16)
CONNECTIONS = 32
CANDIDATES = 10
BODY_BYTES = 1747


def build_features(rng: random.Random) -> dict[str, Any]:
    """What a candidate brings."""
    return {
        "hour_of_day": rng.randrange(24),
        "is_overdue": rng.choice((True, False, False)),
        "task_age_days": round(rng.uniform(0, 40), 1),
        "priority": rng.randint(1, 4),
    }


def score_body(user: int, rng: random.Random, candidates: int = CANDIDATES) -> bytes:
    """A score request; of 10 candidates it has exactly 1,747 bytes, of more in proportion."""
    offered = [
        {
            "id": f"tip-{i}",
            "content": "",
            "source": "task",
            "source_id": f"task-{rng.randrange(10_000):04d}",
            "features": build_features(rng),
        }
        for i in range(candidates)
    ]
    context = {"hour_of_day": rng.randrange(24), "day_of_week": rng.randrange(7)}
    request = {"user_id": f"user-{user:06d}", "candidates": offered, "context": context}
    size = BODY_BYTES * candidates // CANDIDATES
    spare = size - len(json.dumps(request, separators=(",", ":")))
    share, rest = divmod(spare, candidates)
    for i, candidate in enumerate(offered):
        candidate["content"] = ("Do the next small thing on the list. " * 3)[: share + (i < rest)]
    body = json.dumps(request, separators=(",", ":")).encode()
    assert len(body) == size, len(body)  # noqa: S101 (the figure quoted must be the figure sent)
    return body


class Feed:
    """Makes the requests: score bodies over all users in random order."""

    def __init__(self, users: int, path: str = "/score", candidates: int = CANDIDATES) -> None:
        rng = random.Random(7)
        self._bodies = [score_body(user, rng, candidates) for user in range(users)]
        rng.shuffle(self._bodies)
        self._requests = [post(path, body, (f"x-api-key: {KEY}",)) for body in self._bodies]

    def scores(self) -> Iterator[bytes]:
        """Score requests without end."""
        return itertools.cycle(self._requests)

    async def prepare(self, server: Server) -> Iterator[bytes]:  # noqa: ARG002 (rewards need it)
        """The requests of the next burst."""
        return self.scores()


class OwnIdFeed(Feed):
    """Score requests that each bring a ``decision_id`` of the caller's own."""

    def __init__(self, users: int) -> None:
        super().__init__(users)
        self._number = itertools.count()

    async def prepare(self, server: Server) -> Iterator[bytes]:  # noqa: ARG002 (as any feed)
        """Requests whose ids were never sent before."""
        return (
            post("/score", b'{"decision_id":"own-%d",%s' % (next(self._number), body[1:]), (f"x-api-key: {KEY}",))
            for body in itertools.cycle(self._bodies)
        )


class RewardFeed(Feed):
    """Makes reward requests: scores first, unmeasured, for decisions to reward."""

    decisions = 20_000

    async def prepare(self, server: Server) -> Iterator[bytes]:
        """One reward for each of many fresh decisions."""
        scores = itertools.islice(self.scores(), self.decisions)
        burst = await drive(server.port, scores, connections=CONNECTIONS, seconds=600, keep=True)
        rewards = []
        for number, body in enumerate(burst.bodies):
            decision = json.loads(body)["decision_id"]
            reward = json.dumps({"decision_id": decision, "reward": (number % 21 - 10) / 10}).encode()
            rewards.append(post("/reward", reward, (f"x-api-key: {KEY}",)))
        return iter(rewards)


class LegacyRewardFeed(Feed):
    """Makes rewards in the contract's form, for the decisions that the bursts before it made."""

    def __init__(self, users: int) -> None:
        super().__init__(users)
        rng = random.Random(11)
        self._rewards = []
        for user in range(users):
            body = {
                "user_id": f"user-{user:06d}",
                "tip_id": f"tip-{rng.randrange(CANDIDATES)}",
                "reward": rng.randint(-10, 10) / 10,
                "features": build_features(rng),
                "day_of_week": rng.randrange(7),
            }
            self._rewards.append(post("/reward", json.dumps(body).encode(), (f"x-api-key: {KEY}",)))
        rng.shuffle(self._rewards)

    async def prepare(self, server: Server) -> Iterator[bytes]:  # noqa: ARG002 (as any feed)
        """Rewards without end: in this form each counts."""
        return itertools.cycle(self._rewards)
