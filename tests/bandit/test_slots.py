"""Slots: what may be picked is what some whole placement begins with, and nothing else."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from bandstand.bandit.slots import list_slot_choices

ALLOWED = st.lists(st.frozensets(st.integers(0, 4), max_size=5), min_size=1, max_size=4)


@given(ALLOWED, st.frozensets(st.integers(0, 4), max_size=2))
def test_the_choices_are_the_beginnings_of_all_placements(allowed: list[frozenset[int]], taken: frozenset[int]) -> None:
    free = set(range(5)) - taken
    placements = [
        placed
        for placed in permutations(free, len(allowed))
        if all(each in choices for each, choices in zip(placed, allowed, strict=True))
    ]
    assert list_slot_choices(allowed, taken) == sorted({placed[0] for placed in placements})


def test_many_slots_that_allow_little_are_placed() -> None:
    """Each slot may show two neighbours, so that the first pick decides all others."""
    allowed = [frozenset({number, number + 1}) for number in range(50)]
    assert list_slot_choices(allowed, ()) == [0, 1]
    assert list_slot_choices([*allowed, frozenset({50})], ()) == [0]
