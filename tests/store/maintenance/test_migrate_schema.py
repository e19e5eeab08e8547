"""Migration: after a schema has changed under its name, the state is what it would be had it always been so."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from bandstand.errors import ConfigurationError, InvalidRequestError
from bandstand.store.maintenance.export import export, read_lines
from bandstand.store.maintenance.import_ import import_states
from bandstand.store.maintenance.migrate_schema import MigrationResult, migrate
from bandstand.store.maintenance.offline import open_owned, open_read_only
from bandstand.store.maintenance.rebuild_verify import Verification, verify
from tests.store.given import DAY, NOON, assert_same, documents_in
from tests.store.populated import (
    Served,
    assert_all_same,
    build_shop,
    catalogue_of,
    extract_learned,
    load_states,
    trim_directory,
)

PRIORITY: dict[str, Any] = {
    "name": "priority",
    "source": "candidate.priority",
    "encoding": "scale",
    "divisor": 3,
    "type": "integer",
    "default": 1,
    "minimum": 1,
    "maximum": 4,
}
WEEKDAY: dict[str, Any] = {
    "name": "dow",
    "source": "context.day_of_week",
    "encoding": "cyclic",
    "period": 7,
    "type": "integer",
    "minimum": 0,
    "maximum": 6,
}
STOCK: dict[str, Any] = {"name": "stock", "source": "candidate.stock", "encoding": "number", "maximum": 100}
SEASON: dict[str, Any] = {"name": "season", "source": "context.season", "encoding": "scale", "divisor": 4}

OLD, NEW = catalogue_of(build_shop()), catalogue_of(build_shop(PRIORITY, WEEKDAY))
POLICIES = ("shop", "linucb-v2", "shop")


async def serve(state_dir: Path, catalogue: Any, *user_ids: str) -> None:
    """The same requests whatever is configured; only how they are seen differs."""
    async with Served(state_dir, catalogue) as served:
        for user_id in user_ids:
            await served.live_history(user_id, rounds=9, policies=POLICIES)
            await served.reward_legacy(user_id, "shop")


def migrate_directory(state_dir: Path, catalogue: Any = NEW, *names: str, dry_run: bool = False) -> MigrationResult:
    with open_owned(state_dir, catalogue, migrating=True) as state:
        return migrate(state, names or ("shop",), dry_run=dry_run)


async def test_sums_are_what_the_new_form_would_have_learned(tmp_path: Path) -> None:
    await serve(tmp_path, OLD, "anna", "bob")
    before = {user_id: extract_learned(profile)["linucb-v2"] for user_id, profile in load_states(tmp_path, OLD).items()}
    with pytest.raises(ConfigurationError, match="run `bandstand state migrate --schema shop`"):
        await Served(tmp_path, NEW).store.open()
    result = migrate_directory(tmp_path)
    assert result == MigrationResult(("shop",), users=2, rewards=result.rewards, cold=0)
    async with Served(tmp_path, NEW) as served:
        after = {user_id: await served.profile(user_id) for user_id in ("anna", "bob")}
        await served.live_history("anna", policies=POLICIES)
    taught = 0
    for user_id, profile in after.items():
        assert extract_learned(profile)["linucb-v2"] == before[user_id]
        ridge = profile.policies["shop", "shop"].ridge
        assert ridge is not None
        assert ridge.b.shape == (NEW.schemas["shop"].dimension,)
        assert ridge.gram[0, 0] == profile.policies["shop", "shop"].reward_count
        taught += ridge.count
    assert result.rewards == taught
    assert verify(tmp_path, NEW) == Verification(users=2, equal=2)


async def test_a_decision_made_before_is_taught_in_the_new_form_after(tmp_path: Path) -> None:
    async with Served(tmp_path, OLD) as served:
        decision_id = await served.decide("anna", "shop", priority=4)
    migrate_directory(tmp_path)
    async with Served(tmp_path, NEW) as served:
        served.clock.now += 60.0
        await served.reward(decision_id, 1.0)
        profile = await served.profile("anna")
    ridge = profile.policies["shop", "shop"].ridge
    assert ridge is not None
    assert ridge.b[3] == pytest.approx(4 / 3)
    assert_same(profile, load_states(tmp_path, NEW)["anna"])


async def test_a_feature_sent_in_the_legacy_form_is_found_though_the_old_form_did_not_read_it(tmp_path: Path) -> None:
    new = catalogue_of(build_shop(SEASON))
    async with Served(tmp_path, OLD) as served:
        await served.reward_legacy("anna", "shop", season=2.0)
    migrate_directory(tmp_path, new)
    ridge = load_states(tmp_path, new)["anna"].policies["shop", "shop"].ridge
    assert ridge is not None
    assert ridge.gram[0, 3] == 0.5


async def test_a_dry_run_says_the_same_and_changes_nothing(tmp_path: Path) -> None:
    await serve(tmp_path, OLD, "anna")
    before = load_states(tmp_path, OLD)
    files = {path: path.read_bytes() for path in documents_in(tmp_path)}
    dry = migrate_directory(tmp_path, dry_run=True)
    assert {path: path.read_bytes() for path in documents_in(tmp_path)} == files
    assert_all_same(before, load_states(tmp_path, OLD))
    async with Served(tmp_path, OLD) as served:
        assert_all_same(before, {"anna": await served.profile("anna")})
    assert migrate_directory(tmp_path) == dry


async def test_there_is_nothing_to_do_where_nothing_changed(tmp_path: Path) -> None:
    await serve(tmp_path, OLD, "anna")
    assert migrate_directory(tmp_path, OLD) == MigrationResult(())
    migrate_directory(tmp_path)
    assert migrate_directory(tmp_path) == MigrationResult(())


async def test_what_only_a_baseline_knows_starts_cold_and_keeps_its_counters(tmp_path: Path) -> None:
    async with Served(tmp_path, OLD) as served:
        await served.live_history("old", rounds=9, policies=POLICIES)
    async with Served(tmp_path, OLD, days=40) as served:
        await served.live_history("old", rounds=3, policies=("shop",))
        await served.live_history("new", rounds=9, policies=POLICIES)
        before = await served.profile("old")
    trim_directory(tmp_path, NOON + 10 * DAY, OLD)
    assert migrate_directory(tmp_path).cold == 1
    async with Served(tmp_path, NEW) as served:
        after = await served.profile("old")
    key = ("shop", "shop")
    ridge = after.policies[key].ridge
    assert ridge is not None
    assert ridge.count == 4  # three late decisions rewarded, and one reward in the legacy form
    assert before.policies[key].reward_count > 4
    for name in ("pulls", "explores", "reward_count", "cumulative_reward", "last_updated"):
        assert getattr(after.policies[key], name) == getattr(before.policies[key], name)
    assert extract_learned(after)["linucb-v2"] == extract_learned(before)["linucb-v2"]
    assert_same(after, load_states(tmp_path, NEW)["old"])
    assert verify(tmp_path, NEW).is_sound


async def test_what_was_imported_starts_cold_and_keeps_its_counters(tmp_path: Path) -> None:
    await serve(tmp_path / "from", OLD, "anna")
    with open_read_only(tmp_path / "from", OLD) as state:
        lines = [line.encode() for line in export(state)]
    with open_owned(tmp_path / "to", OLD, new=True) as state:
        import_states(state, read_lines(lines), now=NOON)
    before = load_states(tmp_path / "to", OLD)["anna"].policies["shop", "shop"]
    assert migrate_directory(tmp_path / "to") == MigrationResult(("shop",), users=1, rewards=0, cold=1)
    after = load_states(tmp_path / "to", NEW)["anna"].policies["shop", "shop"]
    assert after.ridge is None
    assert (after.pulls, after.reward_count) == (before.pulls, before.reward_count)
    async with Served(tmp_path / "to", NEW) as served:
        served.clock.now += 60.0
        await served.live_history("anna", policies=POLICIES)
    assert verify(tmp_path / "to", NEW) == Verification(users=1, equal=1)


async def test_a_migration_cut_short_is_as_if_it_had_not_begun_or_had_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await serve(tmp_path / "a", OLD, "anna", "bob")
    before = load_states(tmp_path / "a", OLD)
    shutil.copytree(tmp_path / "a", tmp_path / "b")

    class PowerCutError(Exception):
        pass

    def cut_power(*_: object) -> None:
        raise PowerCutError

    monkeypatch.setattr("bandstand.store.maintenance.migrate_schema._write_documents", cut_power)  # after the commit
    with pytest.raises(PowerCutError):
        migrate_directory(tmp_path / "a")
    async with Served(tmp_path / "a", NEW) as served:
        ridge = (await served.profile("anna")).policies["shop", "shop"].ridge
        assert ridge is not None
        assert ridge.b.shape == (NEW.schemas["shop"].dimension,)
    assert verify(tmp_path / "a", NEW).is_sound

    monkeypatch.setattr("bandstand.store.maintenance.migrate_schema._delete_documents", cut_power)  # before it
    with pytest.raises(PowerCutError):
        migrate_directory(tmp_path / "b")
    async with Served(tmp_path / "b", OLD) as served:
        assert_all_same(before, {user_id: await served.profile(user_id) for user_id in before})


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ({"stock": "many"}, "candidate.stock is not of type number to 100"),
        ({"stock": 101}, "candidate.stock is not of type number to 100"),
        ({"stock": True}, "candidate.stock is not of type number to 100"),
        ({"stock": -5e7}, "A feature is too large to learn from"),
    ],
)
async def test_raw_values_that_the_new_form_does_not_take_are_refused(
    tmp_path: Path, sent: dict[str, Any], reason: str
) -> None:
    async with Served(tmp_path, OLD) as served:
        await served.reward(await served.decide("fine", "shop"))
        await served.reward(await served.decide("wrong", "shop", **sent))
    before = load_states(tmp_path, OLD)
    with pytest.raises(InvalidRequestError) as refusal:
        migrate_directory(tmp_path, catalogue_of(build_shop(STOCK)))
    assert "nothing was changed: what 1 users were rewarded for" in refusal.value.detail
    assert f"user 'wrong': {reason}" in refusal.value.detail
    assert_all_same(before, load_states(tmp_path, OLD))


async def test_a_name_that_is_no_schema_or_not_all_that_changed_is_refused(tmp_path: Path) -> None:
    second = {"second": {"version": 1, "intercept": True, "features": build_shop()["schemas"]["shop"]["features"]}}
    old, new = build_shop(), build_shop(version=2)
    for version, definition in ((1, old), (2, new)):
        definition["schemas"] |= {"second": second["second"] | {"version": version}}
        definition["policies"]["other"] = {"kind": "linucb", "schema": "second"}
    async with Served(tmp_path, catalogue_of(old)) as served:
        await served.live_history("anna", policies=("shop", "other"))
    changed = catalogue_of(new)
    with pytest.raises(ConfigurationError, match="unknown 'shap', did you mean 'shop'"):
        migrate_directory(tmp_path, changed, "shap")
    with pytest.raises(ConfigurationError, match="schema 'second' has changed too"):
        migrate_directory(tmp_path, changed, "shop")
    assert set(migrate_directory(tmp_path, changed, "shop", "second").schemas) == {"shop", "second"}
    async with Served(tmp_path, changed) as served:
        assert (await served.profile("anna")).policies.keys() == {("shop", "shop"), ("other", "second")}


async def test_reading_commands_refuse_sums_of_another_form(tmp_path: Path) -> None:
    await serve(tmp_path, OLD, "anna")
    with (
        pytest.raises(ConfigurationError, match=r"schema 'shop' is not the one .*state migrate"),
        open_read_only(tmp_path, NEW),
    ):
        pass
