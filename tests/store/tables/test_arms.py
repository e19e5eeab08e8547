"""Arms: what rewards bring by name is added up by arm and user, and goes out again with its decision's reward."""

import sqlite3
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from bandstand.bandit.experiment import Experiment
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.service.activation import activate
from bandstand.service.experiment import load_experiment_status
from bandstand.service.undo import undo
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.tables import arms, gains
from bandstand.store.tables.arms import MAX_METRICS, REWARD, ArmHistory
from bandstand.store.tables.undo import Selection
from tests.service.given import Make, Service, in_memory, on_disk
from tests.store.given import DAY, QUICK, make_embedded

EXPERIMENT = Experiment.parse("linucb-v2:50,thompson-v1:50")
SETTINGS = RewardSettings(window=600.0, aggregation="sum")
Sums = dict[tuple[str, str], list[float]]


class Books:
    """A service with an experiment, and what its users' decisions brought, kept beside it.

    Attributes:
        brought: by decision: its user, its arm, its reward and what it brought by name.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.brought: dict[str, tuple[str, str, dict[str, float]]] = {}

    async def decide(self, user_id: str, **fields: bool) -> str:
        scored = await self.service.score(self.service.request(user_id, **fields))
        assert scored.decision_id is not None
        self.brought[scored.decision_id] = (user_id, scored.policy, {})
        return scored.decision_id

    async def reward(self, decision_id: str, value: float, **metrics: float) -> None:
        await self.send(decision_id, value, **metrics)
        book = self.brought[decision_id][2]
        for metric, amount in {REWARD: value, **metrics}.items():
            book[metric] = book.get(metric, 0.0) + amount

    async def send(self, decision_id: str, value: float, **metrics: float) -> None:
        """Send a part that does not count."""
        await self.service.reward({"decision_id": decision_id, "reward": value, "metrics": metrics})

    def count(self) -> Sums:
        """The sums by metric and arm, counted anew: users, n, total, and squares and products by user."""
        users: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0, 0.0])
        for user_id, arm, book in self.brought.values():
            for metric, value in book.items():
                n, total = users[metric, arm, user_id]
                users[metric, arm, user_id] = [n + 1, total + value]
        found: Sums = defaultdict(lambda: [0.0] * 6)
        for (metric, arm, _), (n, total) in users.items():
            amounts = (1, n, total, n * n, n * total, total * total)
            found[metric, arm] = [one + more for one, more in zip(found[metric, arm], amounts, strict=True)]
        return found

    async def load(self) -> ArmHistory:
        deployment = self.service.deployment
        await deployment.store.follow_gains()
        begun = deployment.running_experiment
        assert begun is not None
        return await deployment.store.load_arms(begun.seq)

    async def check(self) -> None:
        require_equal(summarise(await self.load()), self.count())


def summarise(history: ArmHistory) -> Sums:
    return {
        (metric, arm): [each.rewarded, each.n, each.total, each.nn, each.nt, each.tt]
        for metric, by_arm in history.now.items()
        for arm, each in by_arm.items()
        if each.n
    }


def require_equal(found: Sums, expected: Sums) -> None:
    assert found.keys() == expected.keys()
    for key, amounts in expected.items():
        assert found[key] == pytest.approx(amounts, abs=1e-9), key


async def open_books(service: Service) -> Books:
    await service.deployment.store.open()
    await service.deployment.start()
    return Books(service)


async def live(books: Books, users: int) -> list[str]:
    """Two decisions a user, with a part or two each."""
    decisions = []
    for number in range(2 * users):
        decision_id = await books.decide(f"user-{number % users}")
        await books.reward(decision_id, 0.1, click=number % 2, revenue=0.1 + number)
        if number % 3 == 0:
            await books.reward(decision_id, 0.2, revenue=2.7, complaints=1.0)
        decisions.append(decision_id)
    return decisions


@pytest.mark.parametrize("make", [in_memory, on_disk])
async def test_they_equal_a_recount_whatever_is_taken_back(make: Make, tmp_path: Path) -> None:
    books = await open_books(Service(make(tmp_path), experiment=EXPERIMENT, reward_settings=SETTINGS))
    deployment = books.service.deployment
    decisions = await live(books, 6)
    await books.check()
    held = await books.decide("user-1", defer=True)
    await books.send(held, 0.3, click=5.0)
    await books.check()  # nobody was shown it
    await activate(deployment, held, "tests")
    books.brought[held][2].update({REWARD: 0.3, "click": 5.0})
    await books.check()
    await undo(deployment, Selection(decision_id=decisions[3]), client="tests")
    books.brought[decisions[3]][2].clear()
    await books.check()
    await books.send(decisions[3], 0.4, click=7.0)  # what was taken back is not taught again
    await books.check()
    await deployment.store.erase("user-2", "tests")
    books.brought = {key: book for key, book in books.brought.items() if book[0] != "user-2"}
    await books.check()
    await books.service.reopen()
    books.service.clock.now += 601.0
    await books.send(decisions[0], 0.5, click=9.0)  # late
    silent = await books.decide("user-3")
    await books.reward(silent, 0.5, click=1.0)
    await books.check()
    await books.service.deployment.store.close()


async def test_pages_of_any_size_and_retention_leave_them_as_they_are(tmp_path: Path) -> None:
    options = replace(QUICK, retention_days=90)
    service = Service(make_embedded(tmp_path, options), experiment=EXPERIMENT, reward_settings=SETTINGS)
    books = await open_books(service)
    decisions = await live(books, 4)
    await undo(service.deployment, Selection(decision_id=decisions[3]), client="tests")
    books.brought[decisions[3]][2].clear()
    await books.check()
    begun, secret = service.deployment.running_experiment, service.deployment.store.secret
    assert begun is not None
    await service.deployment.store.close()
    for size in (1, 3):
        with sqlite3.connect(tmp_path / "ledger.db", isolation_level=None) as ledger:
            ledger.executescript(
                "DELETE FROM gain_days; DELETE FROM gain_users; DELETE FROM arm_users; DELETE FROM arm_sums;"
                "UPDATE followers SET seq = 0;"
            )
            while (page := gains.read_page(ledger, size, secret)) is not None:
                assert gains.apply_page(ledger, page)
            require_equal(summarise(arms.load_arms(ledger, begun.seq)), books.count())
        ledger.close()
    await service.reopen()
    service.clock.now += 100 * DAY
    await books.reward(await books.decide("user-0"), 0.5, click=1.0)
    store = service.deployment.store
    assert isinstance(store, EmbeddedStore)
    await store.apply_retention()
    await books.check()
    await books.reward(await books.decide("eve"), 0.5, whim=1.0)
    await store.follow_gains()
    await store.erase("eve", "tests")
    with sqlite3.connect(tmp_path / "ledger.db") as ledger:
        names = {name for (name,) in ledger.execute("SELECT metric FROM arm_sums UNION SELECT metric FROM arm_days")}
    ledger.close()
    assert names == {REWARD, "click", "revenue", "complaints"}, "a name that only they brought goes with them"
    await service.deployment.store.close()


@pytest.mark.parametrize("make", [in_memory, on_disk])
async def test_the_first_names_have_a_place_and_the_rest_are_counted(make: Make, tmp_path: Path) -> None:
    books = await open_books(Service(make(tmp_path), experiment=EXPERIMENT, reward_settings=SETTINGS))
    many = {f"metric-{number:02}": 1.0 for number in range(MAX_METRICS + 2)}
    first, second = [await books.decide("anna") for _ in range(2)]
    await books.reward(first, 0.5, **many)
    await books.service.reward({"decision_id": second, "reward": 0.5, "metrics": {REWARD: 3.0, "metric-21": 1.0}})
    await books.service.deployment.store.follow_gains()
    status = await load_experiment_status(books.service.deployment)
    assert status is not None
    [named] = [arm.metrics for arm in status.readout.arms.values() if arm.users]
    assert list(named) == list(many)[:MAX_METRICS]
    assert status.readout.metrics_left_out == 4
    await undo(books.service.deployment, Selection(decision_id=first), client="tests")
    history = await books.load()
    assert history.left_out == 2
    assert sum(each.n for by_arm in history.now.values() for each in by_arm.values()) == 1  # the other reward's
    await books.service.deployment.store.close()
