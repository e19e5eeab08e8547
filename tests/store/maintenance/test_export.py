"""Export and import of JSON lines: a round trip to the last bit, and suspicion of every line."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bandstand.bandit.catalogue import Catalogue
from bandstand.errors import ConfigurationError, InvalidRequestError
from bandstand.service.stats import load_user_stats
from bandstand.store.learners.documents import Documents
from bandstand.store.maintenance.export import export, read_lines
from bandstand.store.maintenance.import_ import ImportResult, import_states
from bandstand.store.maintenance.offline import open_owned, open_read_only
from bandstand.store.maintenance.rebuild_verify import Verification, verify
from tests.store.checks import HOSTILE_IDS
from tests.store.given import NOON, assert_same, ledger_of
from tests.store.populated import (
    Served,
    build_shop,
    catalogue_of,
    extract_learned,
    load_documents,
    load_states,
    serve_users,
)

CATALOGUE = catalogue_of()


def export_lines(state_dir: Path, catalogue: Catalogue = CATALOGUE) -> list[str]:
    with open_read_only(state_dir, catalogue) as state:
        return list(export(state))


def import_files(
    state_dir: Path, lines: Iterable[str], catalogue: Catalogue = CATALOGUE, *, skip_bad: bool = False
) -> ImportResult:
    with open_owned(state_dir, catalogue, new=True) as state:
        return import_states(state, read_lines(line.encode() for line in lines), now=NOON, skip_bad=skip_bad)


def drop_positions(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Exported lines without their place in a ledger."""
    return [json.loads(line) | {"ledger_seq": 0, "reset_seq": 0} for line in lines]


async def test_export_then_import_brings_every_user_over_to_the_last_bit(tmp_path: Path) -> None:
    live = await serve_users(tmp_path / "from", *HOSTILE_IDS)
    lines = export_lines(tmp_path / "from")
    assert all(line.isascii() and "\n" not in line for line in lines)
    assert import_files(tmp_path / "to", lines) == ImportResult(users=len(HOSTILE_IDS))
    assert drop_positions(export_lines(tmp_path / "to")) == drop_positions(lines)
    async with Served(tmp_path / "to") as served:
        for user_id, profile in live.items():
            assert extract_learned(await served.profile(user_id)) == extract_learned(profile)
        assert (await served.store.list_users("", 0, 1000)).users == HOSTILE_IDS
    assert {user_id: document["policies"] for user_id, document in load_documents(tmp_path / "to").items()} == {
        user_id: extract_learned(profile) for user_id, profile in live.items()
    }
    assert verify(tmp_path / "to", CATALOGUE) == Verification(users=len(HOSTILE_IDS), equal=len(HOSTILE_IDS))


def date_states(line: str, **moments: object) -> str:
    document = json.loads(line)
    for state in document["policies"].values():
        state.update(moments)
    return json.dumps(document)


@pytest.mark.parametrize("moment", [NOON, NOON * 1000, str(int(NOON)), "2025-06-15T15:06:40Z"], ids=str)
async def test_times_are_read_however_they_are_written(tmp_path: Path, moment: object) -> None:
    await serve_users(tmp_path / "from", "anna")
    lines = [
        date_states(line, last_updated=moment, as_of=moment, since=moment) for line in export_lines(tmp_path / "from")
    ]
    assert import_files(tmp_path / "to", ["\ufeff" + lines[0]]) == ImportResult(users=1)
    async with Served(tmp_path / "to") as served:
        states = (await served.profile("anna")).policies.values()
        assert {state.last_updated for state in states} == {NOON}
        stats = await load_user_stats(served.deployment, "anna")
        assert stats.last_updated == "2025-06-15T15:06:40Z"


@pytest.mark.parametrize("name", ["last_updated", "as_of", "since", "half_life"])
@pytest.mark.parametrize("moment", [-1e300, -1, "soon", [], True], ids=str)
async def test_a_number_that_would_break_a_later_read_is_refused(tmp_path: Path, name: str, moment: object) -> None:
    await serve_users(tmp_path / "from", "anna")
    lines = [date_states(line, **{name: moment}) for line in export_lines(tmp_path / "from")]
    with pytest.raises(InvalidRequestError, match=rf"policies\.[^:]+\.{name}: "):
        import_files(tmp_path / "to", lines)


async def test_an_export_is_the_ledger_s_word_where_documents_lag_or_lie(tmp_path: Path) -> None:
    live = await serve_users(tmp_path, "anna", "bob", "carol")
    folder = Documents(tmp_path)
    folder.path("anna").unlink()
    folder.path("bob").write_bytes(b"torn")
    old = live["carol"].copy()
    old.policies = {}
    folder.write(old)
    assert {line["user_id"]: line["policies"] for line in drop_positions(export_lines(tmp_path))} == {
        user_id: extract_learned(profile) for user_id, profile in live.items()
    }


async def test_an_export_works_beside_a_running_store(tmp_path: Path) -> None:
    async with Served(tmp_path) as served:
        await served.live_history("anna")
        live = await served.profile("anna")
        (line,) = export_lines(tmp_path)
    assert json.loads(line)["policies"] == extract_learned(live)
    assert json.loads(line)["ledger_seq"] == live.seq


async def test_a_reset_user_is_exported_empty_and_imported_empty(tmp_path: Path) -> None:
    await serve_users(tmp_path / "from", "anna")
    async with Served(tmp_path / "from") as served:
        await served.store.reset("anna", "tests")
    (line,) = export_lines(tmp_path / "from")
    assert json.loads(line)["policies"] == {}
    await serve_users(tmp_path / "to", "anna")
    import_files(tmp_path / "to", [line])
    assert load_states(tmp_path / "to")["anna"].policies == {}


async def test_an_import_replaces_what_the_user_had_and_later_rewards_go_on_from_it(tmp_path: Path) -> None:
    live = await serve_users(tmp_path / "from", "anna")
    async with Served(tmp_path / "to", seed=1) as served:
        await served.live_history("anna", rounds=10)
        await served.live_history("bob")
        bob = await served.profile("bob")
        waiting = await served.decide("anna", "linucb-v1")
    assert import_files(tmp_path / "to", export_lines(tmp_path / "from")).users == 1
    assert extract_learned(load_states(tmp_path / "to")["anna"]) == extract_learned(live["anna"])
    async with Served(tmp_path / "to") as served:
        served.clock.now += 3600.0
        key = ("linucb-v1", "tips-5")
        await served.reward(waiting)
        await served.live_history("anna")
        after = await served.profile("anna")
        assert after.policies[key].reward_count > live["anna"].policies[key].reward_count
        assert_same(bob, await served.profile("bob"))
    assert_same(after, load_states(tmp_path / "to")["anna"])


async def test_an_import_is_one_synced_event_a_user(tmp_path: Path) -> None:
    await serve_users(tmp_path / "from", "anna", "bob")
    import_files(tmp_path / "to", export_lines(tmp_path / "from"))
    with ledger_of(tmp_path / "to") as ledger:
        rows = ledger.execute("SELECT kind, ts, client FROM marks").fetchall()
        assert rows == [("import", NOON, "command line")] * 2
        assert ledger.execute("SELECT count(*) FROM decisions").fetchone() == (0,)


Change = Callable[[dict[str, Any]], object]


def put(*path: str | int, value: object) -> Change:
    def change_value(line: dict[str, Any]) -> None:
        place: Any = line
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change_value


def drop_key(*path: str) -> Change:
    def change_value(line: dict[str, Any]) -> None:
        place: Any = line
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change_value


STATE = ("policies", "linucb-v2")
RIDGE = (*STATE, "ridge")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (drop_key("user_id"), "user_id: Field required"),
        (put("user_id", value=""), "user_id: String should have at least 1 character"),
        (put("user_id", value="x" * 257), "user_id: String should have at most 256 characters"),
        (put("user_id", value="a\nb"), "user_id: String should match pattern"),
        (put("user_id", value=7), "user_id: Input should be a valid string"),
        (put("version", value=99), "state document version 99"),
        (drop_key("version"), "version: Field required"),
        (drop_key("policies"), "policies: Field required"),
        (put("policies", value=[]), "policies: Input should be an object"),
        (put("ledger_seq", value="12"), "ledger_seq: Input should be a valid integer"),
        (put(*STATE, "policy", value="../x"), "policies.linucb-v2.policy: String should match pattern"),
        (put(*STATE, "pulls", value=-1), "policies.linucb-v2.pulls: Input should be greater"),
        (put(*STATE, "pulls", value=True), "policies.linucb-v2.pulls: Input should be a valid integer"),
        (put(*STATE, "reward_count", value=1.5), "policies.linucb-v2.reward_count: Input should be a valid integer"),
        (
            put(*STATE, "cumulative_reward", value=float("nan")),
            "policies.linucb-v2.cumulative_reward: Input should be a f",
        ),
        (put(*STATE, "last_updated", value=float("inf")), "policies.linucb-v2.last_updated: must be a time"),
        (put(*STATE, "last_updated", value="now"), "policies.linucb-v2.last_updated: must be a time: ISO"),
        (put(*RIDGE, "b", 0, value=float("nan")), "policies.linucb-v2.ridge.b.0: Input should be a finite number"),
        (put(*RIDGE, "b", value=[0.0] * 7), "linucb-v2.ridge: gram of 36 numbers does not fit b of 7"),
        (put(*RIDGE, "gram", value=[0.5]), "linucb-v2.ridge: gram of 1 numbers does not fit b of"),
        (put(*RIDGE, "gram", 0, value=-5.0), "linucb-v2: gram is not positive semi-definite"),
        (put(*RIDGE, "rr", value=-1.0), "policies.linucb-v2.ridge.rr: Input should be greater"),
        (put(*RIDGE, "weight", value=None), "policies.linucb-v2.ridge.weight: Input should be a valid number"),
        (
            put(*RIDGE, value={"b": [0.0] * 3, "gram": [0.0] * 6, "rr": 0.0, "weight": 0.0, "count": 0}),
            "linucb-v2: 3 f",
        ),
        (put("policies", "again", value=None), "policies.again: Input should be an object"),
        (put("schemas", "tips-v2", value="0123456789abcdef"), "its schema 'tips-v2' is another encoding than the one"),
    ],
)
async def test_a_wrong_line_is_refused_by_its_number_and_nothing_is_imported(
    tmp_path: Path, change: Change, reason: str
) -> None:
    await serve_users(tmp_path / "from", "anna", "bob", "carol")
    anna, bob, carol = export_lines(tmp_path / "from")
    line = json.loads(bob)
    change(line)
    lines = [anna, json.dumps(line), carol]
    with pytest.raises(InvalidRequestError) as refusal:
        import_files(tmp_path / "to", lines)
    assert refusal.value.detail.startswith("nothing was imported: line 2: ")
    assert reason in refusal.value.detail
    assert "\n" not in refusal.value.detail
    assert load_states(tmp_path / "to") == {}
    outcome = import_files(tmp_path / "to", lines, skip_bad=True)
    assert outcome.users == 2
    assert len(outcome.skipped) == 1
    assert load_states(tmp_path / "to").keys() == {"anna", "carol"}


@pytest.mark.parametrize("line", ["{", "[]", "null", '{"user_id": "\\ud800"}', "[" * 100_000, "\ufffe"])
async def test_a_line_that_is_no_object_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(InvalidRequestError, match="nothing was imported: line 3: "):
        import_files(tmp_path, ["", "  ", line])


async def test_one_state_in_two_entries_is_refused(tmp_path: Path) -> None:
    await serve_users(tmp_path / "from", "anna")
    line = json.loads(export_lines(tmp_path / "from")[0])
    line["policies"]["again"] = line["policies"]["linucb-v2"]
    with pytest.raises(InvalidRequestError, match="line 1: a policy has two states over one schema"):
        import_files(tmp_path / "to", [json.dumps(line)])


async def test_many_wrong_lines_are_counted_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"line 1: .*; line 2: .*; line 3: .*; and 2 more$"):
        import_files(tmp_path, ["{"] * 5)


async def test_a_user_in_two_lines_is_refused(tmp_path: Path) -> None:
    await serve_users(tmp_path / "from", "anna")
    (line,) = export_lines(tmp_path / "from")
    with pytest.raises(InvalidRequestError, match="line 2: is the same user as line 1"):
        import_files(tmp_path / "to", [line, line])


async def test_states_of_what_is_not_configured_are_kept_and_named(tmp_path: Path) -> None:
    here = catalogue_of(build_shop())
    async with Served(tmp_path / "from", here) as served:
        for user_id in ("anna", "bob"):
            await served.live_history(user_id, policies=("shop", "linucb-v1"))
    lines = export_lines(tmp_path / "from", here)
    assert import_files(tmp_path / "to", lines) == ImportResult(users=2, unknown={"shop over shop": 2})
    assert drop_positions(export_lines(tmp_path / "to")) == drop_positions(lines)
    async with Served(tmp_path / "to", here) as served:  # configured later, in the form that the line named
        assert extract_learned(await served.profile("anna")) == json.loads(lines[0])["policies"]


async def test_a_schema_configured_later_in_another_form_is_noticed(tmp_path: Path) -> None:
    here, other = catalogue_of(build_shop()), catalogue_of(build_shop(version=2))
    async with Served(tmp_path / "from", here) as served:
        await served.live_history("anna", policies=("shop",))
    import_files(tmp_path / "to", export_lines(tmp_path / "from", here))
    with pytest.raises(ConfigurationError, match="schema 'shop' has changed"):
        await Served(tmp_path / "to", other).store.open()


async def test_an_old_export_brings_no_erased_user_back(tmp_path: Path) -> None:
    await serve_users(tmp_path, "anna", "bob")
    lines = export_lines(tmp_path)
    async with Served(tmp_path) as served:
        served.clock.now += 60.0
        await served.store.erase("anna", "tests")
    assert import_files(tmp_path, lines) == ImportResult(users=1, erased=1)
    assert load_states(tmp_path).keys() == {"bob"}
    with ledger_of(tmp_path) as ledger:
        assert ledger.execute("SELECT count(*) FROM marks WHERE document LIKE '%anna%'").fetchone() == (0,)


async def test_a_disk_that_takes_no_document_loses_no_import(tmp_path: Path) -> None:
    live = await serve_users(tmp_path / "from", "anna")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "users").write_text("in the way")
    assert import_files(tmp_path / "to", export_lines(tmp_path / "from")).users == 1
    assert extract_learned(load_states(tmp_path / "to")["anna"]) == extract_learned(live["anna"])
