"""Times on the command line."""

from datetime import UTC, datetime

from bandstand.errors import InvalidRequestError


def parse_time(flag: str, text: str) -> datetime:
    """Read a date or a time as ISO 8601 has it; without a zone it is UTC.

    Raises:
        InvalidRequestError: it is neither; names the flag.

    >>> parse_time("since", "2026-01-31").isoformat()
    '2026-01-31T00:00:00+00:00'
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequestError(
            f"--{flag}: {text!a} is no time; write 2026-01-31 or 2026-01-31T12:00+01:00"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
