"""Ids that the client makes: UUIDs of version 7, which sort by the time they were made at."""

import os
import time

_VERSION_7 = 0x7 << 76
_VARIANT = 0x2 << 62
_LOW_62 = (1 << 62) - 1
_HIGH_12 = 0xFFF << 64


def make_id() -> str:
    """Make a new UUIDv7 (RFC 9562 §5.7).

    Its random bits come from the operating system, so that forked processes never make the same one.

    Example:
        >>> first = make_id()
        >>> len(first), first[14]
        (36, '7')
    """
    random = int.from_bytes(os.urandom(10), "big")
    number = (time.time_ns() // 1_000_000) << 80 | _VERSION_7 | (random & _HIGH_12) | _VARIANT | (random & _LOW_62)
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
