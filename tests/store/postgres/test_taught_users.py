"""A prior learned offline from the users of a shared ledger: what a directory gives, and nobody's who is gone."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bandstand.bandit.population import PopulationPrior
from bandstand.errors import InvalidRequestError
from bandstand.learning.offline_prior import fit_offline_prior, plan_prior, write_user_sums
from bandstand.learning.shared_population import SharedPriorRefresher
from bandstand.learning.taught_users import DirectoryUsers, TaughtUsers
from bandstand.store.maintenance.offline import no_tick, open_owned
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.prior_log import read_prior, write_offline_prior
from bandstand.store.postgres.store import SharedStore
from bandstand.store.postgres.taught_users import open_taught_users
from tests.store.given import CATALOGUE, Subject
from tests.store.populated import Served
from tests.store.postgres.moving import move_directory
from tests.store.postgres.shared import make_shared, run_law_server

POLICY = CATALOGUE.get_policy("linucb-v2")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_law_server() as found:
        yield found


def learn(users: TaughtUsers, folder: Path) -> PopulationPrior:
    """Learn a prior in two parts and put it in its place."""
    plan = plan_prior(users, POLICY, 2)
    paths = [folder / f"{number}.users" for number in range(len(plan.parts))]
    for number, path in enumerate(paths):
        write_user_sums(users, plan, number, POLICY, path, no_tick)
    fitted = fit_offline_prior(users, plan, POLICY, paths)
    assert (fitted.users, fitted.gone) == (5, 0)
    return PopulationPrior.from_json(users.read_prior(POLICY.name) or {})


def flatten(value: Any) -> list[float]:
    """The numbers of a document, in its order."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [number for part in parts for number in flatten(part)]
    return [float(value)] if isinstance(value, int | float) else []


@pytest.mark.slow
async def test_it_is_what_a_directory_gives_and_goes_with_the_first_who_is_erased(tmp_path: Path, url: str) -> None:
    async with Served(tmp_path / "state") as served:
        for number in range(5):
            await served.live_history(f"user-{number}", 4, ("linucb-v2",))
    await move_directory(tmp_path / "state", url)
    with open_owned(tmp_path / "state", CATALOGUE, moving=True) as state:
        expected = learn(DirectoryUsers(state), tmp_path)

    def learn_shared() -> PopulationPrior:
        with open_taught_users(LedgerAddress.parse(url), CATALOGUE, writes=True) as users:
            return learn(users, tmp_path)

    learned = await asyncio.to_thread(learn_shared)
    assert flatten(learned.to_json()) == pytest.approx(flatten(expected.to_json()), abs=1e-9)
    async with Subject(make_shared(url)) as subject, Subject(make_shared(url), 2) as other:
        assert isinstance(subject.store, SharedStore)
        ledger = subject.store.ledger
        population = SharedPriorRefresher(CATALOGUE, subject.store, subject.store.priors)
        await population.open()
        assert population.build_summary()[POLICY.name]["users"] == 5
        body = dict(await read_prior(ledger.readers, POLICY.name) or {})
        everybody = {"members": [f"user-{number}" for number in range(4)], "former": ["user-4"]}
        await write_offline_prior(ledger.writers, POLICY.name, {**body, **everybody})
        await population.look()
        assert population.build_summary()[POLICY.name]["generation"] == body["generation"] + 1, "believed while serving"
        await population.close()
        await other.store.erase("user-3", "tests")
        assert await read_prior(ledger.readers, POLICY.name) is None, "it goes with the first who is erased"
        with pytest.raises(InvalidRequestError, match="erased meanwhile"):
            await write_offline_prior(ledger.writers, POLICY.name, {**body, **everybody})
