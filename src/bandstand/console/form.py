"""A form as a browser sends it, and the cursor of an address, within their limits."""

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Query, Request

from bandstand.errors import InvalidRequestError
from bandstand.store.records import LAST_SEQ

_MAX_BYTES = 64 * 1024
_MAX_FIELDS = 200
_TYPE = "application/x-www-form-urlencoded"

Form = Mapping[str, list[str]]

Cursor = Annotated[int | None, Query(ge=0, le=LAST_SEQ)]
"""Where in an address a page continues: a number that a ledger can hold."""


async def read_form(request: Request) -> Form:
    """The fields of a posted form, each with its values in order.

    Raises:
        InvalidRequestError: it is no form, not UTF-8, or too large a one.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _TYPE:
        raise InvalidRequestError("this takes what a form of the console sends")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_BYTES:
            raise InvalidRequestError("the form is too large")
    try:
        text = body.decode("ascii")
        return parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise InvalidRequestError("the form could not be read") from None


def get_field(form: Form, name: str) -> str:
    """The one value of a field; empty where it is missing."""
    return form.get(name, [""])[0]
