"""Rewards of events that are not known yet: kept for a while, in case their rank call is still on its way.

In memory alone: an event is in the ledger before its rank call is answered, so only a reward that overtakes its own
rank call can come here and matter. All others are of events of another service, from before the switch.
"""

from collections import OrderedDict
from dataclasses import dataclass

_MAX_EVENTS = 10_000
_MAX_REWARDS = 100


@dataclass(frozen=True, slots=True)
class OrphanReward:
    """A reward that waits for its event.

    Attributes:
        client: name of the API key.
        request_id: the client's own, "" for none.
        expires: after which nobody waits for it, in seconds since the epoch.
        slot: of an event with slots, the one that it is for.
    """

    value: float
    client: str
    request_id: str
    expires: float
    slot: str = ""


class OrphanRewards:
    """Rewards by the id of their event; the oldest go if there are too many."""

    def __init__(self, max_events: int = _MAX_EVENTS) -> None:
        self._max_events = max_events
        self._events: OrderedDict[str, list[OrphanReward]] = OrderedDict()

    def add(self, event_id: str, reward: OrphanReward) -> None:
        """Keep a reward, in the order of arrival."""
        rewards = self._events.setdefault(event_id, [])
        if len(rewards) < _MAX_REWARDS:
            rewards.append(reward)
        while len(self._events) > self._max_events:
            self._events.popitem(last=False)

    def take(self, event_id: str, now: float) -> list[OrphanReward]:
        """The rewards of an event, which are no longer kept; those that nobody waits for any more are left out."""
        return [reward for reward in self._events.pop(event_id, ()) if reward.expires > now]
