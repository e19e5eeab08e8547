"""Which engine the settings name, and what they may not say together."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bandstand.bandit.loop_definition import LoopDefinition
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.config.settings import read_settings
from bandstand.errors import ConfigurationError
from bandstand.service.loop_runtime import LoopPlaces
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.postgres.store import SharedStore
from bandstand.wiring.engine import (
    build_engine,
    build_loop_places,
    build_store_options,
    compute_config_hash,
)
from tests.store.given import CATALOGUE

URL = "postgresql://someone:s3cret@db.example/ledger"


def observe(*_: object) -> None:
    """Nobody measures."""


def test_a_directory_is_the_default_and_a_url_an_engine_for_many(tmp_path: Path) -> None:
    embedded = build_engine(read_settings(state_dir=str(tmp_path)), CATALOGUE, observe)
    assert isinstance(embedded.store, EmbeddedStore)
    assert (embedded.directory, embedded.prior_files is None) == (tmp_path, False)
    shared = build_engine(read_settings(state_dir=str(tmp_path), state_url=URL), CATALOGUE, observe)
    assert isinstance(shared.store, SharedStore)
    assert shared.directory is None


def test_a_wrong_url_is_named_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="state-url is not allowed") as refused:
        read_settings(state_url="mysql://someone:s3cret@a/b")
    assert "s3cret" not in refused.value.detail
    assert "s3cret" not in repr(read_settings(state_url=URL))


def test_strict_durability_is_for_a_url() -> None:
    with pytest.raises(ConfigurationError, match="STATE_URL"):
        build_engine(read_settings(durability="strict"), CATALOGUE, observe)
    build_engine(read_settings(durability="strict", state_url=URL), CATALOGUE, observe)


def test_another_loop_has_a_directory_of_its_own_or_a_schema(tmp_path: Path) -> None:
    menu = LoopDefinition(name="menu")
    settings = read_settings(state_dir=str(tmp_path))
    assert build_engine(settings, CATALOGUE, observe, menu).directory == tmp_path / "loops" / "menu"
    shared = read_settings(state_dir=str(tmp_path), state_url=URL)
    store = build_engine(shared, CATALOGUE, observe, menu, "bandstand_menu_1").store
    assert isinstance(store, SharedStore)
    assert store.ledger.address.schema == "bandstand_menu_1"
    assert not store.ledger.options.has_one_model
    everybody = build_engine(shared, CATALOGUE, observe, replace(menu, scope="loop"), "bandstand_menu_2").store
    assert isinstance(everybody, SharedStore)
    assert everybody.ledger.options.has_one_model


async def test_no_two_loops_have_the_same_schema(tmp_path: Path) -> None:
    def build_places(url: str) -> LoopPlaces:
        settings = read_settings(state_dir=str(tmp_path), state_url=url)
        return build_loop_places(settings, build_engine(settings, CATALOGUE, observe).store)

    places = [await build_places(f"{URL}?schema={'long' * 12}").claim(f"menu.2-{'x' * 60}") for _ in range(2)]
    assert len({place for place in places if place is not None and re.fullmatch("[a-z][a-z0-9_]{40,62}", place)}) == 2


@pytest.mark.parametrize(("own", "kept"), [(None, 60), (0, 0), (30, 30)])
def test_a_loop_keeps_its_log_for_as_long_as_it_says_or_else_the_settings(own: int | None, kept: int) -> None:
    definition = LoopDefinition(name="menu", retention_days=own)
    assert build_store_options(read_settings(decision_retention_days=60), definition).retention_days == kept


def test_without_the_driver_a_url_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("bandstand.store.postgres.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigurationError, match=r"bandstand\[postgres\]"):
        build_engine(read_settings(state_url=URL), CATALOGUE, observe)


def test_processes_of_other_settings_have_another_hash() -> None:
    same = [compute_config_hash(read_settings(), CATALOGUE) for _ in range(2)]
    other = compute_config_hash(read_settings(active_policy="linucb-v1"), CATALOGUE)
    assert same[0] == same[1] != other
    assert compute_config_hash(read_settings(), CATALOGUE, RewardSettings(window=60.0)) not in {same[0], other}
