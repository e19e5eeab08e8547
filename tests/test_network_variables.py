"""What the HTTP clients read of the environment is checked before they are made, and named without its value."""

import os

import httpx
import httpx2
import pytest

from bandstand.cli.state.access import call_service
from bandstand.errors import ConfigurationError
from bandstand.llm.providers.endpoint import Endpoint
from bandstand.network_variables import check_network_variables, to_configuration_error

GOOD = (
    "socks5://127.0.0.1:9",
    "socks5h://user:secret@h:1",
    "http://h:3128",
    "https://h",
    "h:3128",
    "HTTP://h:1",
)
BAD = (
    *("socks4://h:1", "socks://h:1", "ftp://h:1", "http://", "://", "http://[::1", "http://h:x", "http://h:99999"),
    *("http://a b:1", "http://h:0", " http://h:1", "http://user:c4n4ry@"),
)
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy", "https_proxy")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().endswith("_PROXY") or name.startswith("SSL_CERT"):
            monkeypatch.delenv(name)


def build_endpoint() -> Endpoint:
    return Endpoint("http://judge.example.org/v1", call_timeout_s=1.0)


@pytest.mark.parametrize("value", GOOD)
@pytest.mark.parametrize("name", NAMES)
def test_proxies_of_every_known_kind_are_used(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    check_network_variables()
    httpx.Client().close()
    build_endpoint()


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("name", NAMES)
def test_a_broken_proxy_is_one_line_with_its_name_and_not_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    for ask in (build_endpoint, lambda: call_service("http://bandstand.example.org", None, "GET", "/health")):
        with pytest.raises(ConfigurationError) as caught:
            ask()
        assert name.upper() in caught.value.detail
        assert "\n" not in caught.value.detail
        assert value.removesuffix("://") not in caught.value.detail or value == "://"
        assert "c4n4ry" not in caught.value.detail


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_refused_for_a_host_of_this_machine(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "socks4://h:1")
    Endpoint("http://localhost:4000", call_timeout_s=1.0)


def test_certificates_that_are_not_there_are_named() -> None:
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE names no file"):
        check_network_variables("/nowhere/ca.pem")
    check_network_variables(__file__)
    check_network_variables("")


@pytest.mark.parametrize("place", [__file__, "/nowhere/ca.pem"])
def test_what_no_check_foresaw_is_named_all_the_same(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", place)
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE or SSL_CERT_DIR cannot be used"):
        Endpoint("https://judge.example.org/v1", call_timeout_s=1.0)
    monkeypatch.setenv("ALL_PROXY", "http://h:1")
    detail = to_configuration_error(ValueError("c4n4ry")).detail
    assert detail == "the environment's ALL_PROXY cannot be used (ValueError)"


def test_a_client_that_can_be_made_is_never_refused_and_one_that_cannot_always_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for value in (*GOOD, *BAD, "0.0.0.0:3", "//h:1", "h", "http:/h", "socks5://h", "SOCKS5://h:1", "x://y"):
        monkeypatch.setenv("ALL_PROXY", value)
        try:
            httpx2.Client().close()
        except (ValueError, ImportError, httpx2.InvalidURL):
            with pytest.raises(ConfigurationError):
                check_network_variables()
