"""Slots: several picks of one list of candidates, none of them twice.

The slots are filled in their order, each as a decision of its own among what the slots before it left. A pick that
would leave a later slot with nothing to show is not offered: what may be picked is what some whole placement begins
with.
"""

from collections.abc import Collection, Sequence

Allowed = Sequence[frozenset[int]]
"""Of each slot, the places of the candidates that it may show."""


def list_slot_choices(allowed: Allowed, taken: Collection[int]) -> list[int]:
    """List the candidates that the first slot may show, ascending: those that leave a candidate for each other slot.

    Args:
        allowed: of the slots that are still to be filled.
        taken: what the slots before them show.

    Returns:
        Positions of candidates; empty if there is no placement.

    >>> list_slot_choices([frozenset({0, 1}), frozenset({1})], ())
    [0]
    """
    first, *later = [choices.difference(taken) for choices in allowed]
    if all(len(choices) > len(later) for choices in later):  # whatever is picked, each of them has enough left
        return sorted(first)
    placed = _match_slots(later)
    if placed is None:
        return []
    # A candidate that no later slot was given leaves all of them theirs; of another, its slot must find a new one.
    owner = {candidate: slot for slot, candidate in enumerate(placed)}
    return [each for each in sorted(first) if each not in owner or _can_move(owner[each], each, later, placed)]


def _match_slots(allowed: Allowed) -> list[int] | None:
    """A candidate for each slot, all different; ``None`` if there are none (Kuhn's augmenting paths)."""
    owner: dict[int, int] = {}
    for slot in range(len(allowed)):
        if not _place(slot, allowed, owner, set()):
            return None
    placed = [0] * len(allowed)
    for candidate, slot in owner.items():
        placed[slot] = candidate
    return placed


def _can_move(slot: int, lost: int, allowed: Allowed, placed: Sequence[int]) -> bool:
    """Whether all slots have something to show without one candidate that one of them had."""
    owner = {candidate: each for each, candidate in enumerate(placed) if each != slot}
    return _place(slot, allowed, owner, {lost})


def _place(slot: int, allowed: Allowed, owner: dict[int, int], seen: set[int]) -> bool:
    for candidate in sorted(allowed[slot] - seen):
        if candidate in seen:
            continue
        seen.add(candidate)
        if candidate not in owner or _place(owner[candidate], allowed, owner, seen):
            owner[candidate] = slot
            return True
    return False
