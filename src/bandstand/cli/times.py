"""Times on the command line."""

from datetime import UTC, datetime

from bandstand import times
from bandstand.errors import InvalidRequestError


def parse_time(flag: str, text: str) -> datetime:
    """Read a time as the wire takes it: ISO 8601, or seconds or milliseconds since 1970; without a zone it is UTC.

    Raises:
        InvalidRequestError: it is no time; names the flag.

    >>> parse_time("since", "2026-01-31").isoformat()
    '2026-01-31T00:00:00+00:00'
    """
    try:
        return datetime.fromtimestamp(times.parse_bound(text), UTC)
    except ValueError:
        raise InvalidRequestError(
            f"--{flag}: {text!a} is no time; write 2026-01-31 or 2026-01-31T12:00+01:00"
        ) from None
