"""Who may do what: API keys and roles; without keys, only what cannot be a web page's doing."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol
from urllib.parse import urlsplit

from bandstand.api.problems import ForbiddenError, HostRefusedError, UnauthorizedError
from bandstand.loopback import is_loopback

Role = Literal["open", "serve", "read", "admin"]
Headers = Mapping[bytes, bytes]

ANONYMOUS = "anonymous"

_OPEN = frozenset({"health", "ready"})
_CONSOLE = "console"  # asks for a key itself: a browser sends none
_SERVE = frozenset({"score", "reward", "generate", "recommend", "judge", "classify", "arbitrate"})
_READ = frozenset(
    {"stats", "features", "decisions", "judgements", "prompts", "policies", "metrics", "docs", "openapi.json"}
)


class AccessKey(Protocol):
    """A configured API key; ``digest`` is the SHA-256 of its secret."""

    @property
    def name(self) -> str:
        """Stored on every event that the key causes."""

    @property
    def role(self) -> str:
        """``serve``, ``read`` or ``admin``."""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the secret, 32 bytes."""


def get_required_role(method: str, path: str) -> Role:
    """The role a request needs, by its first path segment; what is not named here is for admins."""
    first = path.split("/", 2)[1] if path.startswith("/") else ""
    if first == _CONSOLE:
        return "open"
    if method in ("GET", "HEAD"):
        if first in _OPEN:
            return "open"
        if first in _READ:
            return "read"
    elif method == "POST" and first in _SERVE:
        return "serve"
    return "admin"


class Access:
    """Admits requests.

    Args:
        keys: the configured API keys; with none, everybody on this machine is admitted.
        allowed_hosts: names under which a keyless service may be called, beside loopback.
    """

    def __init__(self, keys: Sequence[AccessKey], allowed_hosts: Sequence[str] = ()) -> None:
        self._keys = tuple(keys)
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)

    def authorize(self, headers: Headers, role: Role) -> str:
        """The name of the caller.

        Raises:
            UnauthorizedError: no valid key.
            ForbiddenError: the key's role does not reach, or another site's page sent this.
            HostRefusedError: a keyless service was called by a strange name.
        """
        if not self._keys:
            self._check_local(headers)
            return ANONYMOUS
        if role == "open":
            return ANONYMOUS
        key = self._find_key(headers)
        if key is None:
            message = "give an API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
            raise UnauthorizedError(message)
        if key.role not in (role, "admin"):
            message = f"this needs the role {role}"
            raise ForbiddenError(message)
        return key.name

    def _find_key(self, headers: Headers) -> AccessKey | None:
        secret = headers.get(b"x-api-key", b"")
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            secret = token.strip()
        digest = hashlib.sha256(secret).digest()
        found = None
        for key in self._keys:  # all of them, whichever matches: the time tells nothing
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def _check_local(self, headers: Headers) -> None:
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._is_own_host(_parse_host_name(host)):
            message = "without API keys this service answers only on loopback names and those in ALLOWED_HOSTS"
            raise HostRefusedError(message)
        origin = headers.get(b"origin")
        foreign = origin is not None and not self._is_own_origin(origin.decode("latin-1"), host)
        if foreign or headers.get(b"sec-fetch-site") == b"cross-site":
            message = "requests from other sites' pages are refused while there are no API keys"
            raise ForbiddenError(message)

    def _is_own_origin(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.netloc.lower() == host.lower() or (parts.hostname or "") in self._allowed_hosts

    def _is_own_host(self, name: str) -> bool:
        return name in self._allowed_hosts or is_loopback(name)


def _parse_host_name(host: str) -> str:
    """The name in a Host header: without port, without the brackets of IPv6."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
