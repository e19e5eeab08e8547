"""The id under which a request is answered and logged: the caller's own, or one of ours."""

import itertools
import secrets
from collections.abc import Iterator, Mapping

_MAX_LENGTH = 128


def find_given_id(headers: Mapping[bytes, bytes]) -> str | None:
    """The id that a caller gave its request, if it can stand in a header and in a log."""
    given = headers.get(b"x-request-id")
    if given is not None and len(given) <= _MAX_LENGTH:
        text = given.decode("latin-1")
        if text.isascii() and text.isprintable() and text:
            return text
    return None


def generate_ids() -> Iterator[str]:
    """Ids of 16 hexadecimal digits, each once; made from blocks of 256, since to format one takes long."""
    prefix = secrets.token_hex(4)
    endings = [f"{number:02x}" for number in range(256)]
    for number in itertools.count():
        block = f"{prefix}{number:06x}"
        for ending in endings:
            yield block + ending
