"""The thread that empties an outbox: over one connection, in order, for as long as it takes."""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from bandstand_client.call import Call
from bandstand_client.core import Core
from bandstand_client.errors import BandstandError, OutboxError, ProblemError
from bandstand_client.events import Event, send_event
from bandstand_client.outbox_queue import Parcel, ParcelQueue
from bandstand_client.outcome import Steps, name_outcome

_LOG = logging.getLogger("bandstand_client.outbox")

_BATCH = 100
_IDLE_S = 0.5  # how soon a reward is seen that another process put into the file
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 5.0
_FIRST_DEFER_S, _LONGEST_DEFER_S = 1.0, 600.0
_DOUBLINGS = 10
_SERVER_FAULT, _TOO_MANY = 500, 429
_OPERATORS = frozenset({"unauthorized", "forbidden", "host-refused", "not-found", "method-not-allowed", ""})
_LATER = frozenset({"reward-pending", "internal", "request-timeout"})

Fate = Literal["delivered", "refused", "later", "down"]


class DeliveryWorker:
    """Takes rewards from a queue to the service.

    What the service refuses for good is counted and logged. What it cannot take now waits: a turn that holds the
    decision, or a fault over this one reward, lets others go before; anything else (no answer, 5xx, a key that is not
    accepted) holds up all, for then nothing can be delivered.

    Args:
        core: of the client.
        queue: where rewards wait.
        drive: makes a call.
        on_settled: called with each fate.
    """

    def __init__(
        self,
        core: Core,
        queue: ParcelQueue,
        drive: Callable[[Steps[Any]], Any],
        on_settled: Callable[[Fate], None],
    ) -> None:
        self._core = core
        self._queue = queue
        self._drive = drive
        self._on_settled = on_settled
        self._changed = threading.Condition()
        self._put = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._failures = 0

    def wake(self) -> None:
        """Something was put into the queue."""
        with self._changed:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="bandstand-outbox", daemon=True)
                self._thread.start()
            self._put += 1
            self._changed.notify_all()

    def wait_until_empty(self, seconds: float) -> bool:
        """Wait until nothing waits any more; False if some still does after ``seconds``."""
        until = time.monotonic() + seconds
        with self._changed:
            while True:
                if not self._queue.count():
                    return True
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, _IDLE_S))

    def stop(self, seconds: float) -> None:
        """End the thread, after the reward that is under way, if that takes no longer than ``seconds``."""
        with self._changed:
            self._stopping.set()
            thread = self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            seen = self._put
            try:
                wait = self._deliver_batch() if self._queue.become_sender() else _IDLE_S
            except OutboxError as error:
                if (
                    self._stopping.is_set()
                ):  # what was delivered and not removed is sent again later, under the same key
                    return
                _LOG.warning("the outbox cannot be read: %s", error)
                wait = _LONGEST_WAIT_S
            with self._changed:
                self._changed.notify_all()
                if wait and not self._stopping.is_set() and (self._failures or seen == self._put):
                    self._changed.wait(wait)

    def _deliver_batch(self) -> float:
        """Deliver what is due; the seconds to wait before there can be more."""
        parcels = self._queue.take(_BATCH)
        settled = []
        try:
            for parcel in parcels:
                fate = self._deliver(parcel)
                if fate == "down":
                    return self._compute_backoff()
                self._failures = 0
                if fate == "later":
                    self._queue.defer(
                        parcel, min(_FIRST_DEFER_S * 2.0 ** min(parcel.tries, _DOUBLINGS), _LONGEST_DEFER_S)
                    )
                else:
                    settled.append(parcel)
                    self._on_settled(fate)
                if self._stopping.is_set():
                    break
        finally:
            if settled:
                self._queue.remove(settled)
        return 0.0 if parcels else _IDLE_S

    def _deliver(self, parcel: Parcel) -> Fate:
        call = Call[None]("POST", "/reward", "/reward", lambda _: None, parcel.body, idempotency_key=parcel.key)
        try:
            self._drive(self._core.exchange(call, self._core.start_deadline(None)))
        except BandstandError as error:
            fate = find_fate(error)
            if fate == "refused":
                _LOG.warning("the reward of decision %s was refused: %s", parcel.decision_id, error)
            self._announce(fate, name_outcome(error), parcel)
            return fate
        self._announce("delivered", "ok", parcel)
        return "delivered"

    def _announce(self, fate: Fate, outcome: str, parcel: Parcel) -> None:
        if fate in {"delivered", "refused"} and self._core.on_event is not None:
            kind: Literal["delivered", "refused"] = "delivered" if fate == "delivered" else "refused"
            send_event(self._core.on_event, Event(kind, "POST /reward", outcome, decision_id=parcel.decision_id))

    def _compute_backoff(self) -> float:
        self._failures += 1
        longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(self._failures, _DOUBLINGS))
        return random.uniform(_FIRST_WAIT_S / 2, longest)


def find_fate(error: BandstandError) -> Fate:
    """What becomes of a reward that could not be delivered."""
    if not isinstance(error, ProblemError) or error.code in _OPERATORS:
        return "down"
    if error.code in _LATER:
        return "later"
    return "down" if error.status >= _SERVER_FAULT or error.status == _TOO_MANY else "refused"
