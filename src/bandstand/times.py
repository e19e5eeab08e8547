"""Times as they come in: seconds or milliseconds since the epoch, or ISO 8601; and as they go out."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

EARLIEST: Final = 0.0
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC).timestamp()
"""Seconds since the epoch: what is later is milliseconds, or no time of ours."""

CLOCK_SLACK_S: Final = 60.0
"""By how much a clock may be set back, as time servers do, before anything takes notice."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MILLISECOND: Final = datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1000.0
_FIRST_SECOND: Final = -62_135_596_800.0  # of year 1
_LAST_SECOND: Final = 253_402_300_799.0  # of year 9999
_NUMBER: Final = re.compile(r"[0-9]{9,16}(\.[0-9]{1,9})?")
"""A text of fewer digits is a date: 20260101."""

MEANT: Final = "must be a time: ISO 8601, or seconds or milliseconds since 1970"


def parse_time(value: object) -> float:
    """Read a time, judged by its size, as seconds since the epoch; without a zone it is UTC.

    Raises:
        ValueError: it is no time, before 1970, or after 2200.

    >>> parse_time(1767225600), parse_time("1767225600000"), parse_time("2026-01-01T01:00+01:00")
    (1767225600.0, 1767225600.0, 1767225600.0)
    """
    if isinstance(value, str):
        seconds = _parse_text(value.strip())
    elif isinstance(value, datetime):
        seconds = _to_seconds(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = _judge_by_size(value)
    else:
        seconds = math.nan
    if not EARLIEST <= seconds <= LATEST:
        raise ValueError(MEANT)
    return seconds


def parse_bound(value: object, *, needs_zone: bool = False) -> float:
    """Read where a range of time begins or ends, as seconds since the epoch: a date of any year will do.

    Args:
        value: as :func:`parse_time` reads it.
        needs_zone: refuse a date or a time that does not say where; otherwise it is UTC.

    Raises:
        ValueError: it is no time, or has no zone.

    >>> parse_bound("2999-12-31"), parse_bound("0001-01-01")
    (32503593600.0, -62135596800.0)
    """
    moment = _read_iso(value.strip()) if isinstance(value, str) else None
    if moment is None:
        return parse_time(value)
    if needs_zone and moment.tzinfo is None:
        raise ValueError("must say its zone: 2026-01-31T12:00:00Z")
    return _to_seconds(moment)


def format_timestamp(ts: float) -> str:
    """A time as ISO 8601 in UTC."""
    return to_datetime(ts).isoformat()


def to_datetime(ts: float) -> datetime:
    """A time in UTC; one that no calendar has, in a ledger from before such were refused, as the nearest."""
    return _EPOCH + timedelta(seconds=0.0 if math.isnan(ts) else min(max(ts, _FIRST_SECOND), _LAST_SECOND))


def compute_age(ts: float, now: float) -> float:
    """Seconds since an event, never negative: one that is dated ahead was made under a clock that was set back."""
    return max(0.0, now - ts)


def is_ahead(ts: float, now: float) -> bool:
    """Whether an event can only have been dated by a clock that was wrong, or is wrong now."""
    return ts > now + CLOCK_SLACK_S


def _judge_by_size(number: float) -> float:
    """Seconds, given as seconds or as milliseconds, which the size tells; milliseconds before 2000 are refused."""
    if EARLIEST <= number <= LATEST:
        return float(number)
    return number / 1000.0 if _FIRST_MILLISECOND <= number <= LATEST * 1000.0 else math.nan


def _parse_text(text: str) -> float:
    if _NUMBER.fullmatch(text):
        return _judge_by_size(float(text))
    moment = _read_iso(text)
    return math.nan if moment is None else _to_seconds(moment)


def _read_iso(text: str) -> datetime | None:
    if _NUMBER.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _to_seconds(moment: datetime) -> float:
    # Not timestamp(): with a zone, it may be of a year that the platform cannot show.
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH).total_seconds()
