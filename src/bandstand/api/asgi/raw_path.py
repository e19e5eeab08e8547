"""The request target: raw path segments and the query, decoded as UTF-8 or refused.

Paths are split before they are decoded, so that an id may hold ``/`` as ``%2F``. Bytes that a client did not
percent-encode, where a server lets them through, mean the same as if it had.
"""

from urllib.parse import parse_qsl, quote, unquote_to_bytes

from bandstand.api.problems import NOT_UTF8, from_field_errors
from bandstand.errors import FieldError

_ASCII = bytes(range(128))


def decode_segment(segment: str) -> str:
    """A segment of the raw path; bytes that are not UTF-8 become surrogates, which no id and no name may hold."""
    return unquote_to_bytes(segment.encode("latin-1")).decode("utf-8", "surrogateescape")


def validate_query(query: bytes, *, allow_repeats: bool = False) -> bytes:
    """The query, in ASCII: the framework reads other bytes as Latin-1, and all that are not UTF-8 as one character.

    Args:
        query: as it came.
        allow_repeats: a parameter may be given twice. Otherwise the framework would take the last one: a request to
            erase two users would erase one.

    Raises:
        InvalidRequestError: it is not UTF-8, or holds a parameter more than once.
    """
    if not query:
        return query
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        raise from_field_errors(FieldError("query", NOT_UTF8)) from None
    ascii_query = quote(query, safe=_ASCII)
    if "&" in ascii_query and not allow_repeats:
        names = [name for name, _ in parse_qsl(ascii_query, keep_blank_values=True)]
        if len(set(names)) < len(names):
            raise from_field_errors(FieldError("query", "holds a parameter more than once"))
    return ascii_query.encode()
