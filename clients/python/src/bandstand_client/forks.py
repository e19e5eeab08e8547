"""What a forked process must make anew: connections, locks and threads of its parent are not its own."""

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something that holds what a fork does not take along."""

    def reset_after_fork(self) -> None:
        """Forget, in the child, what belongs to the parent."""


_ALIVE: "weakref.WeakSet[Forkable]" = weakref.WeakSet()


def watch_forks(resource: Forkable) -> None:
    """Call ``resource.reset_after_fork()`` in every process that is forked while it lives."""
    _ALIVE.add(resource)


def _reset_all() -> None:
    for resource in list(_ALIVE):
        resource.reset_after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_reset_all)
