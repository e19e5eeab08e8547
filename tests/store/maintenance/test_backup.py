"""Backup: one moment of a ledger that goes on, checked, and a service that starts from it."""

import asyncio
import threading
from pathlib import Path

import pytest

from bandstand.errors import ConfigurationError, StorageUnavailableError
from bandstand.store.maintenance import backup
from bandstand.store.maintenance.backup import create_backup
from tests.store.given import assert_same, ledger_of
from tests.store.populated import Served, assert_all_same, load_states, serve_users


async def test_a_service_starts_from_a_backup_where_it_was(tmp_path: Path) -> None:
    async with Served(tmp_path / "state") as served:
        for user_id in ("anna", "bob"):
            await served.live_history(user_id)
        live = {user_id: await served.profile(user_id) for user_id in ("anna", "bob")}
        waiting = await served.decide("carol")
        result = create_backup(tmp_path / "state", tmp_path / "backups" / "monday")
        secret = served.store.secret
    assert (result.users, result.populations) == (3, 0)
    assert [path.name for path in result.destination.iterdir()] == ["ledger.db"]
    assert result.bytes == (result.destination / "ledger.db").stat().st_size
    async with Served(result.destination) as served:
        assert served.store.secret == secret
        assert_all_same(live, {user_id: await served.profile(user_id) for user_id in live})
        served.clock.now += 60.0
        await served.reward(waiting)
        carol = await served.profile("carol")
    assert_same(carol, load_states(result.destination)["carol"])


async def test_a_backup_holds_one_moment_while_writing_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied a page at a time beside a writer, it ends and holds exactly a prefix of the events."""
    monkeypatch.setattr(backup, "_PAGES_PER_STEP", 1)
    await serve_users(tmp_path / "state", *(f"user-{number}" for number in range(30)))
    async with Served(tmp_path / "state", seed=1) as served:
        served.clock.now += 3600.0
        events = threading.Semaphore(0)
        steps: list[int] = []

        def on_step(done: int, _total: int) -> None:
            steps.append(done)
            if len(steps) <= 12:
                assert events.acquire(timeout=60)  # an event for every step

        copying = asyncio.create_task(asyncio.to_thread(create_backup, tmp_path / "state", tmp_path / "copy", on_step))
        while not copying.done():
            await served.reward_legacy("late")
            events.release()
        await copying
    assert len(steps) > 12
    assert steps == sorted(set(steps))
    with ledger_of(tmp_path / "copy") as copy, ledger_of(tmp_path / "state") as ledger:
        newest = "SELECT coalesce(max(seq), 0), count(*) FROM rewards"
        last, count = copy.execute(newest).fetchone()
        assert ledger.execute("SELECT count(*) FROM rewards WHERE seq <= ?", (last,)).fetchone() == (count,)
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert load_states(tmp_path / "copy").keys() >= {f"user-{number}" for number in range(30)}


async def test_the_learned_priors_come_along(tmp_path: Path) -> None:
    await serve_users(tmp_path / "state", "anna")
    (tmp_path / "state" / "population").mkdir()
    (tmp_path / "state" / "population" / "linucb-v2.json").write_text('{"version": 1}', encoding="utf-8")
    assert create_backup(tmp_path / "state", tmp_path / "copy").populations == 1
    assert (tmp_path / "copy" / "population" / "linucb-v2.json").read_text(encoding="utf-8") == '{"version": 1}'


async def test_what_the_judge_was_taught_comes_along(tmp_path: Path) -> None:
    await serve_users(tmp_path / "state", "anna")
    (tmp_path / "state" / "judge").mkdir()
    for name in ("calibration.json", "followup-v1.npz", "followup-v1.npz.partial"):
        (tmp_path / "state" / "judge" / name).write_text(name, encoding="utf-8")
    assert create_backup(tmp_path / "state", tmp_path / "copy").judge == 2
    copied = sorted((tmp_path / "copy" / "judge").iterdir())
    assert [(path.name, path.read_text(encoding="utf-8")) for path in copied] == [
        ("calibration.json", "calibration.json"),
        ("followup-v1.npz", "followup-v1.npz"),
    ]


async def test_a_backup_is_for_its_owner_s_eyes_and_an_empty_directory_is_fine(tmp_path: Path) -> None:
    await serve_users(tmp_path / "state", "anna")
    (tmp_path / "empty").mkdir()
    create_backup(tmp_path / "state", tmp_path / "empty")
    create_backup(tmp_path / "state", tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0


async def test_a_destination_that_holds_anything_is_refused(tmp_path: Path) -> None:
    await serve_users(tmp_path / "state", "anna")
    create_backup(tmp_path / "state", tmp_path / "copy")
    (tmp_path / "file").write_text("", encoding="utf-8")
    for destination in (tmp_path / "copy", tmp_path / "file", tmp_path / "state"):
        with pytest.raises(ConfigurationError, match="is not an empty directory"):
            create_backup(tmp_path / "state", destination)


def test_a_directory_without_a_ledger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"holds no ledger\.db"):
        create_backup(tmp_path, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


async def test_a_damaged_copy_is_refused_and_removed(tmp_path: Path) -> None:
    await serve_users(tmp_path / "state", *(f"user-{number}" for number in range(40)))
    with ledger_of(tmp_path / "state") as ledger:
        (root,) = ledger.execute("SELECT rootpage FROM sqlite_master WHERE name = 'rewards_by_decision'").fetchone()
        (size,) = ledger.execute("PRAGMA page_size").fetchone()
    with (tmp_path / "state" / "ledger.db").open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(bytes(size))
    with pytest.raises(StorageUnavailableError, match="the copy is damaged"):
        create_backup(tmp_path / "state", tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []
