"""Who is at the console: a key given once, then a signed cookie; and the token that every form must carry.

A cookie is ``name.person.expiry.nonce.signature``. The signature is keyed by the deployment's secret and covers the
digest of the API key, so that a cookie ends when it expires, when its key leaves the settings and when the key's secret
changes; nothing is kept on the server. A form's token is another signature over the same visit.
"""

import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bandstand.bandit.loop_definition import DEFAULT_LOOP
from bandstand.times import is_ahead

COOKIE = "bandstand_console"
LOOP_COOKIE = "bandstand_loops"
"""The same log-in below ``/loops``: a cookie has one path."""

SESSION_SECONDS = 12 * 3600

ANONYMOUS = "anonymous"

_ROLE = "admin"
_PARTS = 5
MAX_PERSON = 64
"""Characters of a person's name."""

_MAX_DIGITS = 12


class ConsoleKey(Protocol):
    """A configured API key; ``digest`` is the SHA-256 of its secret."""

    @property
    def name(self) -> str:
        """Stored on every event that the key causes."""

    @property
    def role(self) -> str:
        """Only ``admin`` opens the console."""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the secret, 32 bytes."""

    @property
    def loop(self) -> str | None:
        """The loop that it is bound to; ``None`` for all."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A person at the console.

    Attributes:
        client: the name that events they cause are given: that of their key.
        token: what their forms carry.
        person: what they said they are called; empty where they did not.
        keyed: whether a key was given; if not, no keys are configured, and there is no log-out.
    """

    client: str
    token: str
    keyed: bool
    person: str = ""

    @property
    def author(self) -> str:
        """Who a verdict of theirs is by: never the key, which several people may use."""
        return self.person or "a person"


class Sessions:
    """Opens and recognises visits.

    Args:
        keys: the configured API keys; with none, everybody whom the gate admits is at home.
        secret: gives the deployment's secret, once the store is open.
        clock: seconds since the epoch.
        loop: whose console it is.
    """

    def __init__(
        self,
        keys: Sequence[ConsoleKey],
        secret: Callable[[], bytes],
        *,
        clock: Callable[[], float] = time.time,
        loop: str = DEFAULT_LOOP,
    ) -> None:
        self._keys = tuple(keys)
        self._loop = loop
        self._secret = secret
        self._clock = clock

    @property
    def cookie(self) -> str:
        """The name of the cookie that this console reads."""
        return COOKIE if self._loop == DEFAULT_LOOP else LOOP_COOKIE

    @property
    def requires_key(self) -> bool:
        """Whether a key is needed."""
        return bool(self._keys)

    def login(self, secret: str, person: str = "") -> str | None:
        """The cookie for the admin key of that secret, in the hand of that person; None if there is none."""
        digest = hashlib.sha256(secret.encode()).digest()
        found = None
        for key in self._keys:  # all of them, whichever matches: the time tells nothing
            if hmac.compare_digest(key.digest, digest) and self._opens(key):
                found = key
        if found is None:
            return None
        shown = " ".join(person.split())[:MAX_PERSON]
        names = ".".join(urlsafe_b64encode(each.encode()).decode().rstrip("=") for each in (found.name, shown))
        visit = f"{names}.{int(self._clock()) + SESSION_SECONDS}.{secrets.token_hex(8)}"
        return f"{visit}.{self._sign('visit', visit, found.digest)}"

    def find_visit(self, cookie: str | None) -> Visit | None:
        """Who comes with that cookie; None if they must log in."""
        if not self._keys:
            return Visit(ANONYMOUS, self._sign("form", ANONYMOUS), keyed=False)
        key, visit = self._verify_cookie(cookie or "")
        if key is None:
            return None
        person = _decode_name(visit.split(".")[1]) or ""
        return Visit(key.name, self._sign("form", visit, key.digest), keyed=True, person=person)

    def get_login_token(self) -> str:
        """What the log-in form carries."""
        return self._sign("login", "")

    def _opens(self, key: ConsoleKey) -> bool:
        return key.role == _ROLE and key.loop in {None, self._loop}

    def _verify_cookie(self, cookie: str) -> tuple[ConsoleKey | None, str]:
        visit, _, signature = cookie.rpartition(".")
        parts = cookie.split(".")
        if len(parts) != _PARTS or not cookie.isascii():
            return None, ""
        expiry = parts[2]
        if not expiry.isdigit() or len(expiry) > _MAX_DIGITS or int(expiry) <= self._clock():
            return None, ""
        if is_ahead(int(expiry) - SESSION_SECONDS, self._clock()):
            return None, ""  # begun under a clock that was ahead, it would last for too long
        name = _decode_name(parts[0])
        for key in self._keys:
            if key.name == name and self._opens(key):
                known = hmac.compare_digest(self._sign("visit", visit, key.digest), signature)
                return (key, visit) if known else (None, "")
        return None, ""

    def _sign(self, purpose: str, text: str, digest: bytes = b"") -> str:
        key = hashlib.blake2b(digest, key=self._secret(), digest_size=32, person=b"console").digest()
        return hmac.new(key, f"{purpose}\n{text}".encode(), hashlib.sha256).hexdigest()


def _decode_name(name: str) -> str | None:
    try:
        return urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
    except ValueError:
        return None
