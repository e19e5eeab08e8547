"""Times of flags: ISO 8601, in UTC where nothing else is said."""

import pytest

from bandstand.cli.times import parse_time
from bandstand.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02", 86_400.0),
        ("1970-01-01T01:00", 3_600.0),
        ("1970-01-01T01:00:00.5Z", 3_600.5),
        ("1970-01-01T01:00+01:00", 0.0),
    ],
)
def test_a_date_or_a_time(text: str, seconds: float) -> None:
    assert parse_time("since", text).timestamp() == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "12:00"])
def test_anything_else_is_refused_by_the_flags_name(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="--until: ") as caught:
        parse_time("until", text)
    assert ascii(text) in caught.value.detail
