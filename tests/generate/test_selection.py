"""Which version a request gets."""

from collections import Counter

import pytest

from bandstand.errors import ConfigurationError, InvalidRequestError
from bandstand.generate.selection import default_versions, select_prompt, uniform
from tests.generate.given import SHIPPED


@pytest.mark.parametrize(
    ("setting", "versions"),
    [
        ("", ("v1",)),
        (" , ", ("v1",)),
        ("v2-mentor", ("v2-mentor",)),
        (" v2-mentor, v1 ,", ("v2-mentor", "v1")),
        ("v1,v1,v3-few-shot", ("v1", "v3-few-shot")),
    ],
)
def test_the_setting_stands_for_versions(setting: str, versions: tuple[str, ...]) -> None:
    assert default_versions(setting, SHIPPED) == versions


@pytest.mark.parametrize("setting", ["v9", "v1,v9"])
def test_an_unknown_default_ends_start_up(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=r"DEFAULT_PROMPT_VERSION names 'v9'; there is v1, v2-mentor"):
        default_versions(setting, SHIPPED)


@pytest.mark.parametrize("u", [0.0, 0.99])
def test_a_named_version_is_used_whatever_the_draw(u: float) -> None:
    prompt, propensity = select_prompt("v3-few-shot", uniform(("v1", "v2-mentor")), SHIPPED, u=u)
    assert (prompt.version, propensity) == ("v3-few-shot", None)


@pytest.mark.parametrize("requested", [None, ""])
def test_the_defaults_are_drawn_uniformly(requested: str | None) -> None:
    shares = uniform(("v1", "v2-mentor", "v3-few-shot"))
    draws = Counter(select_prompt(requested, shares, SHIPPED, u=i / 300).prompt.version for i in range(300))
    assert draws == dict.fromkeys(shares, 100)


def test_each_version_is_drawn_by_its_share_and_says_so() -> None:
    shares = {"v1": 0.25, "v2-mentor": 0.0, "v3-few-shot": 0.75}
    drawn = [select_prompt(None, shares, SHIPPED, u=i / 100) for i in range(100)]
    assert Counter(selected.prompt.version for selected in drawn) == {"v1": 25, "v3-few-shot": 75}
    assert all(selected.propensity == shares[selected.prompt.version] for selected in drawn)


def test_the_draw_never_leaves_the_list() -> None:
    assert select_prompt(None, {"v1": 0.1, "v2-mentor": 0.899}, SHIPPED, u=0.9999).prompt.version == "v2-mentor"


@pytest.mark.parametrize("requested", ["v9", "auto", "v1,v2-mentor", "../v1", "\x1b[31m"])
def test_an_unknown_version_is_refused_without_an_echo(requested: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        select_prompt(requested, {"v1": 1.0}, SHIPPED, u=0.5)
    (field,) = caught.value.errors
    assert field == ("prompt_version", "must be one of v1, v2-mentor, v3-few-shot")
    assert requested not in caught.value.detail
