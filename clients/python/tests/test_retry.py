"""When a call is made again."""

import pytest
from bandstand_client import Retry
from bandstand_client.retry import parse_retry_after


def take_longest(low: float, high: float) -> float:
    del low
    return high


def test_the_wait_is_drawn_from_zero_to_twice_as_long_each_time() -> None:
    drawn: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        drawn.append((low, high))
        return high

    retry = Retry(tries=6, first_s=0.1, longest_s=0.5, draw=draw)
    waits = [retry.compute_wait(tried, 0.0, 10.0) for tried in range(1, 6)]
    assert waits == [0.1, 0.2, 0.4, 0.5, 0.5]
    assert drawn == [(0.0, wait) for wait in waits]


def test_it_ends_after_its_tries_and_at_the_deadline() -> None:
    retry = Retry(tries=3, first_s=0.1, draw=take_longest)
    assert retry.compute_wait(3, 0.0, 10.0) is None
    assert retry.compute_wait(1, 0.0, 0.1) is None
    assert retry.compute_wait(1, 0.0, 0.11) == 0.1


def test_it_waits_as_long_as_the_service_asks_or_not_at_all() -> None:
    retry = Retry(first_s=0.1, draw=take_longest)
    assert retry.compute_wait(1, 3.0, 10.0) == 3.0
    assert retry.compute_wait(1, 3.0, 2.9) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0.0),
        ("", 0.0),
        ("3", 3.0),
        ("0.5", 0.5),
        ("-1", 0.0),
        ("nan", 0.0),
        ("soon", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_read_as_a_number_and_as_a_date(header: str | None, seconds: float) -> None:
    assert parse_retry_after(header, lambda: 10.0) == seconds
