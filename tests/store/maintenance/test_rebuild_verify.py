"""Rebuilding documents from the ledger, and verifying them against it."""

import asyncio
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from bandstand.bandit.profile import Profile
from bandstand.bandit.ridge import RidgeState
from bandstand.errors import ConfigurationError
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.learners.documents import Documents, parse, render
from bandstand.store.maintenance.offline import open_owned
from bandstand.store.maintenance.rebuild_verify import RebuildResult, Verification, rebuild_documents, verify
from tests.store.given import DAY, NOON, copy_as_killed, documents_in, ledger_of
from tests.store.populated import Served, assert_all_same, catalogue_of, load_documents, serve_users, trim_directory

CATALOGUE = catalogue_of()


def rebuild_directory(state_dir: Path) -> RebuildResult:
    with open_owned(state_dir, CATALOGUE) as state:
        return rebuild_documents(state)


def verify_directory(state_dir: Path) -> Verification:
    return verify(state_dir, CATALOGUE)


def read_all(state_dir: Path) -> dict[str, Profile]:
    return {user_id: Profile.from_json(document) for user_id, document in load_documents(state_dir).items()}


def list_reasons(found: Verification) -> list[str]:
    return [fault.reason for fault in found.faults]


async def test_a_rebuild_equals_the_live_state(tmp_path: Path) -> None:
    async with Served(tmp_path / "live") as served:
        users = [f"user-{number}" for number in range(5)]
        for user_id in users:
            await served.live_history(user_id, rounds=12)
        await served.store.reset("user-1", "tests")
        await served.live_history("user-1", rounds=3)
        await served.store.reset("user-2", "tests")
        await served.decide("only decided")
        users.append("only decided")
        state_dir = copy_as_killed(tmp_path / "live", tmp_path / "dead")
        live = {user_id: await served.profile(user_id) for user_id in users}
    assert rebuild_directory(state_dir) == RebuildResult(6, 6, 0, 0, 0, None)
    assert_all_same(live, read_all(state_dir))


async def test_a_rebuild_replaces_every_document_and_keeps_what_is_not_one(tmp_path: Path) -> None:
    live = await serve_users(tmp_path, "torn", "ahead", "right", "wrong")
    folder = Documents(tmp_path)
    torn = folder.path("torn").read_bytes()[:100]
    folder.path("torn").write_bytes(torn)
    ahead = live["ahead"].copy()
    ahead.seq += 1
    folder.write(ahead)
    wrong = live["wrong"].copy()
    wrong.get_state(("linucb-v2", "tips-v2")).pulls = 99
    folder.write(wrong)
    folder.write(live["right"])
    stranger = Profile("stranger")
    stranger.seq = 1
    folder.write(stranger)
    torn_stray = tmp_path / "users" / "00" / "stray.json"
    torn_stray.parent.mkdir(exist_ok=True)
    torn_stray.write_bytes(torn)
    assert rebuild_directory(tmp_path) == RebuildResult(4, 4, set_aside=4, discarded=0, baselines=0, reaches_back=None)
    assert_all_same(live, read_all(tmp_path))
    kept = {path.name: path.read_bytes() for path in (tmp_path / "quarantine").iterdir()}
    assert kept == {
        folder.path("torn").name: torn,
        folder.path("ahead").name: render(ahead),
        folder.path("stranger").name: render(stranger),
        torn_stray.name: torn,
    }
    assert verify_directory(tmp_path) == Verification(users=4, equal=4, quarantined=4)


async def test_a_rebuild_discards_the_document_of_an_erased_user(tmp_path: Path) -> None:
    await serve_users(tmp_path, "anna", "bob")
    path = Documents(tmp_path).path("anna")
    old = path.read_bytes()
    async with Served(tmp_path) as served:
        await served.store.erase("anna", "tests")
    path.write_bytes(old)  # as from a backup
    found = verify_directory(tmp_path)
    assert (found.users, found.equal, list_reasons(found)) == (1, 1, ["belongs to a user erased since"])
    assert rebuild_directory(tmp_path) == RebuildResult(1, 1, set_aside=0, discarded=1, baselines=0, reaches_back=None)
    assert load_documents(tmp_path).keys() == {"bob"}
    assert not (tmp_path / "quarantine").exists()


async def test_a_rebuild_starts_from_the_baseline_and_says_how_far_back_it_reaches(tmp_path: Path) -> None:
    async with Served(tmp_path) as served:
        await served.live_history("anna", rounds=8)
        late = await served.decide("anna")
    async with Served(tmp_path, days=20) as served:
        await served.live_history("bob")
        await served.reward(late)
    async with Served(tmp_path, days=35) as served:
        await served.live_history("anna", rounds=4)
        live = {user_id: await served.profile(user_id) for user_id in ("anna", "bob")}
    cutoff = trim_directory(tmp_path, NOON + 5 * DAY)
    with ledger_of(tmp_path) as ledger:
        assert ledger.execute("SELECT count(*) FROM decisions WHERE ts < ?", (cutoff,)).fetchone() == (1,)
    assert rebuild_directory(tmp_path) == RebuildResult(2, 2, 0, 0, baselines=1, reaches_back=cutoff)
    assert_all_same(live, read_all(tmp_path))
    assert verify_directory(tmp_path) == Verification(users=2, equal=2)


async def test_a_document_older_than_the_baseline_is_superseded_and_no_fault(tmp_path: Path) -> None:
    live = await serve_users(tmp_path, "anna")
    trim_directory(tmp_path, NOON + 5 * DAY)
    assert verify_directory(tmp_path) == Verification(users=1, superseded=1)
    async with Served(tmp_path) as served:
        assert_all_same(live, {"anna": await served.profile("anna")})


async def test_verifying_a_directory_in_use_needs_no_lock_and_finds_it_right(tmp_path: Path) -> None:
    options = StoreOptions(sync=False, checkpoint_seconds=0.01, retention_days=0)
    async with Served(tmp_path, options=options) as served:
        for number in range(4):
            await served.live_history(f"user-{number}", rounds=3)
        async with asyncio.timeout(60):
            while len(documents_in(tmp_path)) < 4:
                await served.live_history("user-0", rounds=1)
        await served.live_history("user-0", rounds=9)  # its document lags now, or is just being replaced
        found = verify_directory(tmp_path)
    assert found == Verification(users=4, equal=4)


async def test_users_without_a_document_are_counted_and_are_no_fault(tmp_path: Path) -> None:
    await serve_users(tmp_path, "anna", "bob", "carol")
    Documents(tmp_path).path("bob").unlink()
    found = verify_directory(tmp_path)
    assert found == Verification(users=3, equal=2, missing=1)
    assert found.is_sound


async def test_every_way_in_which_a_document_can_be_wrong_is_named(tmp_path: Path) -> None:
    live = await serve_users(tmp_path, "anna", "bob")
    folder, key = Documents(tmp_path), ("linucb-v2", "tips-v2")
    path = folder.path("anna")
    right = path.read_bytes()

    def find_value(text: bytes, place: Path = path) -> str:
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(text)
        outcome = verify_directory(tmp_path)
        place.unlink()
        path.write_bytes(right)
        assert not outcome.is_sound
        (fault,) = outcome.faults
        assert tmp_path / fault.path == place
        assert outcome.equal == (1 if place == path else 2)
        return fault.reason

    def change_document(name: str, value: object) -> bytes:
        profile = parse(right)
        setattr(profile.policies[key], name, value)
        return render(profile)

    def changed_ridge(name: str, number: float) -> bytes:
        document = parse(right).to_json()
        document["policies"]["linucb-v2"]["ridge"][name][0] += number
        return render(Profile.from_json(document))

    assert find_value(right[:-40]) == "not a state document: JSONDecodeError"
    assert find_value(right.replace(b'"pulls":', b'"pulls":1')) == "its checksum does not match"
    assert find_value(folder.path("bob").read_bytes()) == "is not where that user's document belongs"
    assert find_value(right, tmp_path / "users" / "00" / path.name) == "is not where that user's document belongs"
    stranger = live["anna"].copy()
    stranger.user_id = "nobody"
    assert find_value(render(stranger), folder.path("nobody")) == "belongs to nobody the ledger knows"
    ahead = parse(right)
    ahead.seq += 1
    assert find_value(render(ahead)) == "knows events that the ledger does not"
    fresh = parse(right)
    fresh.reset_seq = 7
    assert find_value(render(fresh)) == "remembers another reset than the ledger"
    more = parse(right)
    more.get_state(("extra", "tips-v2"))
    assert find_value(render(more)) == "extra: only the document has it"
    less = parse(right)
    del less.policies[key]
    assert find_value(render(less)) == "linucb-v2: only the ledger has it"
    for name, value in (("pulls", 0), ("explores", 40), ("reward_count", 41), ("last_updated", NOON)):
        assert find_value(change_document(name, value)) == f"linucb-v2: {name} differs from the ledger's"
    assert (
        find_value(change_document("cumulative_reward", 9.0))
        == "linucb-v2: cumulative_reward differs from the ledger's"
    )
    assert find_value(change_document("ridge", None)) == "linucb-v2: ridge differs from the ledger's"
    assert find_value(change_document("ridge", RidgeState.empty(3))) == "linucb-v2: ridge differs from the ledger's"
    unknown_rr = parse(right).policies[key].ridge
    assert unknown_rr is not None
    assert (
        find_value(change_document("ridge", replace(unknown_rr, rr=None))) == "linucb-v2: rr differs from the ledger's"
    )
    for name in ("gram", "b"):
        assert find_value(changed_ridge(name, 1e-6)) == f"linucb-v2: {name} differs from the ledger's"
    path.write_bytes(changed_ridge("b", 1e-12))
    assert verify_directory(tmp_path).is_sound


async def test_a_document_of_events_that_the_ledger_lost_is_found_and_repaired(tmp_path: Path) -> None:
    live = await serve_users(tmp_path / "a", "anna")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    async with Served(tmp_path / "b") as served:
        served.clock.now += 60.0
        await served.live_history("anna")
    newer = Documents(tmp_path / "b").path("anna")
    shutil.copy(newer, Documents(tmp_path / "a").path("anna"))
    assert list_reasons(verify_directory(tmp_path / "a")) == ["knows events that the ledger does not"]
    assert rebuild_directory(tmp_path / "a").set_aside == 1
    assert_all_same(live, read_all(tmp_path / "a"))


async def test_a_damaged_ledger_is_reported(tmp_path: Path) -> None:
    await serve_users(tmp_path, *(f"user-{number}" for number in range(40)))
    with ledger_of(tmp_path) as ledger:
        root, size = (
            ledger.execute("SELECT rootpage FROM sqlite_master WHERE name = 'user_decisions_new'").fetchone()[0],
            8192,
        )
        assert ledger.execute("PRAGMA page_size").fetchone() == (size,)
    with (tmp_path / "ledger.db").open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(bytes(size))
    found = verify_directory(tmp_path)
    assert found.damage
    assert not found.is_sound
    assert found.equal == 0


async def test_a_ledger_that_is_no_database_is_reported(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database at all" * 1000)
    assert verify_directory(tmp_path).damage == ["file is not a database"]


def test_a_directory_without_a_ledger_is_refused(tmp_path: Path) -> None:
    for refused in (verify_directory, rebuild_directory):
        with pytest.raises(ConfigurationError, match=r"holds no ledger\.db"):
            refused(tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_a_ledger_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    await serve_users(tmp_path, "anna")
    with ledger_of(tmp_path) as ledger:
        ledger.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="format 99"):
        verify_directory(tmp_path)
    with pytest.raises(ConfigurationError, match="format 99"):
        rebuild_directory(tmp_path)
