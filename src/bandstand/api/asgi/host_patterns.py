"""Names of hosts as a deployment allows them: names, addresses, ``.suffix``, networks, and ``*`` for any."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

ANY = "*"


class HostPatterns:
    """Returns whether a host is one of those allowed.

    Args:
        patterns: a name or an address; ``.example.com`` or ``*.example.com`` for a domain and all below it; a network
            such as ``10.0.0.0/8``; ``*`` for any host.

    >>> patterns = HostPatterns(["box.lan", ".example.com", "10.0.0.0/8"])
    >>> [patterns.matches(name) for name in ("box.lan", "example.com", "a.b.example.com", "10.1.2.3")]
    [True, True, True, True]
    >>> [patterns.matches(name) for name in ("a.box.lan", "notexample.com", "11.1.2.3", "10.evil.org")]
    [False, False, False, False]
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        lowered = [pattern.lower() for pattern in patterns]
        self.allows_any = ANY in lowered
        self._networks = [network for network in map(_parse_network, lowered) if network is not None]
        self._suffixes = tuple(each.removeprefix(ANY) for each in lowered if each.startswith((".", "*.")))
        self._names = frozenset(lowered) | {suffix[1:] for suffix in self._suffixes}

    def matches(self, name: str) -> bool:
        """Whether a host is named, in small letters and without brackets or port; ``*`` names none."""
        if name in self._names and name != ANY:
            return True
        if self._suffixes and name.endswith(self._suffixes):
            return True
        return bool(self._networks) and self._is_in_network(name)

    def _is_in_network(self, name: str) -> bool:
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _parse_network(pattern: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(pattern)
    except ValueError:
        return None
