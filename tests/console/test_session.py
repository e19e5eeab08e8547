"""Cookies: who is let in by one, and everything that ends one."""

import hashlib

import pytest

from bandstand.config.access import ApiKey
from bandstand.console.session import SESSION_SECONDS, Sessions

NOW = 1_800_000_000.0
SECRET = b"s" * 32


def key(name: str = "ops", role: str = "admin", *, secret: str = "k3y") -> ApiKey:  # noqa: S107 (an invention)
    return ApiKey(name, role, hashlib.sha256(secret.encode()).digest())  # type: ignore[arg-type]  # one of the roles


def build_sessions(*keys: ApiKey, now: float = NOW, secret: bytes = SECRET) -> Sessions:
    return Sessions(keys, lambda: secret, clock=lambda: now)


def cookie(*keys: ApiKey) -> str:
    given = build_sessions(*(keys or (key(),))).login("k3y")
    assert given is not None
    return given


def test_a_key_opens_a_visit_that_knows_its_name() -> None:
    for name in ("ops", "a.b-c_d", "x" * 64):
        visit = build_sessions(key(name)).find_visit(cookie(key(name)))
        assert visit is not None
        assert (visit.client, visit.keyed) == (name, True)


@pytest.mark.parametrize(
    ("said", "person", "author"),
    [("Grace Hopper", "Grace Hopper", "Grace Hopper"), ("  é\n. ", "é .", "é ."), ("", "", "a person")],
)
def test_a_visit_knows_who_has_the_key_in_hand(said: str, person: str, author: str) -> None:
    given = build_sessions(key()).login("k3y", said)
    visit = build_sessions(key()).find_visit(given)
    assert visit is not None
    assert (visit.client, visit.person, visit.author) == ("ops", person, author)
    longest = build_sessions(key()).find_visit(build_sessions(key()).login("k3y", "x" * 500))
    assert longest is not None
    assert longest.person == "x" * 64


@pytest.mark.parametrize("secret", ["", "k3y ", "K3Y", "k3", hashlib.sha256(b"k3y").hexdigest()])
def test_a_wrong_key_opens_none(secret: str) -> None:
    assert build_sessions(key()).login(secret) is None


@pytest.mark.parametrize("role", ["serve", "read"])
def test_only_an_admin_is_let_in(role: str) -> None:
    assert build_sessions(key(role=role)).login("k3y") is None
    assert build_sessions(key(role=role)).find_visit(cookie()) is None, (
        "and one who is no admin any more is let in no more"
    )


def test_a_cookie_ends_after_twelve_hours() -> None:
    given = cookie()
    assert build_sessions(key(), now=NOW + SESSION_SECONDS - 1).find_visit(given) is not None
    assert build_sessions(key(), now=NOW + SESSION_SECONDS).find_visit(given) is None


def test_a_cookie_of_a_clock_that_was_ahead_is_none() -> None:
    given = cookie()
    assert build_sessions(key(), now=NOW - 30).find_visit(given) is not None
    assert build_sessions(key(), now=NOW - 86_400).find_visit(given) is None


def test_a_cookie_ends_with_its_key() -> None:
    given = cookie()
    assert build_sessions(key("other")).find_visit(given) is None
    assert build_sessions(key(secret="another")).find_visit(given) is None
    assert build_sessions(key("other"), key()).find_visit(given) is not None


def test_a_cookie_is_another_deployments_stranger() -> None:
    assert build_sessions(key(), secret=b"t" * 32).find_visit(cookie()) is None


def test_no_character_of_a_cookie_can_be_changed() -> None:
    given = cookie()
    for place, character in enumerate(given):
        for other in "0aZ.":
            forged = f"{given[:place]}{other}{given[place + 1 :]}"
            if character != other:
                assert build_sessions(key()).find_visit(forged) is None, (place, other)


@pytest.mark.parametrize(
    "text", [None, "", ".", "....", "a.b.c.d.e", "é.1.2.3.4", f"b3Bz..{'9' * 5000}.a.b", "ops..²³.a.b"]
)
def test_what_is_no_cookie_opens_nothing(text: str | None) -> None:
    assert build_sessions(key()).find_visit(text) is None


def test_every_visit_has_tokens_of_its_own() -> None:
    one, other = (build_sessions(key()).find_visit(cookie()) for _ in range(2))
    assert one is not None
    assert other is not None
    again = build_sessions(key()).get_login_token()
    assert len({one.token, other.token, again}) == 3


def test_without_keys_everybody_is_at_home() -> None:
    visit = build_sessions().find_visit(None)
    assert visit is not None
    assert (visit.client, visit.keyed) == ("anonymous", False)
    assert visit.token == getattr(build_sessions().find_visit("anything"), "token", None)
