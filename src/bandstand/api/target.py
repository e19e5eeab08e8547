"""The request target: raw path segments and the query, decoded as UTF-8 or refused.

Paths are split before they are decoded, so that an id may hold ``/`` as ``%2F``. Bytes that a client did not
percent-encode, where a server lets them through, mean the same as if it had.
"""

from urllib.parse import quote, unquote_to_bytes

from bandstand.api.problems import NOT_UTF8, invalid_fields
from bandstand.bandit.errors import FieldError

_ASCII = bytes(range(128))


def decoded(segment: str) -> str:
    """A segment of the raw path; bytes that are not UTF-8 become surrogates, which no id and no name may hold."""
    return unquote_to_bytes(segment.encode("latin-1")).decode("utf-8", "surrogateescape")


def checked_query(query: bytes) -> bytes:
    """The query, in ASCII: the framework reads other bytes as Latin-1, and all that are not UTF-8 as one character.

    Raises:
        InvalidRequestError: it is not UTF-8.
    """
    if not query:
        return query
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        raise invalid_fields(FieldError("query", NOT_UTF8)) from None
    return quote(query, safe=_ASCII).encode()
