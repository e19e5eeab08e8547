"""Whether a host is this machine."""

from ipaddress import ip_address


def is_loopback(name: str) -> bool:
    """Return whether a host's name or address means this machine.

    Args:
        name: in small letters, an address of IPv6 without its brackets.

    >>> is_loopback("localhost"), is_loopback("dev.localhost"), is_loopback("127.0.0.2"), is_loopback("::1")
    (True, True, True, True)
    >>> is_loopback("localhost.example"), is_loopback("10.0.0.1"), is_loopback("")
    (False, False, False)
    """
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
