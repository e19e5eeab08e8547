"""What the areas stand on."""

from typing import TypeVar

from bandstand_client.call import Call

T = TypeVar("T")


class Sender:
    """Makes calls."""

    def send(self, call: Call[T]) -> T:
        """Make a call."""
        raise NotImplementedError
