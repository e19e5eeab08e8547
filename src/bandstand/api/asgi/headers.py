"""Header fields as RFC 9110 5.5 has them: white space around a value is no part of it."""

from collections.abc import Iterable

_WHITE_SPACE = b" \t"


def trim_values(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    r"""The fields with their values trimmed; servers differ in whether they do it.

    >>> trim_values([(b"idempotency-key", b" k9 \t")])
    [(b'idempotency-key', b'k9')]
    """
    return [(name, value.strip(_WHITE_SPACE)) for name, value in fields]


def build_header_map(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The trimmed values by name; of a name that comes more than once, the last one."""
    return {name: value.strip(_WHITE_SPACE) for name, value in fields}
