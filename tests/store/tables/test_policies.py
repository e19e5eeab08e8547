"""The registry: old rows stay readable after the configuration has moved on."""

import sqlite3
from pathlib import Path

import pytest

from bandstand.bandit.catalogue import Catalogue
from bandstand.errors import ConfigurationError
from bandstand.store.maintenance.migrate_schema import migrate
from bandstand.store.maintenance.offline import open_owned
from bandstand.store.sqlite.schema import connect, create_tables
from bandstand.store.tables.policies import PolicyRegistry, to_policy_ref
from tests.store.given import assert_same
from tests.store.populated import Served, build_shop, catalogue_of, load_states


async def test_a_schema_no_longer_configured_is_read_in_the_form_its_sums_are_kept_under(tmp_path: Path) -> None:
    more = {"name": "priority", "source": "candidate.priority", "encoding": "scale", "divisor": 4, "type": "integer"}
    limits = {"default": 1, "minimum": 1, "maximum": 4}
    old, new = catalogue_of(build_shop()), catalogue_of(build_shop(more | limits))
    async with Served(tmp_path, old) as served:
        await served.live_history("anna", policies=("shop",))
    with open_owned(tmp_path, new, migrating=True) as state:
        assert migrate(state, ["shop"]).schemas == ("shop",)
    async with Served(tmp_path, new) as served:
        await served.live_history("anna", policies=("shop",))
        live = await served.profile("anna")
    ridge = live.policies["shop", "shop"].ridge
    assert ridge is not None
    assert ridge.b.shape == (4,)
    assert_same(live, load_states(tmp_path, catalogue_of())["anna"])


def make_registry(tmp_path: Path, catalogue: Catalogue) -> tuple[PolicyRegistry, sqlite3.Connection]:
    """A registry over a ledger, registered as at a start."""
    connection = connect(tmp_path / "ledger.db")
    create_tables(connection)
    registry = PolicyRegistry(catalogue)
    registry.load(connection)
    registry.require_unchanged(connection)
    registry.register(connection)
    return registry, connection


def test_every_policy_has_a_row_and_keeps_it(tmp_path: Path) -> None:
    refs = {name: to_policy_ref(policy) for name, policy in catalogue_of(build_shop()).policies.items()}
    ids = []
    for catalogue in (catalogue_of(), catalogue_of(build_shop()), catalogue_of(build_shop())):
        registry, connection = make_registry(tmp_path, catalogue)
        ids.append({name: registry.get_id(refs[name]) for name in catalogue.policies})
        for name, row_id in ids[-1].items():
            assert registry.get_ref(row_id) == refs[name]
            assert registry.get_names()[row_id] == name
        connection.close()
    assert len(set(ids[1].values())) == len(ids[1])
    assert ids[1] == ids[2] == ids[1] | ids[0]


def test_a_policy_of_other_parameters_is_another_row_of_the_same_name(tmp_path: Path) -> None:
    changed = build_shop()
    changed["policies"]["shop"]["alpha"] = 0.25
    before, after = catalogue_of(build_shop()).policies["shop"], catalogue_of(changed).policies["shop"]
    make_registry(tmp_path, catalogue_of(build_shop()))[1].close()
    registry, connection = make_registry(tmp_path, catalogue_of(changed))
    rows = [registry.get_id(to_policy_ref(policy)) for policy in (before, after)]
    assert rows[0] != rows[1]
    assert [registry.get_names()[row] for row in rows] == ["shop", "shop"]
    assert to_policy_ref(before).key == to_policy_ref(after).key, "what was learned is shared"
    connection.close()


async def test_a_schema_that_changed_under_its_name_ends_the_start(tmp_path: Path) -> None:
    async with Served(tmp_path, catalogue_of(build_shop())) as served:
        await served.live_history("anna", policies=("shop",))
    changed = catalogue_of(build_shop(intercept=False))
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"'shop' has changed.*state migrate --schema shop"):
            await Served(tmp_path, changed).store.open()
    async with Served(tmp_path, catalogue_of(build_shop())) as served:
        assert (await served.profile("anna")).policies["shop", "shop"].reward_count > 0


async def test_a_schema_that_taught_nothing_yet_may_change(tmp_path: Path) -> None:
    async with Served(tmp_path, catalogue_of(build_shop())) as served:
        await served.decide("anna", "shop")
    async with Served(tmp_path, catalogue_of(build_shop(intercept=False))) as served:
        await served.live_history("anna", policies=("shop",))
    with pytest.raises(ConfigurationError, match="'shop' has changed"):
        await Served(tmp_path, catalogue_of(build_shop())).store.open()


async def test_a_renamed_schema_starts_cold_beside_the_old_one(tmp_path: Path) -> None:
    renamed = build_shop()
    renamed["schemas"]["shop-2"] = renamed["schemas"].pop("shop")
    renamed["policies"]["shop"]["schema"] = "shop-2"
    async with Served(tmp_path, catalogue_of(build_shop())) as served:
        decision = await served.decide("anna", "shop")
        await served.live_history("anna", policies=("shop",))
        old = await served.profile("anna")
    async with Served(tmp_path, catalogue_of(renamed)) as served:
        assert_same(old, await served.profile("anna"))
        await served.decide("anna", "shop")
        state = (await served.profile("anna")).policies["shop", "shop-2"]
        assert (state.pulls, state.reward_count) == (1, 0)
        await served.reward(decision, 0.5)
        late = (await served.profile("anna")).policies["shop", "shop"]
        assert late.reward_count == old.policies["shop", "shop"].reward_count + 1, "it teaches what decided"
        live = await served.profile("anna")
    async with Served(tmp_path, catalogue_of(renamed)) as served:
        assert_same(live, await served.profile("anna"))
    assert_same(live, load_states(tmp_path, catalogue_of())["anna"])


def test_a_usual_start_writes_nothing(tmp_path: Path) -> None:
    make_registry(tmp_path, catalogue_of(build_shop()))[1].close()
    registry, connection = make_registry(tmp_path, catalogue_of(build_shop()))
    assert connection.total_changes == 0
    assert registry.find_changed_schemas(connection) == []
    connection.close()
