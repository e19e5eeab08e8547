"""A loop with one model for everybody: all teach it, each is known apart, and whoever is erased was never there."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from bandstand.bandit.loop_definition import EVERYBODY
from bandstand.errors import InvalidRequestError, LoopRefusedError, StorageUnavailableError, UnknownDecisionError
from bandstand.evaluate.files.event_files import EventFiles
from bandstand.service import users
from bandstand.service.history import load_history, load_receipt
from bandstand.service.stats import load_user_stats
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.event_files.day_reader import DirectoryDays
from bandstand.store.event_files.export import export_days, forget_erased
from bandstand.store.logged_events import LoggedDecision
from bandstand.store.maintenance import rebuild_verify
from bandstand.store.maintenance.decision_log import read_events
from bandstand.store.maintenance.offline import open_owned, open_read_only
from bandstand.store.tables.gains import GainDay
from tests.service.given import Service
from tests.service.one_model import ONE_MODEL, load_model, require_equal, teach
from tests.store.given import CATALOGUE, DAY, make_embedded

QUICK = StoreOptions(sync=False, checkpoint_seconds=3600, shared_user=EVERYBODY)
Open = Callable[[str], Awaitable[Service]]


@pytest.fixture
async def open_service(tmp_path: Path) -> AsyncIterator[Open]:
    """Starts a service over a directory of that name."""
    opened: list[Service] = []

    async def start(name: str) -> Service:
        service = Service(make_embedded(tmp_path / name, QUICK), definition=ONE_MODEL, shadow_policies=("thompson-v1",))
        await service.deployment.store.open()
        await service.deployment.start()
        opened.append(service)
        return service

    yield start
    for service in opened:
        await service.deployment.store.close()


async def load_gains(service: Service) -> list[GainDay]:
    await service.deployment.store.follow_gains()
    return [each for each in (await service.deployment.store.load_gain_sums()).days if each.rewarded]


async def test_all_teach_one_model_and_each_is_known_apart(open_service: Open) -> None:
    service = await open_service("one")
    ids = {user: [await teach(service, user, number) for number in range(1, 9)] for user in ("anna", "berta")}
    model = await load_model(service)
    assert model.policies["linucb-v2", "tips-v2"].reward_count == 14
    assert model.policies["thompson-v1", "tips-v2"].reward_count == 14, "who is in the shadow has one model too"
    for _ in range(2):
        for user, own in ids.items():
            history = await load_history(service.deployment, user)
            assert [each.decision_id for each in history.history] == own
            receipt = await load_receipt(service.deployment, own[0])
            assert receipt.user_id == user
            assert (await load_user_stats(service.deployment, user)).reward_count == 14
        await service.reopen()
    with pytest.raises(UnknownDecisionError):
        await service.reward({"user_id": "berta", "decision_id": ids["anna"][4], "reward": 1.0})
    again = {"user_id": "anna", "decision_id": ids["anna"][3], "reward": 4 / 100}
    assert (await service.reward(again)).repeated
    with pytest.raises(InvalidRequestError, match="names its decision"):
        await service.reward({"user_id": "anna", "tip_id": "tip", "reward": 1.0, "features": {}})
    with pytest.raises(InvalidRequestError, match="is the name of the model"):
        await service.score(user_id=EVERYBODY)
    with pytest.raises(LoopRefusedError, match="no single user can be forgotten"):
        await users.reset(service.deployment, "anna", "ops")


@pytest.mark.parametrize("last", ["anna", "berta"])
async def test_who_is_erased_was_never_there(open_service: Open, tmp_path: Path, last: str) -> None:
    service, without = await open_service("with"), await open_service("without")
    order = [user for _ in range(20) for user in ("anna", "berta", "carla")] + [last]
    own: list[str] = []
    for number, user in enumerate(order):
        decision_id = await teach(service, user, number)
        if user == "anna":
            own.append(decision_id)
        else:
            without.clock.now = service.clock.now - 1
            await teach(without, user, number)
    receipt = await users.erase(service.deployment, "anna", "ops")
    expected = await load_model(without)
    assert (receipt.erased["decisions"], receipt.erased["rewards"]) == (len(own), len([i for i in own if _taught(i)]))
    require_equal(await load_model(service), expected)
    for decision_id in own:
        assert await service.deployment.store.find_decision(decision_id) is None
        with pytest.raises(UnknownDecisionError):
            await service.reward({"decision_id": decision_id, "reward": 1.0})
    assert (await load_history(service.deployment, "anna")).history == []
    await teach(service, "berta", 99)
    await teach(without, "berta", 99)
    expected = await load_model(without)
    require_equal(await load_model(service), expected)
    await service.reopen()
    require_equal(await load_model(service), expected)
    await service.deployment.store.close()
    assert rebuild_verify.verify(tmp_path / "with", CATALOGUE).is_sound
    with open_owned(tmp_path / "with", CATALOGUE) as opened:
        rebuild_verify.rebuild_documents(opened)
    for path in (tmp_path / "with").rglob("*"):
        assert not path.is_file() or b"anna" not in path.read_bytes(), path
    await service.reopen()
    require_equal(await load_model(service), expected)


async def test_what_retention_took_into_a_baseline_stays_and_the_rest_goes(open_service: Open, tmp_path: Path) -> None:
    service = await open_service("with")
    for number in range(1, 9):
        await teach(service, "anna", number)
        await teach(service, "berta", number)
    service.clock.now += 91 * DAY
    later = [await teach(service, "anna", number) for number in range(11, 15)]
    store = service.deployment.store
    assert isinstance(store, EmbeddedStore)
    await store.apply_retention()
    model = (await load_model(service)).policies["linucb-v2", "tips-v2"]
    assert (model.pulls, model.reward_count) == (20, 18)
    await users.erase(service.deployment, "anna", "ops")
    for _ in range(2):
        model = (await load_model(service)).policies["linucb-v2", "tips-v2"]
        assert (model.pulls, model.reward_count) == (16, 14), "what is in a baseline is in one sum with the others"
        await service.reopen()
    assert await service.deployment.store.find_decision(later[0]) is None
    await service.deployment.store.close()
    assert rebuild_verify.verify(tmp_path / "with", CATALOGUE).is_sound
    await service.reopen()


def _taught(decision_id: str) -> bool:
    return int(decision_id.rpartition("-")[2]) % 5 != 0


@pytest.mark.parametrize(
    "dies_in", ["bandstand.store.learners.erasure.find_taught", "bandstand.store.sqlite.sweep.Sweeper.run"]
)
async def test_an_erasure_that_a_crash_cut_short_is_gone_from_the_model_at_the_next_start(
    open_service: Open, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    service, without = await open_service("with"), await open_service("without")
    for number in range(1, 30):
        await teach(service, "anna", number)
        await teach(service, "berta", number)
        without.clock.now = service.clock.now - 1
        await teach(without, "berta", number)
    await service.reopen()  # there is a document that knows her

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(dies_in, fail)
        with pytest.raises(StorageUnavailableError):
            await users.erase(service.deployment, "anna", "ops")
        await service.deployment.store.close()
    await service.deployment.store.close()
    await service.reopen()
    require_equal(await load_model(service), await load_model(without))
    assert (await users.erase(service.deployment, "anna", "ops")).erased["decisions"] == 0


async def test_what_is_gained_is_each_persons_own_and_goes_with_them(open_service: Open, tmp_path: Path) -> None:
    service = await open_service("gained")
    await teach(service, "berta", 7)
    [before] = await load_gains(service)
    for number in (1, 2, 3):
        await teach(service, "anna", number)
    assert (await load_gains(service))[0].rewarded == 4
    await service.deployment.store.erase("anna", "tests")
    [after] = await load_gains(service)
    assert after.policy == before.policy
    assert list(after[2:]) == pytest.approx(list(before[2:]), abs=1e-9)
    with sqlite3.connect(tmp_path / "gained" / "ledger.db") as ledger:
        [owner] = ledger.execute("SELECT u.user_id FROM gain_users AS g JOIN users AS u USING (uid)").fetchall()
    ledger.close()
    assert owner == ("berta",)
    service.clock.now += 100 * DAY
    await teach(service, "cleo", 4)
    assert isinstance(service.deployment.store, EmbeddedStore)
    await load_gains(service)
    await service.deployment.store.delete_log()
    with sqlite3.connect(tmp_path / "gained" / "ledger.db") as ledger:
        [owner] = ledger.execute("SELECT u.user_id FROM gain_users AS g JOIN users AS u USING (uid)").fetchall()
    ledger.close()
    assert owner == ("cleo",)  # of days that are gone the sums name nobody
    assert [each.rewarded for each in await load_gains(service)] == [1, 1]


async def test_whoever_is_erased_is_taken_out_of_exported_days_and_nobody_else(
    open_service: Open, tmp_path: Path
) -> None:
    service = await open_service("one")
    for number in range(8):
        for user_id in ("ada", "bob"):
            await teach(service, user_id, number)
    with open_read_only(tmp_path / "one", CATALOGUE) as state:
        export_days(DirectoryDays(state), tmp_path / "log", now=service.clock.now + DAY)
    await users.erase(service.deployment, "ada", "tests")
    with open_read_only(tmp_path / "one", CATALOGUE) as state:
        assert forget_erased(DirectoryDays(state), tmp_path / "log").events > 0
        ledger = [event for page in read_events(state) for event in page]
    files = EventFiles.open(tmp_path / "log")
    assert files is not None
    left = [event for page in files.read_events() for event in page]
    found, expected = ([each.seq for each in log if isinstance(each, LoggedDecision)] for log in (left, ledger))
    assert found == expected
    assert len(expected) == 8
