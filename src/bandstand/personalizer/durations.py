"""Durations as ISO 8601 has them, as far as they have one length: weeks, days, hours, minutes, seconds."""

import re

_DURATION = re.compile(
    r"P(?=[\dT])(?:(?P<W>\d+)W)?(?:(?P<D>\d+)D)?(?:T(?=\d)(?:(?P<H>\d+)H)?(?:(?P<M>\d+)M)?(?:(?P<S>\d+(?:\.\d+)?)S)?)?"
)
_SECONDS = {"W": 604_800, "D": 86_400, "H": 3_600, "M": 60, "S": 1}
_MAX_CHARS = 64


def parse_duration(value: object) -> float | None:
    """The seconds of a duration; ``None`` if it is none.

    >>> parse_duration("PT10M"), parse_duration("P1DT1.5S"), parse_duration("P1M"), parse_duration("PT")
    (600.0, 86401.5, None, None)
    """
    match = _DURATION.fullmatch(value) if isinstance(value, str) and len(value) <= _MAX_CHARS else None
    if match is None:
        return None
    return float(sum(float(match[unit]) * seconds for unit, seconds in _SECONDS.items() if match[unit]))


def format_duration(seconds: float) -> str:
    """A duration in days, hours, minutes and seconds.

    >>> format_duration(600), format_duration(86_461.5), format_duration(0)
    ('PT10M', 'P1DT1M1.5S', 'PT0S')
    """
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    date = f"{days:.0f}D" if days else ""
    time = "".join(f"{value:g}{unit}" for value, unit in ((hours, "H"), (minutes, "M"), (rest, "S")) if value)
    return f"P{date}T{time}" if time else f"P{date}" if date else "PT0S"
