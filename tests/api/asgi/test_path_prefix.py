"""Under which path a proxy shows the service: what is cut off, and what answers begin their addresses with."""

import pytest

from bandstand.api.asgi.path_prefix import PathPrefix, parse_prefix


@pytest.mark.parametrize("text", ["", "/", "/a", "/a/", "/a/b-c/d_e.f~1", "/" + "a" * 255])
def test_a_path_is_a_prefix_without_its_last_slash(text: str) -> None:
    assert parse_prefix(text) == text.removesuffix("/")


@pytest.mark.parametrize(
    "text",
    [
        *("a", "a/b", "//evil.example", "/a//b", "/.", "/..", "/a/../b", "/a b", '/"', "/<", "/a?b", "/a#b", "/%2e"),
        *("/é", "/a\r\nb", "/" + "a" * 257, "https://evil.example", "\\evil"),
    ],
)
def test_what_could_lead_elsewhere_is_none(text: str) -> None:
    assert parse_prefix(text) is None
    assert PathPrefix("/own").find({b"x-forwarded-prefix": text.encode("utf-8")}) == "/own"


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("/bandit/score", "/score"),
        ("/bandit/stats/a%2Fb", "/stats/a%2Fb"),
        ("/bandit/", "/"),
        ("/bandit", "/"),
        ("/score", "/score"),
        ("/bandits", "/bandits"),
        ("/", "/"),
        ("/a/bandit/score", "/a/bandit/score"),
    ],
)
def test_a_prefix_that_the_proxy_left_is_cut_off(path: str, ours: str) -> None:
    assert PathPrefix("/bandit").strip(path) == ours
    assert PathPrefix().strip(path) == path


def test_the_proxy_s_word_comes_before_the_setting() -> None:
    assert PathPrefix("/own").find({b"x-forwarded-prefix": b"/theirs/"}) == "/theirs"
    assert PathPrefix("/own").find({b"x-forwarded-prefix": b"/outer, /inner"}) == "/outer/inner"
    assert PathPrefix("/own").find({}) == "/own"
    assert PathPrefix().find({}) == ""
