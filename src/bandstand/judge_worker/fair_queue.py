"""A queue that is fair between users.

A user who sends a thousand turns at once waits for them, and nobody else does.
"""

from collections import OrderedDict, deque


class FairQueue:
    """Event numbers by user: the oldest of one user, then the oldest of the next."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[int]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, user_id: str, seq: int) -> None:
        """Queue a turn behind the user's others; a user who has none comes after all who have."""
        self._waiting.setdefault(user_id, deque()).append(seq)
        self._count += 1

    def pop(self) -> int:
        """The turn whose turn it is.

        Raises:
            IndexError: none waits.
        """
        if not self._waiting:
            raise IndexError("nobody waits")
        user_id, seqs = next(iter(self._waiting.items()))
        seq = seqs.popleft()
        if seqs:
            self._waiting.move_to_end(user_id)
        else:
            del self._waiting[user_id]
        self._count -= 1
        return seq
