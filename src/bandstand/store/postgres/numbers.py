"""Event numbers of many processes: each process assigns its own, and none that another may have assigned before.

``seq = milliseconds · 2²⁰ + slot · 2¹² + counter``. A process that sees a higher number continues from there, so that
what follows from an event has a higher number than it, whatever their clocks say.
"""

_SLOT_SHIFT = 12
_SEQ_SHIFT = 20
_COUNTERS = 1 << _SLOT_SHIFT
_SLOTS = 1 << (_SEQ_SHIFT - _SLOT_SHIFT)


class SlotSequence:
    """The numbers of one slot.

    Args:
        slot: from 0 to 255.
        last: no number up to here is given.
    """

    def __init__(self, slot: int, last: int = 0) -> None:
        self.slot = slot
        self.last = last

    def next(self, ts: float) -> int:
        """The number of an event that happens at ``ts`` (seconds since the epoch)."""
        first = (int(ts * 1000) << _SEQ_SHIFT) | (self.slot << _SLOT_SHIFT)
        self.last = first if first > self.last else self._next_after_last()
        return self.last

    def observe(self, seq: int) -> None:
        """Continue after a number that is in the ledger."""
        self.last = max(self.last, seq)

    def _next_after_last(self) -> int:
        after = self.last + 1
        if (after >> _SLOT_SHIFT) % _SLOTS == self.slot:
            return after
        first = (after >> _SEQ_SHIFT << _SEQ_SHIFT) | (self.slot << _SLOT_SHIFT)
        return first if first >= after else first + (1 << _SEQ_SHIFT)
