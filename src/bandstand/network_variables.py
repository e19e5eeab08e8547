"""The variables of the environment that the HTTP clients obey: proxies and certificates.

The clients read them when they are made, and raise whatever comes; what they would stumble over is named first.
No value is ever shown: a proxy's may hold a password.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from bandstand.errors import ConfigurationError

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_SCHEMES = ("http", "https", "socks5", "socks5h")


def check_network_variables(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse variables with which no HTTP client can be made.

    Raises:
        ConfigurationError: its one line names the first such variable, and what is wrong with it.
    """
    for name in _iter_set(_PROXIES, environment):
        fault = _find_proxy_fault(environment[name])
        if fault:
            raise ConfigurationError(f"the environment's {name} {fault}; mend it, or unset it")
    for name in _iter_set(("SSL_CERT_FILE",), environment):
        if not Path(environment[name]).is_file():
            raise ConfigurationError(f"the environment's {name} names no file; mend it, or unset it")


def to_configuration_error(error: Exception) -> ConfigurationError:
    """What is wrong where a client could not be made for a reason that the check did not foresee."""
    names = (*_iter_set((*_PROXIES, "NO_PROXY"), os.environ), *_iter_set(("SSL_CERT_FILE", "SSL_CERT_DIR"), os.environ))
    blamed = ", ".join(names) or "proxies or certificates"
    return ConfigurationError(f"the environment's {blamed} cannot be used ({type(error).__name__})")


def _iter_set(names: tuple[str, ...], environment: Mapping[str, str]) -> Iterator[str]:
    for name in names:
        yield from (each for each in (name.lower(), name) if environment.get(each))


def _find_proxy_fault(value: str) -> str:
    try:
        url = urlsplit(value if "://" in value else f"http://{value}")
        is_whole = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        return "is no address of a proxy"
    if url.scheme.lower() not in _SCHEMES:
        return f"is not of a kind that is known ({', '.join(f'{scheme}://' for scheme in _SCHEMES)})"
    return "" if is_whole and value.isprintable() and " " not in value else "is no address of a proxy"
