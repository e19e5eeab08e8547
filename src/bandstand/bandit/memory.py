"""Which rewards still count: memories compared by how well each foretold what users then did.

A *memory* gives a reward of age a the weight 2^(−a/half-life), or none where it is from before a day: endless memory, a
half-life of some days, and memory since a change are three kinds of one thing. Tastes that drift are followed by a
half-life, tastes that were reversed one day by beginning again on that day (change point detection by run length: Adams
and MacKay 2007, "Bayesian online changepoint detection"; in bandits Mellor and Shapiro 2013).

The score of a memory is the predictive log-likelihood of the rewards, each before it is taught,

    Σ w 2^(−age/4 days) log N(r | m·x, xᵀVx + σ²),

summed over users, where m and V are of the sums that this memory has at that time. It compares models by their
evidence (MacKay 1992), so a memory that forgets what still holds pays for it, and no threshold has to be set.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bandstand.bandit.arrays import FloatArray
from bandstand.bandit.ridge import Prior

SECONDS_PER_DAY = 86_400.0
HALF_LIVES = (90.0, 30.0, 14.0, 7.0, 3.0)
"""Days; endless memory and every change are compared with these."""

CHANGES = (1, 2, 3, 5, 8, 13, 21, 34)
"""Ages in days of the changes that are looked for."""

MAX_USERS = 200
"""Whose rewards are looked at."""

_FADE = 4.0  # days in which the score of a reward counts half
_WINDOW = 20.0  # days that are scored: what is older weighs less than 1/32
_BONUS = 2.0  # log-likelihood that memory without forgetting has in its favour
_MAX_WORK = 40_000_000  # d³ for each reward that is scored under each memory: about two seconds


class Memory(NamedTuple):
    """How much a reward counts.

    Attributes:
        half_life: days in which it loses half of its weight; 0 for never.
        since: seconds since the epoch; a reward from before counts nothing.
    """

    half_life: float = 0.0
    since: float = 0.0

    def weigh(self, ts: float, now: float) -> float:
        """Return the weight at ``now`` of a reward of the time ``ts``; all of it where the clock went back."""
        if ts < self.since:
            return 0.0
        age = (now - ts) / SECONDS_PER_DAY
        return 1.0 if age <= 0.0 or not self.half_life else float(2.0 ** (-age / self.half_life))


ENDLESS = Memory()


class TaughtReward(NamedTuple):
    """One reward of a user: when it came, the features x of shape (d,), the reward and its weight."""

    ts: float
    x: FloatArray
    reward: float
    weight: float = 1.0


def list_memories(current: Memory, now: float) -> list[Memory]:
    """Return the memories to compare at ``now``: the present one and endless memory first."""
    changes = [Memory(since=now - age * SECONDS_PER_DAY) for age in CHANGES]
    kept = [Memory(since=current.since)] if current.since else []
    half_lives = [Memory(half_life) for half_life in HALF_LIVES]
    return list(dict.fromkeys([current, ENDLESS, *kept, *half_lives, *changes]))


def score_memories(
    histories: Sequence[Sequence[TaughtReward]], prior: Prior, memories: Sequence[Memory], now: float
) -> FloatArray:
    """Return the score of each memory, shape (M,); see the module.

    Args:
        histories: the rewards of each user, the oldest first; if there is no time for all, users evenly spread.
        prior: what is believed of a user before their first reward, the same under each memory.
        memories: M of them.
        now: seconds since the epoch.
    """
    d, opened = prior.mean.size, now - _WINDOW * SECONDS_PER_DAY
    recent = [history for history in histories if history and history[-1].ts > opened]
    work = sum(sum(each.ts > opened for each in history) for history in recent) * len(memories) * d**3
    step = max(1, math.ceil(work / _MAX_WORK))
    total = np.zeros(len(memories))
    for history in recent[::step]:
        total += _score_user(history, prior, memories, opened, now)
    return total * step


def choose_memory(memories: Sequence[Memory], scores: FloatArray) -> Memory:
    """Return the best memory; one that never forgot has a bonus, and the first of equals wins."""
    begun = memories[0].since
    bonus = np.array([_BONUS * (not each.half_life and each.since in {0.0, begun}) for each in memories])
    return memories[int((scores + bonus).argmax())]


def split_blocks(histories: Sequence[Sequence[TaughtReward]]) -> list[list[TaughtReward]]:
    """Return the rewards of each user's blocks as if each block were a user: each has a θ of its own."""
    parts: list[list[TaughtReward]] = []
    for history in histories:
        blocks: dict[float, list[TaughtReward]] = {}
        for taught in history:
            blocks.setdefault(float(taught.x[-1]), []).append(taught._replace(x=taught.x[:-1]))
        parts += blocks.values()
    return parts


class MemoryTracker:
    """The memory of one policy in a log or a world that is played: looked at once a day, as serving does.

    Args:
        has_blocks: whether rows end in the block that they are of.

    Attributes:
        memory: which rewards count.
    """

    def __init__(self, *, has_blocks: bool) -> None:
        self.memory = ENDLESS
        self._has_blocks = has_blocks
        self._histories: dict[str, list[TaughtReward]] = {}
        self._day: int | None = None

    def record_reward(self, user_id: str, taught: TaughtReward) -> None:
        """Take note of a reward, in the order of time."""
        self._histories.setdefault(user_id, []).append(taught)

    def remove_user(self, user_id: str) -> None:
        """Forget a user."""
        self._histories.pop(user_id, None)

    def iter_histories(self) -> Iterator[tuple[str, Sequence[TaughtReward]]]:
        """Yield every user's rewards, the oldest first."""
        yield from self._histories.items()

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values, to the last bit."""
        return {
            "memory": list(self.memory),
            "day": self._day,
            "histories": {
                user: [[each.ts, each.x.tolist(), each.reward, each.weight] for each in history]
                for user, history in self._histories.items()
            },
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Put what :meth:`to_json` returned in the place of what was seen."""
        self.memory, self._day = Memory(*document["memory"]), document["day"]
        self._histories = {
            user: [TaughtReward(ts, np.array(x, np.float64), reward, weight) for ts, x, reward, weight in history]
            for user, history in document["histories"].items()
        }

    def check_day(self, prior: Prior, now: float) -> bool:
        """Compare the memories where a day has begun; return whether another one counts from now on.

        Args:
            prior: what is believed of a user before their first reward, of a block if there are some.
            now: seconds since the epoch.
        """
        day, before = int(now // SECONDS_PER_DAY), self._day
        self._day = day
        if before is None or day == before:
            return False
        step = max(1, math.ceil(len(self._histories) / MAX_USERS))
        histories: Sequence[Sequence[TaughtReward]] = list(self._histories.values())[::step]
        if self._has_blocks:
            histories = split_blocks(histories)
        memories = list_memories(self.memory, now)
        best = choose_memory(memories, score_memories(histories, prior, memories, now))
        changed = best != self.memory
        self.memory = best
        return changed


def _score_user(
    history: Sequence[TaughtReward], prior: Prior, memories: Sequence[Memory], opened: float, now: float
) -> FloatArray:
    """Return one user's part of the scores, with V = L (I + LᵀGL/σ²)⁻¹ Lᵀ for the sums G of each memory."""
    x = np.array([each.x for each in history]) @ prior.factor  # (n, d), whitened: Lᵀx
    ts = np.array([each.ts for each in history])
    weight = np.array([each.weight for each in history])
    residual = np.array([each.reward for each in history]) - np.array([each.x for each in history]) @ prior.mean
    first = int(np.searchsorted(ts, opened, side="right"))
    half_lives, since = np.array([each.half_life for each in memories]), np.array([each.since for each in memories])
    rates = np.where(half_lives > 0.0, math.log(2.0) / (SECONDS_PER_DAY * np.maximum(half_lives, 1e-9)), 0.0)
    count, d = len(memories), prior.mean.size
    gram, b, at = np.zeros((count, d, d)), np.zeros((count, d)), ts[first]
    begun = since <= at  # a memory since a later day is endless until then
    kept = (
        np.exp(-rates[:, None] * (at - ts[:first]))
        * weight[:first]
        * ((ts[:first] >= since[:, None]) | ~begun[:, None])
    )
    gram += np.einsum("mn,ni,nj->mij", kept, x[:first], x[:first])
    b += np.einsum("mn,n,ni->mi", kept, residual[:first], x[:first])
    total, identity = np.zeros(count), np.eye(d)
    for place in range(first, len(history)):
        fresh = (since <= ts[place]) & ~begun
        if fresh.any():
            gram[fresh], b[fresh] = 0.0, 0.0
            begun |= fresh
        decay = np.exp(-rates * max(0.0, ts[place] - at))
        gram *= decay[:, None, None]
        b *= decay[:, None]
        at = max(at, ts[place])
        row, value, share = x[place], residual[place], weight[place]
        solved = np.linalg.solve(
            identity + gram / prior.noise, np.stack([b / prior.noise, np.tile(row, (count, 1))], -1)
        )
        mean, variance = solved[..., 0] @ row, solved[..., 1] @ row + prior.noise
        fade = share * 2.0 ** (-max(0.0, now - ts[place]) / (_FADE * SECONDS_PER_DAY))
        total -= 0.5 * fade * (np.log(2.0 * math.pi * variance) + (value - mean) ** 2 / variance)
        gram += share * np.multiply.outer(row, row)
        b += share * value * row
    return total
