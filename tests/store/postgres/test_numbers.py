"""Numbers of slots grow, tell their time, and never meet."""

from hypothesis import given
from hypothesis import strategies as st

from bandstand.store.postgres.numbers import SlotSequence
from bandstand.store.records import to_time

SLOTS = st.integers(0, 255)


@given(SLOTS, st.lists(st.floats(0, 2e9), min_size=1, max_size=50))
def test_numbers_of_a_slot_grow_whatever_the_clock_does(slot: int, times: list[float]) -> None:
    sequence = SlotSequence(slot)
    seqs = [sequence.next(ts) for ts in times]
    assert seqs == sorted(set(seqs))
    assert {seq >> 12 & 255 for seq in seqs} == {slot}


@given(SLOTS, st.integers(0, 2**62))
def test_what_follows_a_number_of_anybody_s_is_higher(slot: int, seen: int) -> None:
    sequence = SlotSequence(slot)
    sequence.observe(seen)
    following = sequence.next(0.0)
    assert seen < following < seen + (2 << 20)
    assert following >> 12 & 255 == slot


@given(SLOTS, SLOTS, st.floats(0, 2e9))
def test_two_slots_never_give_the_same(one: int, other: int, ts: float) -> None:
    first, second = SlotSequence(one), SlotSequence(other)
    seqs = [sequence.next(ts) for _ in range(5) for sequence in (first, second)]
    assert one == other or len(set(seqs)) == 10


def test_a_number_tells_its_time_and_more_than_fit_a_millisecond_run_ahead() -> None:
    sequence = SlotSequence(7)
    assert to_time(sequence.next(1_750_000_000.123)) == 1_750_000_000.123
    seqs = [sequence.next(1_750_000_000.123) for _ in range(4096)]
    assert to_time(seqs[-1]) == 1_750_000_000.124
