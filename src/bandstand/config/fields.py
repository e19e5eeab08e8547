"""What the groups of settings share: how a setting is declared, and how common kinds of text are read."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

HEADER_TEXT = re.compile(r"[!-~]+")
"""Printable ASCII without spaces: what fits into a header."""

SWITCH = "1 or 0 (also true or false, yes or no, on or off)"
"""What a setting takes that is on or off."""


def make_setting(meaning: str, allowed: str, *, default: object, **bounds: Any) -> Any:
    """Declare a setting.

    Args:
        meaning: what ``docs/settings.md`` says of it.
        allowed: which values it takes, in words: for the page and for the error.
        default: where it is unset.
        bounds: what pydantic checks of a number.
    """
    return Field(default, description=meaning, json_schema_extra={"allowed": allowed}, **bounds)


def not_blank(value: object) -> object:
    """Refuse text of spaces."""
    if isinstance(value, str) and not value.strip():
        raise ValueError("is blank")
    return value


def expand_home(value: object) -> object:
    """Read a ``~`` at the beginning of a path as a shell does, which an environment file and a service manager do not.

    Raises:
        ValueError: it is blank, or names the home of somebody whom this machine does not know.
    """
    not_blank(value)
    if isinstance(value, str) and value.startswith("~"):
        try:
            return Path(value).expanduser()
        except RuntimeError:
            raise ValueError("this machine does not know whose home that is") from None
    return value


def to_lower(value: object) -> object:
    """Take capitals for small letters."""
    return value.lower() if isinstance(value, str) else value


def parse_names(value: object) -> object:
    """Read a comma list of names, none of them empty."""
    if not isinstance(value, str):
        return value
    names = tuple(name.strip() for name in value.split(","))
    if not all(names):
        raise ValueError(f"entry {names.index('') + 1} is empty")
    return names


def validate_url(value: object) -> object:
    """Refuse what is no http or https URL, or holds credentials."""
    if not isinstance(value, str):
        return value
    try:
        url = urlsplit(value)
        named = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        named = False
    else:
        if url.scheme not in {"http", "https"}:
            raise ValueError("it does not start with http:// or https://")
        if url.username is not None or url.password is not None:
            raise ValueError("it holds a user or a password: the key has a setting of its own")
    if not named or not value.isprintable() or " " in value:
        raise ValueError("it names no host")
    return value


def validate_secret(value: object) -> object:
    """Refuse what does not fit into a header."""
    if isinstance(value, str) and not HEADER_TEXT.fullmatch(value):
        raise ValueError("it must be printable ASCII without spaces, to fit into a header")
    return value
