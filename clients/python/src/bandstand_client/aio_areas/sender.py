"""What the areas stand on.

Written by ``tools/generate_client.py`` from ``areas``.
"""

from typing import TypeVar

from bandstand_client.call import Call

T = TypeVar("T")


class AsyncSender:
    """Makes calls."""

    async def send(self, call: Call[T]) -> T:
        """Make a call."""
        raise NotImplementedError
