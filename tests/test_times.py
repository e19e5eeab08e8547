"""Times are judged by their size, refused outside sensible years, and written whatever they are."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.times import LATEST, compute_age, format_timestamp, is_ahead, parse_bound, parse_time

NEW_YEAR = 1767225600.0


@pytest.mark.parametrize(
    "value",
    [
        1767225600,
        1767225600.0,
        1767225600000,
        "1767225600",
        "1767225600000",
        " 1767225600.0 ",
        "2026-01-01",
        "20260101",
        "2026-01-01T00:00:00Z",
        "2026-01-01 00:00:00",
        "2026-01-01T05:30:00+05:30",
        "2025-12-31T19:00:00.000-05:00",
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1),  # noqa: DTZ001 (what it is about)
        datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    ],
    ids=repr,
)
def test_every_form_is_the_same_moment(value: object) -> None:
    assert parse_time(value) == NEW_YEAR


@pytest.mark.parametrize(
    "value",
    [
        *(True, None, "", "soon", "1_767_225_600", "2026", "1e9", "NaN", float("nan"), float("inf"), [], {}),
        *(-1, "-1", 1e300, 10**400, 253402300800, "253402300800", 1767225600 * 1e6, 1767225600 * 1e9, "1" * 50),
        *("1969-12-31T23:59:59Z", "2200-01-01T00:00:01Z", "9999-12-31", "0001-01-01T00:00:00+14:00", "٣٣٣٣٣٣٣٣٣٣"),
    ],
    ids=repr,
)
def test_what_is_no_time_of_ours_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="must be a time"):
        parse_time(value)


@pytest.mark.parametrize(
    ("value", "bound"),
    [
        ("2999-12-31", 32503593600.0),
        ("9999-12-31T23:59:59-14:00", 253402351199.0),
        ("0001-01-01T00:00:00+01:00", -62135600400.0),
        ("20260101", NEW_YEAR),
        (1767225600000, NEW_YEAR),
    ],
)
def test_a_range_may_reach_beyond_all_times(value: object, bound: float) -> None:
    assert parse_bound(value) == bound
    assert isinstance(format_timestamp(bound), str)


def test_a_bound_may_have_to_say_its_zone() -> None:
    assert parse_bound("2026-01-01T00:00Z", needs_zone=True) == parse_bound("1767225600", needs_zone=True) == NEW_YEAR
    for value in ("2026-01-01", "2026-01-01T00:00:00"):
        with pytest.raises(ValueError, match="must say its zone"):
            parse_bound(value, needs_zone=True)
    with pytest.raises(ValueError, match="must be a time"):
        parse_bound("yesterday")


@given(st.floats(min_value=0.0, max_value=LATEST).map(lambda ts: round(ts, 3)))
def test_what_is_written_is_read_again(ts: float) -> None:
    assert parse_time(format_timestamp(ts)) == pytest.approx(ts, abs=1e-5)


@given(st.floats())
def test_anything_can_be_written(ts: float) -> None:
    assert -62135596800.0 <= parse_bound(format_timestamp(ts)) <= 253402300799.0


@given(st.floats(-1e10, 1e10), st.floats(-1e10, 1e10))
def test_an_age_is_never_negative(ts: float, now: float) -> None:
    assert compute_age(ts, now) == max(0.0, now - ts)
    assert not (is_ahead(ts, now) and compute_age(ts, now))
