"""Loopback names and addresses, and none that only look like one."""

import pytest

from bandstand.loopback import is_loopback


@pytest.mark.parametrize("name", ["localhost", "api.localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine(name: str) -> None:
    assert is_loopback(name)


@pytest.mark.parametrize(
    "name", ["", "example.com", "localhost.example.com", "notlocalhost", "10.0.0.1", "::", "127.0.0.1.example.com"]
)
def test_another_machine(name: str) -> None:
    assert not is_loopback(name)
