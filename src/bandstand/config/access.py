"""Settings of who may call, and under which names."""

import hashlib
import ipaddress
import re
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator
from pydantic_settings import NoDecode

from bandstand.config.fields import HEADER_TEXT, SWITCH, make_setting
from bandstand.definition import is_name

Role = Literal["serve", "read", "admin"]
"""What an API key opens: ``serve`` the product's calls, ``read`` the looking, ``admin`` everything."""

_ROLES: dict[str, Role] = {role: role for role in get_args(Role)}
_KEY_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One caller: the name stored on its events, what it may do, and the SHA-256 of its secret (never the secret).

    Attributes:
        loop: the one that it is bound to; ``None`` for all.
    """

    name: str
    role: Role
    digest: bytes = field(repr=False)
    loop: str | None = None


def _parse_key(entry: str) -> ApiKey:
    # What a mistaken order puts into a name's or a role's place may be the secret: no part is ever shown.
    caller, _, rest = entry.partition(":")
    name, bound, loop = caller.partition("@")
    role_name, _, secret = rest.partition(":")
    if not secret:
        raise ValueError("it has fewer than three parts")
    if not _KEY_NAME.fullmatch(name):
        raise ValueError("its name must be 1 to 64 of A-Z a-z 0-9 . _ -")
    if bound and not is_name(loop):
        raise ValueError("after its name and @ must stand the name of a loop")
    role = _ROLES.get(role_name)
    if role is None:
        raise ValueError(f"its role must be one of {', '.join(_ROLES)}")
    if secret.startswith("sha256:"):
        hexadecimal = secret.removeprefix("sha256:")
        if not _KEY_DIGEST.fullmatch(hexadecimal):
            raise ValueError("sha256: must be followed by 64 hexadecimal digits")
        return ApiKey(name, role, bytes.fromhex(hexadecimal), loop or None)
    if not HEADER_TEXT.fullmatch(secret):
        raise ValueError("its secret must be printable ASCII without spaces, to fit into a header")
    return ApiKey(name, role, hashlib.sha256(secret.encode()).digest(), loop or None)


def _parse_keys(value: object) -> object:
    if not isinstance(value, str):
        return value
    keys: list[ApiKey] = []
    for number, entry in enumerate(value.split(",") if value else [], start=1):
        try:
            key = _parse_key(entry.strip())
        except ValueError as error:
            raise ValueError(f"entry {number}: {error}") from None
        for earlier, other in enumerate(keys, start=1):
            if key.name == other.name:
                raise ValueError(f"entry {number}: its name is that of entry {earlier}")
            if key.digest == other.digest:
                raise ValueError(f"entry {number}: its secret is that of entry {earlier}")
        keys.append(key)
    return tuple(keys)


def _parse_hosts(value: object) -> object:
    if not isinstance(value, str):
        return value
    hosts = tuple(host.strip().lower() for host in value.split(",")) if value else ()
    for number, host in enumerate(hosts, start=1):
        if host != "*" and not _is_host(host.removeprefix("*.").removeprefix(".")):
            raise ValueError(f"entry {number} is neither a host name nor an address, a .suffix, a network or *")
    return hosts


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_network(host)
    except ValueError:
        return _HOST_NAME.fullmatch(host) is not None
    return True


class AccessSettings(BaseModel):
    """Who may call, and under which names."""

    api_keys: Annotated[tuple[ApiKey, ...], NoDecode, BeforeValidator(_parse_keys)] = make_setting(
        "Who may call, from `Authorization: Bearer` or `X-API-Key`; unset, everyone on this machine.",
        f"a comma list of name:role:secret or name:role:sha256:hex, where role is one of {', '.join(_ROLES)}; "
        "name@loop binds a key to a loop",
        default=(),
    )
    read_content: bool = make_setting(
        "Let keys of the role `read` see contents, raw features and what quotes users' words; if off, only `admin` "
        "keys do.",
        SWITCH,
        default=True,
    )
    allow_open: bool = make_setting(
        "Serve a network without API keys; only if something in front decides who may call.", SWITCH, default=False
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_hosts)] = make_setting(
        "Names other than loopback that a request's `Host` may carry while there are no API keys; `*` is any.",
        "a comma list of host names, addresses, .suffixes, networks such as 10.0.0.0/8, or *; without ports",
        default=(),
    )
