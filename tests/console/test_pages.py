"""How numbers, times and addresses are written."""

import pytest

from bandstand.console.assets import Assets
from bandstand.console.pages import (
    Pages,
    build_link,
    format_capped_count,
    format_count,
    format_decimal,
    format_duration,
    format_latency,
    format_minute,
    format_parameters,
    format_percent,
    format_size,
    format_time,
)
from bandstand.store.tables.console_queries import MAX_COUNTED


def test_numbers_are_written_for_people() -> None:
    assert [format_count(1_234_567), format_count(0), format_count(None)] == ["1,234,567", "0", "–"]
    assert [format_capped_count(12), format_capped_count(MAX_COUNTED - 1), format_capped_count(MAX_COUNTED)] == [
        "12",
        "9,999",
        "10,000+",
    ]
    assert [format_decimal(-0.12345), format_decimal(2, 1), format_decimal(None)] == ["−0.123", "2.0", "–"]
    assert [format_percent(0.1234), format_percent(-0.5, 0), format_percent(None)] == ["12.3\u202f%", "−50\u202f%", "–"]


def test_sizes_and_latencies_are_written_in_their_units() -> None:
    assert [format_size(each) for each in (12, 2048, 5 << 30, 3 << 50)] == [
        "12 bytes",
        "2.0 kB",
        "5.0 GB",
        "3,072.0 TB",
    ]
    assert [format_latency(each) for each in (0.00123, 0.25, None)] == ["1.2 ms", "250 ms", "beyond 10 s"]


def test_times_are_written_in_utc() -> None:
    assert format_time(1_750_000_000) == '<time datetime="2025-06-15T15:06:40+00:00">2025-06-15 15:06:40</time>'
    assert format_time("2025-06-15T15:06:40+00:00") == format_time(1_750_000_000)
    assert format_minute(1_750_000_000) == '<time datetime="2025-06-15T15:06:40+00:00">2025-06-15 15:06</time>'
    assert format_time(None) == format_minute(None) == "–"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "under a second"),
        (1.4, "1 second"),
        (59, "59 seconds"),
        (119, "119 seconds"),
        (150, "2 minutes"),
        (7300, "2 hours"),
        (200_000, "2 days"),
        (None, "–"),
    ],
)
def test_lengths_of_time_are_written_in_words(seconds: float | None, words: str) -> None:
    assert format_duration(seconds) == words


def test_an_address_takes_any_id() -> None:
    assert build_link("/user", id="a/b&c=d é?#", before=None) == "/console/user?id=a%2Fb%26c%3Dd+%C3%A9%3F%23"
    assert build_link("") == "/console"


def test_parameters_stand_on_one_line() -> None:
    assert (
        format_parameters({"alpha": 0.5, "prior": "population", "on": True})
        == "alpha = 0.5, prior = population, on = true"
    )


def test_what_a_template_is_not_given_is_an_error_and_what_it_is_given_is_escaped() -> None:
    pages = Pages(Assets())
    shown = pages.render("error.html", None, 404, title="<b>", detail="<script>alert(1)</script>", reference=None)
    assert b"<script>alert" not in shown.body
    assert b"&lt;b&gt;" in bytes(shown.body)
    with pytest.raises(Exception, match="'detail' is undefined"):
        pages.render("error.html", None, title="x", reference=None)
