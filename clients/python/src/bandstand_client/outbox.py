"""Rewards in the background: accepted at once, sent until the service has them."""

import atexit
import logging
import ssl
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from types import TracebackType
from typing import Any, Literal, TypeVar

import httpx

from bandstand_client.aio_decision import AsyncDecision, AsyncDecisionRef
from bandstand_client.call import encode_json
from bandstand_client.core import Core
from bandstand_client.decision import Decision, DecisionRef, Dwell, build_measures, build_reaction, build_turn
from bandstand_client.delivery import DeliveryWorker, Fate
from bandstand_client.errors import OutboxClosedError, OutboxFullError
from bandstand_client.events import Event, send_event
from bandstand_client.forks import watch_forks
from bandstand_client.ids import make_id
from bandstand_client.learning import Action, find_withheld_reason
from bandstand_client.outbox_queue import FileQueue, MemoryQueue, ParcelQueue
from bandstand_client.outcome import Steps
from bandstand_client.sending import drive
from bandstand_client.transport import DeadlineTransport

_LOG = logging.getLogger("bandstand_client.outbox")
_STOP_S = 1.0

WhenFull = Literal["refuse", "drop"]
AnyDecision = Decision[Any] | DecisionRef | AsyncDecision[Any] | AsyncDecisionRef | str
"""A decision, or its id."""

T = TypeVar("T")
O = TypeVar("O", bound="Outbox")  # noqa: E741 (the class it stands for)


@dataclass(frozen=True)
class OutboxCounts:
    """What became of an outbox's rewards, in this process.

    Attributes:
        accepted: taken by the outbox.
        delivered: taken by the service.
        refused: refused by the service for good; the log says which and why.
        dropped: forgotten, because the outbox was full and was told to, or could not be emptied before it was closed.
        withheld: of fallbacks, which go nowhere.
        waiting: not settled yet; of a file, also those of other processes and of earlier ones.

    Example:
        >>> with client.outbox() as outbox:
        ...     outbox.reward(client.score("ada", ["tea"]), 1.0)
        >>> outbox.counts
        OutboxCounts(accepted=1, delivered=1, refused=0, dropped=0, withheld=0, waiting=0)
    """

    accepted: int = 0
    delivered: int = 0
    refused: int = 0
    dropped: int = 0
    withheld: int = 0
    waiting: int = 0


class Outbox:
    """Takes rewards at once and sends them in the background; :meth:`Bandstand.outbox` opens one.

    A reward that was accepted is sent, with one Idempotency-Key, until the service has taken or refused it. In memory
    it is lost with the process; in a file it is sent by whoever opens the file next.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> with client.outbox() as outbox:
        ...     outbox.react(decision, "done", dwell=45)
        >>> decision.get_receipt().reward.reward
        1.0
    """

    def __init__(
        self,
        core: Core,
        transport: httpx.BaseTransport | None,
        context: ssl.SSLContext | None,
        path: str | PathLike[str] | None,
        *,
        capacity: int,
        when_full: WhenFull,
        flush_deadline: float,
        power_safe: bool,
    ) -> None:
        self._core = core
        self._given = transport
        self._context = context
        self._own: DeadlineTransport | None = None
        self._when_full = when_full
        self._flush_deadline = flush_deadline
        self._keeps = path is not None
        self._queue: ParcelQueue
        self._queue = MemoryQueue(capacity) if path is None else FileQueue(path, capacity, power_safe=power_safe)
        self._lock = threading.Lock()
        self._counted = dict.fromkeys(("accepted", "delivered", "refused", "dropped", "withheld"), 0)
        self._closed = False
        self._final_waiting = 0
        self._worker = self._build_worker()
        watch_forks(self)
        # A program that ends without closing its outbox still has its rewards sent.
        self._at_exit = partial(_close_at_exit, weakref.ref(self))
        atexit.register(self._at_exit)
        if self._queue.count():
            self._worker.wake()

    def __enter__(self: O) -> O:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def counts(self) -> OutboxCounts:
        """What became of the rewards so far.

        Example:
            >>> with client.outbox() as outbox:
            ...     outbox.counts.waiting
            0
        """
        waiting = self._final_waiting if self._closed else self._queue.count()
        with self._lock:
            return OutboxCounts(**self._counted, waiting=waiting)

    @property
    def keeps_a_file(self) -> bool:
        """Whether rewards wait in a file, so that to accept one is a write.

        Example:
            >>> with client.outbox() as outbox:
            ...     outbox.keeps_a_file
            False
        """
        return self._keeps

    def reward(self, decision: AnyDecision, value: float) -> None:
        """Accept a reward, from -1 to 1.

        Raises:
            OutboxFullError, OutboxClosedError: it was not accepted.
            OutboxError: the file cannot be written; it was not accepted.

        Example:
            >>> decision = client.score("ada", ["tea"])
            >>> with client.outbox() as outbox:
            ...     outbox.reward(decision, 0.5)
            >>> decision.get_receipt().reward.reward
            0.5
        """
        self._accept(decision, {"reward": value})

    def react(self, decision: AnyDecision, action: Action, *, dwell: Dwell | None = None) -> None:
        """Accept what the user did; ``done`` needs a dwell, in seconds.

        Raises:
            OutboxFullError, OutboxClosedError, OutboxError: it was not accepted.

        Example:
            >>> decision = client.score("ada", ["tea"])
            >>> with client.outbox() as outbox:
            ...     outbox.react(decision, "dismiss")
            >>> decision.get_receipt().reward.reward
            -1.0
        """
        self._accept(decision, build_reaction(action, dwell))

    def measure(self, decision: AnyDecision, metrics: Mapping[str, float], *, value: float | None = None) -> None:
        """Accept what the product measured; ``value`` where no formula of the loop makes a reward of it.

        Raises:
            OutboxFullError, OutboxClosedError, OutboxError: it was not accepted.

        Example:
            >>> decision = client.score("ada", ["tea"])
            >>> with client.outbox() as outbox:
            ...     outbox.measure(decision, {"click": 1}, value=0.25)
            >>> decision.get_receipt().reward.reward
            0.25
        """
        self._accept(decision, build_measures(metrics, value))

    def turn(
        self,
        decision: AnyDecision,
        query: str,
        answer: str,
        next_message: str,
        *,
        about: str | None = None,
        taxonomy: str | None = None,
    ) -> None:
        """Accept a turn, for the judge to read.

        Raises:
            OutboxFullError, OutboxClosedError, OutboxError: it was not accepted.

        Example:
            >>> with client.outbox() as outbox:
            ...     outbox.turn(client.score("ada", ["tea"]), "What now?", "Drink tea.", "Lovely, thank you!")
            >>> outbox.counts.delivered
            1
        """
        self._accept(decision, build_turn(query, answer, next_message, about, taxonomy))

    def flush(self, deadline: float | None = None) -> bool:
        """Wait until nothing waits; False if some still does after ``deadline`` seconds.

        Example:
            >>> with client.outbox() as outbox:
            ...     outbox.reward(client.score("ada", ["tea"]), 0.5)
            ...     outbox.flush(10.0)
            True
        """
        return self._worker.wait_until_empty(self._flush_deadline if deadline is None else deadline)

    def close(self, deadline: float | None = None) -> None:
        """Flush, and take no more. What a file still holds stays in it; what memory holds is dropped, and counted.

        Example:
            >>> outbox = client.outbox()
            >>> outbox.close()
        """
        if self._closed:
            return
        flushed = self.flush(deadline)
        self._closed = True
        self._worker.stop(_STOP_S)
        atexit.unregister(self._at_exit)
        left = self._queue.count()
        self._final_waiting = left if self._keeps else 0
        self._queue.close()
        if self._own is not None:
            self._own.close()
        if left and not flushed:
            if self._keeps:
                _LOG.warning("%d rewards stay in the outbox's file, for whoever opens it next", left)
            else:
                _LOG.warning("%d rewards could not be sent in time, and are lost", left)
                self._count("dropped", left)
                for _ in range(left):
                    send_event(self._core.on_event, Event("dropped", "POST /reward", "closed"))

    def reset_after_fork(self) -> None:
        """Begin anew in a forked process; the client calls it by itself.

        Example:
            >>> with client.outbox() as outbox:
            ...     outbox.reset_after_fork()
        """
        self._lock = threading.Lock()
        self._queue.reset_after_fork()
        own, self._own = self._own, None
        if own is not None:
            own.abandon()
        self._counted = dict.fromkeys(self._counted, 0)
        self._worker = self._build_worker()

    def _build_worker(self) -> DeliveryWorker:
        def send(steps: Steps[T]) -> T:
            return drive(steps, self._get_transport)

        return DeliveryWorker(self._core, self._queue, send, self._settle)

    def _get_transport(self) -> httpx.BaseTransport:
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = DeadlineTransport(self._context, connections=1)
        return self._own

    def _accept(self, decision: AnyDecision, body: Mapping[str, Any]) -> None:
        decision_id = decision if isinstance(decision, str) else decision.id
        if self._closed:
            raise OutboxClosedError("the outbox is closed")
        withheld = find_withheld_reason(decision_id)
        if withheld is not None:
            self._count("withheld")
            self._core.withhold(withheld)
            return
        content = encode_json({"decision_id": decision_id, **body})
        if self._queue.put(make_id(), decision_id, content):
            self._count("accepted")
            self._worker.wake()
        elif self._when_full == "refuse":
            raise OutboxFullError(f"{self._queue.count()} rewards are waiting already")
        else:
            self._count("dropped")
            send_event(self._core.on_event, Event("dropped", "POST /reward", "full", decision_id=decision_id))

    def _settle(self, fate: Fate) -> None:
        self._count(fate)

    def _count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self._counted[name] += by


def _close_at_exit(alive: "weakref.ref[Outbox]") -> None:
    outbox = alive()
    if outbox is not None:
        outbox.close()
