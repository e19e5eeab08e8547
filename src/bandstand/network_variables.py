"""The variables of the environment that the HTTP clients obey: proxies and certificates.

The clients read them when they are made, and raise whatever comes; what they would stumble over is named first.
No value is ever shown: a proxy's may hold a password.
"""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from bandstand.errors import ConfigurationError

_PROXIED = ("http", "https", "all")
_SCHEMES = ("http", "https", "socks5", "socks5h")


def check_network_variables(certificates: str | None = None) -> None:
    """Refuse variables with which no HTTP client can be made.

    Args:
        certificates: the value of ``SSL_CERT_FILE``, where the caller knows it.

    Raises:
        ConfigurationError: its one line names the first such variable, and what is wrong with it.
    """
    proxies = getproxies()
    for scheme in _PROXIED:
        fault = _find_proxy_fault(proxies[scheme]) if scheme in proxies else ""
        if fault:
            raise ConfigurationError(f"the environment's {scheme.upper()}_PROXY {fault}; mend it, or unset it")
    if certificates and not Path(certificates).is_file():
        raise ConfigurationError("the environment's SSL_CERT_FILE names no file; mend it, or unset it")


def to_configuration_error(error: Exception) -> ConfigurationError:
    """What is wrong where a client could not be made for a reason that the check did not foresee."""
    set_ones = [f"{scheme.upper()}_PROXY" for scheme in (*_PROXIED, "no") if scheme in getproxies()]
    blamed = "SSL_CERT_FILE or SSL_CERT_DIR" if isinstance(error, OSError) or not set_ones else ", ".join(set_ones)
    return ConfigurationError(f"the environment's {blamed} cannot be used ({type(error).__name__})")


def _find_proxy_fault(value: str) -> str:
    try:
        url = urlsplit(value if "://" in value else f"http://{value}")
        is_whole = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        return "is no address of a proxy"
    if url.scheme.lower() not in _SCHEMES:
        return f"is not of a kind that is known ({', '.join(_SCHEMES)})"
    return "" if is_whole and value.isprintable() and " " not in value else "is no address of a proxy"
