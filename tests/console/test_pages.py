"""How numbers, times and addresses are written."""

import pytest

from bandstand.console.assets import Assets
from bandstand.console.pages import Pages, count, counted, decimal, link, minute, moment, parameters, percent, span
from bandstand.store.tables.console_queries import COUNTED


def test_numbers_are_written_for_people() -> None:
    assert [count(1_234_567), count(0), count(None)] == ["1,234,567", "0", "–"]
    assert [counted(12), counted(COUNTED - 1), counted(COUNTED)] == ["12", "9,999", "10,000+"]
    assert [decimal(-0.12345), decimal(2, 1), decimal(None)] == ["−0.123", "2.0", "–"]
    assert [percent(0.1234), percent(-0.5, 0), percent(None)] == ["12.3\u202f%", "−50\u202f%", "–"]


def test_times_are_written_in_utc() -> None:
    assert moment(1_750_000_000) == '<time datetime="2025-06-15T15:06:40+00:00">2025-06-15 15:06:40</time>'
    assert moment("2025-06-15T15:06:40+00:00") == moment(1_750_000_000)
    assert minute(1_750_000_000) == '<time datetime="2025-06-15T15:06:40+00:00">2025-06-15 15:06</time>'
    assert moment(None) == minute(None) == "–"


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
    assert span(seconds) == words


def test_an_address_takes_any_id() -> None:
    assert link("/user", id="a/b&c=d é?#", before=None) == "/console/user?id=a%2Fb%26c%3Dd+%C3%A9%3F%23"
    assert link("") == "/console"


def test_parameters_stand_on_one_line() -> None:
    assert parameters({"alpha": 0.5, "prior": "population", "on": True}) == "alpha = 0.5, prior = population, on = true"


def test_what_a_template_is_not_given_is_an_error_and_what_it_is_given_is_escaped() -> None:
    pages = Pages(Assets())
    shown = pages.render("error.html", None, 404, title="<b>", detail="<script>alert(1)</script>", reference=None)
    assert b"<script>alert" not in shown.body
    assert b"&lt;b&gt;" in bytes(shown.body)
    with pytest.raises(Exception, match="'detail' is undefined"):
        pages.render("error.html", None, title="x", reference=None)
