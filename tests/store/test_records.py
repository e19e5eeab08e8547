"""The nouns of the ledger: event numbers that only grow, ids that nobody guesses."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bandstand.store.ids import DecisionIds, format_id, get_nonce, parse_event_id
from bandstand.store.records import Sequence, first_seq_at
from tests.store.given import DAY, NOON

times = st.floats(0, 6e9)


@given(st.integers(0, 2**62), st.lists(times, max_size=50))
def test_event_numbers_grow_whatever_the_clock_does(last: int, clock: list[float]) -> None:
    sequence = Sequence(last)
    seqs = [last, *(sequence.next(ts) for ts in clock)]
    assert all(earlier < later for earlier, later in pairwise(seqs))
    assert sequence.last == seqs[-1]
    assert seqs[-1] < 2**63, "SQLite would not take it"


@given(st.integers(0, 2**62), st.lists(st.tuples(times, st.integers(1, 300)), max_size=20))
def test_numbers_taken_at_once_are_those_of_as_many_calls(last: int, groups: list[tuple[float, int]]) -> None:
    at_once, one_by_one = Sequence(last), Sequence(last)
    for ts, count in groups:
        assert list(at_once.take(ts, count)) == [one_by_one.next(ts) for _ in range(count)]
        assert at_once.last == one_by_one.last


@given(times)
def test_an_event_number_tells_its_time(ts: float) -> None:
    seq = Sequence().next(ts)
    assert first_seq_at(ts) <= seq
    assert abs((seq >> 20) / 1000 - ts) <= 0.0011


@given(st.lists(times, min_size=2, max_size=2).map(sorted))
def test_a_cutoff_parts_earlier_from_later(pair: list[float]) -> None:
    earlier, later = pair
    if later - earlier > 0.002:
        assert Sequence().next(earlier) < first_seq_at(later) <= Sequence().next(later)


def test_a_million_events_in_one_millisecond_stay_in_order() -> None:
    sequence = Sequence(first_seq_at(NOON))
    for _ in range((1 << 20) + 5):
        sequence.next(NOON)
    assert sequence.last > first_seq_at(NOON + 0.001)
    assert sequence.next(NOON + 1) == first_seq_at(NOON + 1)


@given(st.integers(0, 2**63 - 1))
def test_an_id_of_ours_tells_its_event(seq: int) -> None:
    decision_id = DecisionIds().next(seq)
    assert len(decision_id) == 32
    assert parse_event_id(decision_id) == seq


@given(st.lists(st.integers(0, 2**63 - 1), max_size=40))
def test_ids_that_are_made_at_once_tell_their_events(seqs: list[int]) -> None:
    made = DecisionIds().make(seqs)
    assert [parse_event_id(decision_id) for decision_id in made] == seqs
    assert made == [format_id(seq, get_nonce(decision_id)) for seq, decision_id in zip(seqs, made, strict=True)]
    assert len(set(made)) == len(seqs)


def test_ids_of_one_event_number_differ() -> None:
    ids = DecisionIds()
    seq = first_seq_at(NOON + DAY)
    made = [ids.next(seq) for _ in range(2000)]
    assert len(set(made)) == 2000
    assert {decision_id[:16] for decision_id in made} == {f"{seq:016x}"}


@given(st.text(max_size=40))
def test_no_other_text_is_an_id_of_ours(text: str) -> None:
    if parse_event_id(text) is not None:
        assert len(text) == 32
        assert set(text) <= set("0123456789abcdef")
        assert text[0] < "8"
