"""Loops of the deployment's file, the policies of each, and keys that are bound to one."""

from pathlib import Path
from typing import Any

import pytest

from bandstand.bandit.experiment import Arm, Experiment
from bandstand.bandit.loop_definition import LoopDefinition
from bandstand.config.loops import load_loop_catalogue, load_loops
from bandstand.config.settings import Settings, read_settings
from bandstand.errors import ConfigurationError

SHELF = """
[loops.shelf]
include = []
policy = "shelf"
[loops.shelf.policies.shelf]
kind = "linucb"
schema = "shelf"
[loops.shelf.schemas.shelf]
version = 1
features = [{name = "priority", source = "candidate.priority", encoding = "onehot", values = ["high", "low"]}]
[loops.menu]
mode = "apprentice"
[loops.default]
mode = "logging"
"""


def write(directory: Path, text: str) -> Settings:
    path = directory / "loops.toml"
    path.write_text(text, encoding="utf-8")
    return Settings(bandstand_config=path)


def test_the_file_defines_loops_with_policies_of_their_own(tmp_path: Path) -> None:
    settings = write(tmp_path, SHELF)
    loops = load_loops(settings)
    assert {name: loop.mode for name, loop in loops.items()} == {
        "shelf": "online",
        "menu": "apprentice",
        "default": "logging",
    }
    own = load_loop_catalogue(settings, loops["shelf"])
    assert list(own.policies) == ["shelf", "baseline"], "the default loop's read priority as a number"
    assert own.find_baseline("shelf") is own.policies["baseline"]
    every = load_loop_catalogue(settings, loops["menu"])
    assert {"linucb-v1", "linucb-v2", "first-v1"} <= every.policies.keys()
    assert "baseline" not in every.policies


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[loops.Menu]", "loops.Menu: a loop's name must match"),
        ("[loops.menu]\nmod = 1", "loops.menu.mod: unknown 'mod', did you mean 'mode'"),
        ('[loops.menu]\npolicy = "linucb-v9"', "policy: unknown 'linucb-v9'"),
        ('[loops.menu]\ninclude = ["linucb-v9"]', "include: unknown 'linucb-v9'"),
        ("[loops.menu]\ninclude = []", "policy: unknown 'linucb-v2'"),
        (
            '[loops.menu]\ninclude = []\npolicy = "a"\n[loops.menu.policies.a]\nkind = "linucb"\nschema = "b"',
            "schema: unknown 'b'; there is none",
        ),
        ("loops = 3", "loops: must be a table"),
    ],
)
def test_a_wrong_loop_ends_the_start_with_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_loops(write(tmp_path, text))
    assert caught.value.detail.startswith("BANDSTAND_CONFIG: ")
    assert told in caught.value.detail
    assert "\n" not in caught.value.detail


def test_the_page_s_own_file_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "loops.md").read_text(encoding="utf-8")
    settings = write(tmp_path, page.partition("```toml\n")[2].partition("```")[0])
    loops = load_loops(settings)
    assert list(loops) == ["shelf", "default"]
    assert list(load_loop_catalogue(settings, loops["shelf"]).policies) == ["shelf", "baseline"]


def test_a_key_may_be_bound_to_a_loop() -> None:
    keys = read_settings(api_keys="shop:serve:s3cret,menu-ops@menu:admin:other").api_keys
    assert [(key.name, key.role, key.loop) for key in keys] == [
        ("shop", "serve", None),
        ("menu-ops", "admin", "menu"),
    ]


@pytest.mark.parametrize("entry", ["shop@:serve:s3cret", "shop@Menu:serve:s3cret", "@menu:serve:s3cret"])
def test_a_key_is_bound_to_what_may_be_a_loop(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="entry 1: ") as caught:
        read_settings(api_keys=entry)
    assert "s3cret" not in caught.value.detail


def test_own_policies_of_a_loop_may_replace_the_service_s_but_not_the_contract_s() -> None:
    settings = Settings()
    own: dict[str, Any] = {"linucb-v2": {"kind": "egreedy", "schema": "tips-v2", "epsilon": 0.3}}
    catalogue = load_loop_catalogue(settings, LoopDefinition(name="menu", policies=own))
    assert catalogue.policies["linucb-v2"].kind == "egreedy"
    with pytest.raises(ConfigurationError, match="reserved for the contract"):
        load_loop_catalogue(settings, LoopDefinition(name="menu", policies={"linucb-v1": own["linucb-v2"]}))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"active_policy": "squarecb-v1"}, "ACTIVE_POLICY: unknown 'squarecb-v1'"),
        (
            {"experiment": Experiment("", (Arm("linucb-v2", 1), Arm("thompson-v1", 1)))},
            "EXPERIMENT: unknown 'thompson-v1'",
        ),
        ({"holdout": 0.1}, "HOLDOUT: unknown 'uniform-v1'"),
    ],
)
def test_the_default_loop_cannot_be_without_what_a_setting_has_users_served(
    settings: dict[str, Any], named: str
) -> None:
    chosen = LoopDefinition(name="default", policy="linucb-v2", include=("linucb-v2",))
    load_loop_catalogue(Settings(), chosen)
    with pytest.raises(ConfigurationError, match=named):
        load_loop_catalogue(Settings(**settings), chosen)
