"""Events on their way into the ledger: submitted, and not yet committed or refused."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from bandstand.store.learners.user_cache import CachedUser
from bandstand.store.outcomes import Outcome
from bandstand.store.sqlite.operations import SumIncrement, SumIncrements, add_up
from bandstand.store.sqlite.statements import Row

T = TypeVar("T")


class EventDirectory(Protocol):
    """What an event notifies of its end; see :class:`bandstand.store.embedded.state_directory.StateDirectory`."""

    def conclude(self, event: "UserEvent[Any]", error: BaseException | None) -> BaseException | None:
        """Record that an event is settled; returns the error for its waiters."""


class UserEvent(Outcome[T], eq=False, kw_only=True):
    """An event of a user: what the writer takes of it, what follows its commit or its refusal, and who waits for it.

    It is an operation of the writer (:class:`bandstand.store.sqlite.operations.WriterOperation`), and settled once its
    rows are committed or refused.

    Attributes:
        directory: is notified when it is settled.
        user: whose it is; not evicted until then.
        seq: its number.
        result: what waiters get, once it is committed.
        rows: as an operation has them.
        sums: the same; a kind of events that has a ``sum_up`` of its own needs none.
        durable: synced before it is settled.
    """

    exclusive = None

    directory: EventDirectory
    user: CachedUser
    seq: int
    result: T
    rows: list[tuple[str, Row]]
    sums: SumIncrements = ()
    durable: bool

    @staticmethod
    def sum_up(events: "Sequence[UserEvent[Any]]") -> Iterable[SumIncrement]:
        """What these events add to sums, as the writer asks for each kind of a group."""
        return add_up(event.sums for event in events)

    def apply(self) -> None:
        """Move the state in memory: it is committed."""

    def take_back(self) -> None:
        """Take back what was noted in memory when it was submitted: it is refused."""

    def done(self, _: object, error: BaseException | None) -> None:
        """Move what is in memory after the commit, as the writer calls it."""
        if error is not None:
            self.take_back()
            return
        user = self.user
        user.registered = True
        self.apply()
        user.changed = user.profile.seq > 0  # a generation alone moves nothing that a document holds

    def acknowledge(self, error: BaseException | None) -> None:
        """Settle it, as the writer calls it after the commit or the sync."""
        error = self.directory.conclude(self, error)
        self.settle(self.result if error is None else None, error)


class CallbackEvent(UserEvent[None], eq=False, kw_only=True):
    """An event of which functions say what follows.

    Attributes:
        on_committed: see :meth:`UserEvent.apply`.
        on_rejected: see :meth:`UserEvent.take_back`.
    """

    result: None = None
    on_committed: Callable[[], None]
    on_rejected: Callable[[], None]

    def apply(self) -> None:
        """Move the state in memory."""
        self.on_committed()

    def take_back(self) -> None:
        """Take back what was noted in memory."""
        self.on_rejected()
