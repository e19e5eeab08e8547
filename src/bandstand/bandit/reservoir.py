"""The reservoir: a uniform sample of all users met, with what each has taught, of bounded size."""

import hashlib
import heapq
from collections.abc import Iterator

from bandstand.bandit.ridge import RidgeState

MAX_USERS = 2000
"""Users in a reservoir, where their sums are small enough."""

_MAX_NUMBERS = 1 << 21  # 16 MB, and a refresh of about a second, with fewer users where d > 32
_KEY_BYTES = 64


def compute_capacity(d: int) -> int:
    """Return how many users a reservoir holds whose models have d features: 2,000, or fewer where 2²¹/d² is less.

    >>> compute_capacity(8), compute_capacity(64), compute_capacity(256)
    (2000, 512, 32)
    """
    return min(MAX_USERS, _MAX_NUMBERS // d**2)


def compute_sampling_key(seed: bytes, user_id: str) -> int:
    """Return the user's rank in the order of all users that ``seed`` defines: 64 bits of keyed BLAKE2b."""
    key = seed if len(seed) <= _KEY_BYTES else hashlib.blake2b(seed).digest()
    return int.from_bytes(
        hashlib.blake2b(user_id.encode("utf-8", "surrogatepass"), key=key, digest_size=8).digest(), "big"
    )


class Reservoir:
    """The ``capacity`` users with the smallest sampling keys, and the newest sums of each.

    A bottom-k sample (Cohen and Kaplan 2007, "Summarizing data using bottom-k sketches"): it is uniform over the users
    met, however often and in whatever order each is met, and two processes that met the same users hold the same ones.

    Args:
        capacity: the most users it holds, ≥ 1.
        seed: which sample; a secret one, or a caller could choose ids that are always in it.
    """

    def __init__(self, capacity: int, seed: bytes) -> None:
        self._capacity = capacity
        self._seed = seed
        self._members: dict[str, RidgeState] = {}
        self._largest_first: list[tuple[int, str]] = []  # a heap of (−key, user)

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __contains__(self, user_id: object) -> bool:
        return user_id in self._members

    def add(self, user_id: str, sums: RidgeState) -> bool:
        """Take the user's newest sums, if they are in the sample or belong into it; returns whether they do."""
        if user_id in self._members:
            self._members[user_id] = sums
            return True
        key = compute_sampling_key(self._seed, user_id)
        if len(self._members) < self._capacity:
            heapq.heappush(self._largest_first, (-key, user_id))
        elif key < -self._largest_first[0][0]:
            _, gone = heapq.heapreplace(self._largest_first, (-key, user_id))
            del self._members[gone]
        else:
            return False
        self._members[user_id] = sums
        return True

    def remove(self, user_id: str) -> bool:
        """Forget a user; returns whether they were in the sample. The next one met, whoever it is, takes the place."""
        if self._members.pop(user_id, None) is None:
            return False
        self._largest_first = [entry for entry in self._largest_first if entry[1] != user_id]
        heapq.heapify(self._largest_first)
        return True

    def members(self) -> dict[str, RidgeState]:
        """Return a copy that later offers do not move, in the order of user ids."""
        return dict(sorted(self._members.items()))
