"""Pages: the templates, how numbers and times are written in them, and the headers that every answer carries."""

import json
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bandstand import __version__
from bandstand.bandit.loop_definition import DEFAULT_LOOP
from bandstand.console.assets import Assets
from bandstand.console.session import Visit
from bandstand.store.tables.console_queries import MAX_COUNTED
from bandstand.times import to_datetime

HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""Of every answer under ``/console``. Plotly writes style attributes, which is all that is relaxed."""

_PLACEHOLDER = "–"
_MINUS = "\N{MINUS SIGN}"
_prefix: ContextVar[str] = ContextVar("prefix", default="")
_LOOPS = "/loops/"


class Pages:
    """Renders templates.

    Args:
        assets: the files that pages need.
        loop: whose pages they are.
    """

    def __init__(self, assets: Assets, loop: str = DEFAULT_LOOP) -> None:
        self._environment = Environment(
            loader=PackageLoader("bandstand.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {
            "address": build_address,
            "asset": lambda name: build_address(assets.get_path(name)),
            "link": build_link,
            "loop_name": lambda: loop,
            "version": __version__,
        }
        self._environment.filters |= {
            "count": format_count,
            "json": partial(json.dumps, ensure_ascii=False),
            "counted": format_capped_count,
            "decimal": format_decimal,
            "signed": format_signed,
            "percent": format_percent,
            "moment": format_time,
            "minute": format_minute,
            "span": format_duration,
            "latency": format_latency,
            "size": format_size,
            "parameters": format_parameters,
        }

    def render(self, template: str, visit: Visit | None, status_code: int = 200, **values: Any) -> HTMLResponse:
        """One page; nothing may keep it, for it holds what a log-in opened."""
        text = self._environment.get_template(template).render(visit=visit, **values)
        return HTMLResponse(text, status_code, {"cache-control": "no-store"})


def set_prefix(prefix: str) -> None:
    """Say what every address in the answer to this request begins with: the path under which a proxy shows us."""
    _prefix.set(prefix)


def build_address(path: str) -> str:
    """The address of a path of ours, as the browser must ask for it."""
    return _prefix.get() + path


def build_root(own: str) -> str:
    """With what the addresses of the service begin, of whose loop this is the console."""
    return _prefix.get() if own == DEFAULT_LOOP else _prefix.get().removesuffix(f"{_LOOPS}{own}")


def build_loop_address(loop: str, own: str) -> str:
    """The address of a loop's console, as the browser must ask for it."""
    return build_root(own) + ("" if loop == DEFAULT_LOOP else f"{_LOOPS}{loop}") + "/console"


def build_link(path: str, **query: object) -> str:
    """An address under the console; what is None is left out of the query."""
    given = {name: value for name, value in query.items() if value is not None}
    return build_address(f"/console{path}") + (f"?{urlencode(given)}" if given else "")


def format_count(number: float | None) -> str:
    """A whole number with separators."""
    return _PLACEHOLDER if number is None else f"{number:,}"


def format_capped_count(number: int) -> str:
    """A count that went no further than ``MAX_COUNTED``."""
    return f"{number:,}+" if number >= MAX_COUNTED else f"{number:,}"


def format_decimal(number: float | None, digits: int = 3) -> str:
    """A number with a given number of decimals, and a minus that is as wide as a plus."""
    return _PLACEHOLDER if number is None else f"{number:.{digits}f}".replace("-", _MINUS)


def format_signed(number: float | None, digits: int = 3) -> str:
    """The same with its sign; what rounds to 0 has none."""
    if number is None:
        return _PLACEHOLDER
    return format_decimal(0.0, digits) if round(number, digits) == 0 else f"{number:+.{digits}f}".replace("-", _MINUS)


def format_percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage."""
    return _PLACEHOLDER if share is None else f"{share * 100:.{digits}f}\N{NARROW NO-BREAK SPACE}%".replace("-", _MINUS)


def format_time(ts: float | str | None) -> str:
    """A time, in UTC, from seconds since the epoch or from ISO 8601."""
    if ts is None:
        return _PLACEHOLDER
    at = datetime.fromisoformat(ts) if isinstance(ts, str) else to_datetime(ts)
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S}")


def format_minute(ts: float | None) -> str:
    """A time to the minute, in UTC, from seconds since the epoch."""
    if ts is None:
        return _PLACEHOLDER
    at = to_datetime(ts)
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), f"{at:%Y-%m-%d %H:%M}")


def format_duration(seconds: float | None) -> str:
    """A length of time in words."""
    if seconds is None:
        return _PLACEHOLDER
    if seconds < 1:
        return "under a second"
    for name, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length * 2:
            return f"{seconds / length:.0f} {name}s"
    return "1 second" if round(seconds) == 1 else f"{seconds:.0f} seconds"


def format_latency(seconds: float | None) -> str:
    """How long an answer took, in milliseconds."""
    if seconds is None:
        return "beyond 10 s"
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:,.0f} ms"  # noqa: PLR2004 (below, a tenth counts)


def format_size(size: float) -> str:
    """A number of bytes.

    >>> format_size(1_536)
    '1.5 kB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1024:  # noqa: PLR2004 (bytes in a kB)
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TB"


def format_parameters(values: Mapping[str, Any]) -> str:
    """Parameters on one line."""
    return ", ".join(
        f"{name} = {value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()
    )
