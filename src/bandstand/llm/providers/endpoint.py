"""Where a provider is, how one HTTP call to it is bounded, and what its failures mean."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from urllib.request import getproxies

import httpx2

from bandstand.errors import ConfigurationError
from bandstand.llm.errors import ChatStatusError, ChatTimeoutError, ChatUnreachableError
from bandstand.llm.providers.plain_http import PlainHTTPTransport
from bandstand.loopback import is_loopback
from bandstand.network_variables import check_network_variables, to_configuration_error

_CONNECT_S = 5.0


class Endpoint:
    """One provider's base URL with the HTTP client for it, bound to the event loop of its first call.

    Loopback hosts are called without looking at proxy variables; redirects are never followed, so that a key goes to
    the configured host only.

    Args:
        base_url: ``http`` or ``https``, without credentials.
        call_timeout_s: the longest one call may take.
        max_connections: how many calls may be on the wire at once.
        clock: monotonic seconds, the scale of every deadline.
        wall_clock: seconds since the epoch, for dates in ``Retry-After``.

    Raises:
        ConfigurationError: the URL is not one, or the environment's proxies or certificates cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        call_timeout_s: float,
        max_connections: int = 100,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        host = _parse_host(base_url)
        self.base_url = base_url
        self.host = host
        self._call_timeout_s = call_timeout_s
        self._clock = clock
        self._wall_clock = wall_clock
        self._loop: asyncio.AbstractEventLoop | None = None
        if not is_local(host):
            check_network_variables()
        try:
            self.http = httpx2.AsyncClient(
                transport=PlainHTTPTransport(max_connections) if _is_near(base_url, host) else None,
                trust_env=not is_local(host),
                follow_redirects=False,
                limits=httpx2.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
            )
        except (ImportError, ValueError, OSError, httpx2.InvalidURL) as error:  # of whatever the environment says
            raise to_configuration_error(error) from error

    @asynccontextmanager
    async def call(self, deadline: float) -> AsyncIterator[httpx2.Timeout]:
        """Bound one call by its own limit and by ``deadline``; yields the timeout to hand to the HTTP client.

        Raises:
            ChatTimeoutError: no time was left, or it ran out.
        """
        self._check_event_loop()
        seconds = min(self._call_timeout_s, deadline - self._clock())
        if seconds <= 0:
            raise ChatTimeoutError("No time was left to ask the model.", sent=False)
        try:
            # httpx bounds each phase on its own; a provider that trickles bytes is bounded only by the whole.
            async with asyncio.timeout(seconds):
                yield httpx2.Timeout(seconds, connect=min(_CONNECT_S, seconds))
        except TimeoutError:
            raise ChatTimeoutError("The model did not answer in time.") from None

    @staticmethod
    def to_timeout_error(error: Exception) -> ChatTimeoutError:
        """The error that a provider SDK's timeout amounts to."""
        return ChatTimeoutError("The model did not answer in time.", sent=not _is_unsent(error.__cause__))

    @staticmethod
    def to_unreachable_error(error: Exception) -> ChatUnreachableError:
        """The error that a provider SDK's connection error amounts to."""
        return ChatUnreachableError("The model provider cannot be reached.", sent=not _is_unsent(error.__cause__))

    def to_status_error(self, response: httpx2.Response) -> ChatStatusError:
        """The error that an answer's status and headers amount to; its body is not looked at."""
        wait = parse_retry_after(response.headers, self._wall_clock())
        return ChatStatusError(response.status_code, retry_after_s=wait)

    def _check_event_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError("A chat client belongs to the event loop it was first used in: make one for each loop.")


def is_local(host: str) -> bool:
    """Whether a host as a URL may spell it means this machine: with brackets, capitals, or the root's dot."""
    return is_loopback(host.strip("[]").rstrip(".").lower())


def _is_near(base_url: str, host: str) -> bool:
    """Whether plain HTTP reaches it without a proxy; if any proxies are set, httpx2 knows their rules."""
    return httpx2.URL(base_url).scheme == "http" and (is_local(host) or not getproxies())


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds a provider asks to wait: ``Retry-After-Ms``, or ``Retry-After`` as seconds or as a date (RFC 9110).

    Args:
        headers: with case-insensitive names.
        now: seconds since the epoch.

    Returns:
        At least 0, or None if there is no such header or it makes no sense.
    """
    milliseconds = _parse_seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _parse_seconds(value)
    if seconds is not None or value is None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _is_unsent(cause: BaseException | None) -> bool:
    return isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)


def _parse_seconds(value: str | None) -> float | None:
    try:
        seconds = float(value) if value is not None else -1.0
    except ValueError:
        return None
    # The comparison refuses NaN as well.
    return seconds if 0 <= seconds < float("inf") else None


def _parse_host(base_url: str) -> str:
    try:
        url = httpx2.URL(base_url)
    except (httpx2.InvalidURL, TypeError):
        raise ConfigurationError("The model provider's URL is not a URL.") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError("The model provider's URL must start with http:// or https:// and name a host.")
    if url.userinfo:
        raise ConfigurationError("The model provider's URL must not hold credentials: use the key's own setting.")
    return url.host
