"""Who may do what: API keys and roles; without keys, only what cannot be a web page's doing."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol
from urllib.parse import urlsplit

from bandstand.api.asgi.host_patterns import HostPatterns
from bandstand.api.problems import ForbiddenError, HostRefusedError, UnauthorizedError
from bandstand.bandit.loop_definition import DEFAULT_LOOP
from bandstand.loopback import is_loopback

Role = Literal["open", "page", "serve", "read", "admin"]
"""What a request needs: nothing (``open``), nothing but a page asks for a key itself (``page``), or a key's role."""
Headers = Mapping[bytes, bytes]

ANONYMOUS = "anonymous"

_OPEN = frozenset({"health", "ready"})
_PAGES = frozenset({"", "console", "docs"})  # they ask for a key themselves: a browser sends none
_SERVE = frozenset({"score", "reward", "generate", "recommend", "judge", "classify", "arbitrate"})
_SIGHT = frozenset({"stats", "picks", "features", "decisions", "judgements", "prompts", "policies", "loops"})
_READ = _SIGHT | {"metrics", "openapi.json"}
_ADMIN = frozenset({"reset", "users", "simulations", "evaluations", "revocations", "reactions"})
_FOREIGN = frozenset({"personalizer"})  # another wire, which says itself what its calls need
OWN_SEGMENTS = (_OPEN | _PAGES | _SERVE | _READ | _ADMIN | _FOREIGN) - {""}
"""With which the service's own paths begin."""


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

    @property
    def loop(self) -> str | None:
        """The loop that it is bound to; ``None`` for all."""


def get_required_role(method: str, path: str) -> Role:
    """The role a request needs, by its first path segment; what is not named here is for admins."""
    first = path.split("/", 2)[1] if path.startswith("/") else ""
    if first == "console":
        return "page"
    if method in ("GET", "HEAD"):
        if first in _PAGES:
            return "page"
        if first in _OPEN:
            return "open"
        if first in _READ:
            return "read"
    elif method == "POST" and (first in _SERVE or (first == "decisions" and path.endswith("/activate"))):
        return "serve"
    return "admin"


class Access:
    """Admits requests to one loop.

    Args:
        keys: the configured API keys; with none, everybody on this machine is admitted.
        allowed_hosts: names under which a service without keys may be called, besides loopback; see
            :class:`bandstand.api.asgi.host_patterns.HostPatterns`.
        loop: to which requests are admitted.
        read_content: whether the role ``read`` may see contents, raw features and what quotes users' words.

    Attributes:
        binds_keys: whether some key is bound to a loop.
    """

    def __init__(
        self,
        keys: Sequence[AccessKey],
        allowed_hosts: Sequence[str] = (),
        *,
        loop: str = DEFAULT_LOOP,
        read_content: bool = True,
    ) -> None:
        self._keys = tuple(keys)
        self._loop = loop
        self._read_content = read_content
        self.binds_keys = any(key.loop is not None for key in self._keys)
        self._allowed_hosts = HostPatterns(allowed_hosts)
        self._recognised: dict[bytes, AccessKey] = {}  # by secret: at most as many as there are keys

    def authorize(self, headers: Headers, role: Role) -> str:
        """The name of the caller.

        Raises:
            UnauthorizedError: no valid key.
            ForbiddenError: the key's role does not reach, or another site's page sent this.
            HostRefusedError: a keyless service was called by a strange name.
        """
        if not self._keys:
            self._check_local(headers, is_probe=role == "open")
            return ANONYMOUS
        if role in {"open", "page"}:
            return ANONYMOUS
        key = self._require_key(headers)
        if key.loop is not None and key.loop != self._loop:
            message = "this key is bound to another loop"
            raise ForbiddenError(message)
        if key.role not in (role, "admin"):
            message = f"this needs the role {role}"
            raise ForbiddenError(message)
        return key.name

    def refuse_strangers(self, headers: Headers) -> None:
        """Let every caller of ours pass, whatever its role.

        Raises:
            UnauthorizedError, ForbiddenError, HostRefusedError: as :meth:`authorize`.
        """
        if self._keys:
            self._require_key(headers)
        else:
            self._check_local(headers, is_probe=False)

    def _require_key(self, headers: Headers) -> AccessKey:
        key = self._find_key(headers)
        if key is None:
            message = "give an API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
            raise UnauthorizedError(message)
        return key

    def may_see_content(self, headers: Headers) -> bool:
        """Whether an admitted caller may see contents, raw features and what quotes users' words."""
        if self._read_content or not self._keys:
            return True
        key = self._find_key(headers)
        return key is not None and key.role == "admin"

    def find_bound_loop(self, headers: Headers) -> str | None:
        """The loop that the caller's key is bound to; ``None`` if it is bound to none, or is unknown."""
        key = self._find_key(headers) if self.binds_keys else None
        return None if key is None else key.loop

    def _find_key(self, headers: Headers) -> AccessKey | None:
        secret = headers.get(b"x-api-key", b"")
        if (authorization := headers.get(b"authorization")) is not None:
            scheme, _, token = authorization.partition(b" ")
            if scheme.lower() == b"bearer":
                secret = token.strip()
        # Found by a keyed hash, and only what was compared in full before: a wrong secret tells nothing by its time.
        found = self._recognised.get(secret)
        if found is not None:
            return found
        digest = hashlib.sha256(secret).digest()
        for key in self._keys:  # all of them, whichever matches: the time tells nothing
            if hmac.compare_digest(key.digest, digest):
                found = self._recognised[secret] = key
        return found

    def _check_local(self, headers: Headers, *, is_probe: bool) -> None:
        """Refuse requests that a web page may have caused, even through a name of its own for our address.

        No browser leaves the ``Host`` out, and a balancer's probe comes under whatever name.
        """
        host = headers.get(b"host")
        named = "" if host is None else host.decode("latin-1")
        if not (host is None or is_probe or self._is_own_host(_parse_host_name(named))):
            message = "without API keys this service answers only on loopback names and those in ALLOWED_HOSTS"
            raise HostRefusedError(message)
        origin = headers.get(b"origin")
        foreign = origin is not None and not self._is_own_origin(origin.decode("latin-1"), named)
        if foreign or headers.get(b"sec-fetch-site") == b"cross-site":
            message = "requests from other sites' pages are refused while there are no API keys"
            raise ForbiddenError(message)

    def _is_own_origin(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.netloc.lower() == host.lower() and host:
            return True
        return self._allowed_hosts.matches(parts.hostname or "")

    def _is_own_host(self, name: str) -> bool:
        return is_loopback(name) or self._allowed_hosts.allows_any or self._allowed_hosts.matches(name)


def _parse_host_name(host: str) -> str:
    """The name in a Host header: without port, without the brackets of IPv6."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
