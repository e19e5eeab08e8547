"""Erasure: no byte of the user stays in the files that the store keeps."""

from pathlib import Path

import pytest

from bandstand.store.learners.documents import Documents
from bandstand.store.learners.erasure import compute_tombstone
from tests.store.given import QUICK, Subject, assert_same, files_in, ledger_of, make_embedded

SECRET = "zebra-quilt-9417"


def find_mentions(state_dir: Path) -> list[str]:
    """Files in which the user's id or tip can be read."""
    return sorted(path.name for path in files_in(state_dir) if SECRET.encode() in path.read_bytes())


async def test_no_byte_of_an_erased_user_stays(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        for number in range(50):
            for user_id in (SECRET, "berta"):
                decision = await subject.decide(user_id, own_id=f"{user_id}-{number}", tip_id=f"{user_id}-tip")
                await subject.reward(decision, key=("route", f"{user_id}-{number}"))
                await subject.reward_legacy(user_id, tip_id=f"{user_id}-tip")
        await subject.store.reset(SECRET, "tests")
        await subject.generate(SECRET, f"{SECRET}-tip")
        await subject.reopen()
        await subject.decide(SECRET)
        Documents(tmp_path).set_aside(SECRET)
        await subject.decide(SECRET)
        assert set(find_mentions(tmp_path)) >= {"ledger.db", "ledger.db-wal"}
        assert any("json" in name for name in find_mentions(tmp_path))
        berta = await subject.store.load_profile("berta")
        erasure = await subject.store.erase(SECRET, "tests")
        assert (erasure.decisions, erasure.rewards, erasure.marks, erasure.documents) == (52, 100, 1, 1)
        assert find_mentions(tmp_path) == []
        await subject.reopen()
        assert find_mentions(tmp_path) == []
        assert_same(berta, await subject.store.load_profile("berta"))
        assert len(await subject.store.list_history("berta", 100)) == 50


async def test_a_tombstone_names_nobody_and_says_who_erased(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.decide(SECRET)
        await subject.store.erase(SECRET, "the office")
        secret = subject.store.secret
    with ledger_of(tmp_path) as ledger:
        assert ledger.execute("SELECT user_hash FROM tombstones").fetchall() == [(compute_tombstone(secret, SECRET),)]
        assert ledger.execute("SELECT uid, kind, client, document FROM marks").fetchall() == [
            (None, "erasure", "the office", None)
        ]


def test_a_tombstone_cannot_be_recognised_without_the_secret() -> None:
    assert compute_tombstone(b"one", SECRET) == compute_tombstone(b"one", SECRET)
    assert len({compute_tombstone(key, user) for key in (b"one", b"other") for user in ("anna", "berta")}) == 4


async def test_a_document_that_comes_back_from_a_backup_is_discarded(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.reward_legacy("anna", 0.5)
        await subject.reopen()
        path = Documents(tmp_path).path("anna")
        backup = path.read_bytes()
        await subject.store.erase("anna", "tests")
        await subject.store.close()
        path.write_bytes(backup)
        await subject.reopen()
        assert (await subject.store.load_profile("anna")).policies == {}
        assert not path.exists(), "discarded, for the user wanted it gone: a quarantine would keep it"
        assert subject.store.status().quarantined == 0
        assert files_in(tmp_path / "quarantine") == set()


async def test_an_old_document_does_not_hide_what_the_user_did_since(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.reward_legacy("anna", 0.5)
        await subject.reopen()
        path = Documents(tmp_path).path("anna")
        backup = path.read_bytes()
        await subject.store.erase("anna", "tests")
        await subject.reward_legacy("anna", 0.25)
        await subject.store.close()
        path.write_bytes(backup)
        await subject.reopen()
        state = await subject.state("anna")
        assert (state.reward_count, state.cumulative_reward) == (1, 0.25)


@pytest.mark.parametrize("reopened", [False, True])
async def test_no_other_user_inherits_from_an_erased_one(tmp_path: Path, *, reopened: bool) -> None:
    """The last user's key may be given again; nothing may hang on it."""
    async with Subject(make_embedded(tmp_path, QUICK)) as subject:
        decision = await subject.decide("anna")
        await subject.reward_legacy("anna", 0.5)
        await subject.store.erase("anna", "tests")
        if reopened:
            await subject.reopen()
        await subject.decide("berta")
        assert [entry.user_id for entry in await subject.store.list_history("berta", 100)] == ["berta"]
        state = await subject.state("berta")
        assert (state.pulls, state.reward_count) == (1, 0)
        assert await subject.store.find_decision(decision.decision_id) is None
