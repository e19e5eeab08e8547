"""What the client tells a product's metrics: an event for each call, retry, fallback and change of the breaker."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

EventKind = Literal["call", "retry", "fallback", "breaker", "withheld", "delivered", "refused", "dropped"]

_LOG = logging.getLogger("bandstand_client")


@dataclass(frozen=True)
class Event:
    """Something that happened in the client; ``on_event`` is called with it, in the thread where it happened.

    Attributes:
        kind: ``call`` (one ended, well or not), ``retry`` (one will be made again), ``fallback`` (the caller's first
            candidate came back), ``breaker`` (it opened or closed), ``withheld`` (a reward of a fallback, which goes
            nowhere); of an outbox, ``delivered``, ``refused`` (by the service, for good) and ``dropped`` (it was full,
            or could not be emptied in time).
        route: what was called, such as ``POST /score``; empty for the breaker.
        outcome: ``ok``, a problem's code (``overloaded``), ``deadline``, ``unreachable``, ``broken-off``; of the
            breaker its state; of a fallback its reason.
        seconds: how long the call took, all tries together; of a retry, how long it waits.
        tries: how often it was made by then.
        decision_id: whose reward it is, of an outbox's.

    Example:
        >>> from bandstand_client.testing import FakeBandstand
        >>> client = FakeBandstand().build_client(on_event=lambda event: print(event.kind, event.route, event.outcome))
        >>> decision = client.score("ada", ["tea", "coffee"])
        call POST /score ok
    """

    kind: EventKind
    route: str = ""
    outcome: str = "ok"
    seconds: float = 0.0
    tries: int = 0
    decision_id: str = ""


EventHandler = Callable[[Event], None]
"""What ``on_event`` takes. An exception in it is logged, and harms no call."""


def send_event(handler: EventHandler | None, event: Event) -> None:
    """Hand an event to a product's handler."""
    if handler is None:
        return
    try:
        handler(event)
    except Exception:  # a product's metrics must not harm its users' calls
        _LOG.exception("on_event failed")
