"""The population priors of a running deployment: learned from rewards, kept, taken up again, and rid of who goes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.choice import choose
from bandstand.bandit.population import PopulationPrior
from bandstand.bandit.reservoir import compute_sampling_key
from bandstand.bandit.ridge import Prior
from bandstand.errors import StorageUnavailableError
from bandstand.learning.population import PopulationPriorRefresher
from bandstand.service import stats as stats_service
from bandstand.service import users as users_service
from bandstand.service.context import ServiceContext
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.learners.prior_file import PriorFiles
from bandstand.store.maintenance import rebuild_verify
from bandstand.store.maintenance.offline import open_owned
from tests.bandit.given import SHIPPED
from tests.service.given import Service
from tests.store.given import CATALOGUE, QUICK, documents_in, hold_calls, make_embedded

POLICY = CATALOGUE.policies["linucb-v2"]
REFRESH = 20


class Learning(Service):
    """A deployment whose population priors are learned after every 20 rewards and kept on disk."""

    def __init__(self, state_dir: Path, catalogue: Catalogue = CATALOGUE, refresh_rewards: int = REFRESH) -> None:
        self.files = PriorFiles(state_dir)
        super().__init__(make_embedded(state_dir))
        self._make_store = lambda clock: EmbeddedStore(state_dir, catalogue, options=QUICK, clock=clock)
        self._deployment = lambda store: ServiceContext(
            catalogue,
            store,
            clock=self.clock,
            prior_files=self.files,
            prior_refresh_rewards=refresh_rewards,
        )
        self.deployment = self._deployment(self._make_store(self.clock))

    async def open(self) -> None:
        await self.deployment.store.open()
        await self.deployment.population.open()

    async def close(self) -> None:
        await self.deployment.population.close()
        await self.deployment.store.close()

    async def reopen(self) -> None:
        await self.close()
        self.open_again()
        await self.open()

    def open_again(self, *, files: bool = True) -> None:
        """Take a new deployment over the same directory, not open yet."""
        self.deployment = self._deployment(self._make_store(self.clock))
        if not files:
            self.deployment.population = PopulationPriorRefresher(
                CATALOGUE, self.deployment.store, refresh_rewards=REFRESH
            )

    async def teach_policy(self, users: int, each: int, policy: str | None = None, first: int = 0) -> None:
        """Let users like what is urgent: the reward of a pick is its priority, from −1 to 1."""
        for user in range(first, first + users):
            for number in range(each):
                request = self.legacy(f"user-{user}")
                request["features"] |= {"priority": number % 4 + 1}
                request["reward"] = (number % 4) / 1.5 - 1.0
                await self.reward(request, policy)

    def prior(self, user_id: str = "a stranger") -> Prior:
        return self.deployment.get_prior(POLICY, user_id)

    async def wait_until_fitted(self, generation: int = 1, policy: str = "linucb-v2", seconds: float = 60.0) -> float:
        """Wait for that generation of a prior; returns for how long."""
        began = time.monotonic()
        async with asyncio.timeout(seconds):
            while self.deployment.population.build_summary()[policy]["generation"] < generation:  # noqa: ASYNC110 (what is waited for is on the disk)
                await asyncio.sleep(0.01)
        return time.monotonic() - began

    async def read_prior_file(self, policy: str = "linucb-v2") -> dict[str, object]:
        """The file, once it is that of the newest generation, which counts before it is written."""
        generation = self.deployment.population.build_summary()[policy]["generation"]
        async with asyncio.timeout(60.0):
            while (document := self.files.read(policy)) is None or document["generation"] != generation:  # noqa: ASYNC110 (the same)
                await asyncio.sleep(0.01)
        return document


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Learning]:
    service = Learning(tmp_path)
    await service.open()
    yield service
    await service.close()


def is_same(one: Prior, other: Prior, within: float = 0.0) -> bool:
    pairs = ((one.mean, other.mean), (one.covariance, other.covariance), (one.noise, other.noise))
    return all(float(np.abs(np.subtract(a, b)).max()) <= within for a, b in pairs)


async def test_before_enough_rewards_nobody_is_believed_to_be_like_anybody(service: Learning) -> None:
    await service.teach_policy(users=3, each=6)
    assert service.prior() is POLICY.prior
    assert service.deployment.population.build_summary()["linucb-v2"]["generation"] == 0
    assert service.files.list_policies() == set()


async def test_enough_rewards_teach_what_a_stranger_may_be_like(service: Learning) -> None:
    await service.teach_policy(users=5, each=4)
    await service.wait_until_fitted()
    assert service.prior().mean[POLICY.schema.labels.index("priority")] > 0.3
    assert service.deployment.population.build_summary()["linucb-v2"] | {"checksum": None, "learned_at": None} == {
        "generation": 1,
        "checksum": None,
        "seq": service.deployment.population.build_summary()["linucb-v2"]["seq"],
        "learned_at": None,
        "users": 5,
        "rewards": 20,
    }
    request = service.request("a stranger", 2)
    for candidate, priority in zip(request["candidates"], (1, 4), strict=True):
        candidate["features"] = {"is_overdue": False, "task_age_days": 3.0, "priority": priority}
    first, _ = (await service.score(request)).build_ranking(request["candidates"])  # one pick in a hundred is the other
    assert (first["tip_id"], first["propensity"]) == ("tip-1", 0.99)


async def test_the_next_rewards_make_the_next_generation(service: Learning) -> None:
    await service.teach_policy(users=5, each=4)
    await service.wait_until_fitted()
    first = await service.read_prior_file()
    await service.teach_policy(users=5, each=4, first=5)
    await service.wait_until_fitted(2)
    second = await service.read_prior_file()
    assert (first["generation"], second["generation"]) == (1, 2)
    assert (first["parent"], second["parent"]) == (None, first["checksum"])
    assert isinstance(second["lineage"], list)
    assert second["lineage"][0] == {
        key: first[key] for key in ("generation", "checksum", "seq", "learned_at", "users", "rewards")
    }
    assert (first["users"], second["users"]) == (5, 10)
    assert int(str(second["seq"])) > int(str(first["seq"]))


async def test_what_users_taught_is_stored_without_it(service: Learning) -> None:
    await service.teach_policy(users=5, each=4)
    profile = await service.deployment.store.load_profile("user-1")
    before = json.dumps(profile.to_json())
    await service.wait_until_fitted()
    await service.deployment.population.refresh_prior("linucb-v2")
    assert json.dumps(profile.to_json()) == before


async def test_a_cached_belief_is_made_anew_under_a_new_prior(service: Learning) -> None:
    await service.teach_policy(users=4, each=4)
    before = (await stats_service.load_user_stats(service.deployment, "user-0")).theta
    await service.teach_policy(users=2, each=4, first=4)
    await service.wait_until_fitted()
    after = (await stats_service.load_user_stats(service.deployment, "user-0")).theta
    assert max(abs(a - b) for a, b in zip(before, after, strict=True)) > 1e-3
    profile = await service.deployment.store.load_profile("user-0")
    state = profile.policies["linucb-v2", "tips-v2"]
    assert after == state.get_posterior(service.prior("user-0")).mean.tolist()


async def test_of_a_user_never_met_the_stats_are_still_zeros(service: Learning) -> None:
    await service.teach_policy(users=5, each=4)
    await service.wait_until_fitted()
    told = await stats_service.load_user_stats(service.deployment, "a stranger")
    assert told.theta == [0.0] * 8


async def test_policies_that_do_not_ask_for_it_keep_their_own(service: Learning) -> None:
    await service.teach_policy(users=5, each=4, policy="linucb")
    await asyncio.sleep(0.05)
    v1 = CATALOGUE.policies["linucb-v1"]
    assert service.deployment.get_prior(v1, "user-0") is v1.prior
    assert set(service.deployment.population.build_summary()) == {
        name for name, policy in CATALOGUE.policies.items() if policy.learns_prior
    }
    assert service.prior() is POLICY.prior


async def test_it_can_be_switched_off_in_the_configuration(tmp_path: Path) -> None:
    off = {"policies": {"linucb-v2": {"kind": "linucb", "schema": "tips-v2", "prior": "standard"}}}
    service = Learning(tmp_path, Catalogue.parse(SHIPPED, off))
    await service.open()
    await service.teach_policy(users=5, each=5)
    assert "linucb-v2" not in service.deployment.population.build_summary()
    policy = service.deployment.get_policy("linucb-v2")
    assert service.deployment.get_prior(policy, "user-1") is policy.prior
    await service.close()


async def test_a_receipt_can_be_made_again_from_the_prior_and_the_logged_seed(service: Learning) -> None:
    await service.teach_policy(users=5, each=4)
    await service.wait_until_fitted(policy="linucb-v2")
    thompson = service.deployment.get_policy("thompson-v1")
    request = service.request("user-3", 5)
    scored = await service.score(request, policy="thompson-v1")
    decision = await service.deployment.store.find_receipt(str(scored.decision_id))
    assert decision is not None
    assert decision.numbers is not None
    profile = await service.deployment.store.load_profile("user-3")
    features = [candidate["features"] for candidate in request["candidates"]]
    x = thompson.schema.encode(request["context"], features)
    again = choose(thompson, profile, x, decision.seed, prior=service.deployment.get_prior(thompson, "user-3"))
    assert again.pick == decision.pick
    assert again.distribution.probability.tolist() == decision.numbers[3].tolist()


async def test_a_restart_believes_what_was_believed_and_goes_on(service: Learning) -> None:
    await service.teach_policy(users=5, each=4)
    await service.wait_until_fitted()
    await service.teach_policy(users=1, each=2, first=5)  # not yet in the prior, but in the reservoir
    before = {user: service.prior(user) for user in ("a stranger", "user-0", "user-4")}
    await service.reopen()
    assert all(is_same(service.prior(user), prior) for user, prior in before.items())
    assert service.deployment.population.build_summary()["linucb-v2"]["generation"] == 1
    await service.deployment.population.refresh_prior("linucb-v2")
    assert service.deployment.population.build_summary()["linucb-v2"]["users"] == 6
    assert service.deployment.population.build_summary()["linucb-v2"]["rewards"] == 22


@pytest.mark.parametrize("loss", ["gone", "torn", "foreign", "other schema"])
async def test_without_a_file_to_believe_it_is_learned_again_from_the_users(service: Learning, loss: str) -> None:
    await service.teach_policy(users=6, each=5)
    await service.wait_until_fitted()
    await service.deployment.population.refresh_prior("linucb-v2")
    expected = service.prior()
    await service.close()
    path = service.files.path("linucb-v2")
    document = json.loads(path.read_text())
    match loss:
        case "gone":
            path.unlink()
        case "torn":
            path.write_text(path.read_text()[:-200])
        case "foreign":
            document.pop("checksum")
            document.pop("version")
            service.files.write("linucb-v2", document | {"estimate": {"mean": []}})
        case _:
            document.pop("checksum")
            service.files.write("linucb-v2", document | {"schema_hash": "another"})
    service.open_again()
    await service.open()
    await service.wait_until_fitted()
    assert is_same(service.prior(), expected, 1e-6)


async def test_who_is_erased_is_out_of_the_prior_and_of_its_file(service: Learning, tmp_path: Path) -> None:
    await service.teach_policy(users=6, each=5)
    await service.wait_until_fitted()
    receipt = await users_service.erase(service.deployment, "user-2", "tests")
    assert receipt.erased["priors"] == 1
    assert "user-2" not in service.files.path("linucb-v2").read_text()
    members = {}
    for user in (0, 1, 3, 4, 5):
        profile = await service.deployment.store.load_profile(f"user-{user}")
        ridge = profile.policies["linucb-v2", "tips-v2"].ridge
        assert ridge is not None
        members[f"user-{user}"] = ridge
    without = POLICY.fit_prior(members)
    assert is_same(service.prior(), without.shared, 1e-6)
    assert all(is_same(service.prior(user), without.get_prior(user), 1e-6) for user in members)


SCALE_FREE = Catalogue.parse(
    SHIPPED,
    {
        "schemas": {
            "tips-by-kind": SHIPPED["schemas"]["tips-v2"]
            | {"block": {"source": "candidate.kind", "values": ["a", "b"]}}
        },
        "policies": {
            "free": {"kind": "linucb", "schema": "tips-v2"},
            "free-blocks": {"kind": "linucb", "schema": "tips-by-kind"},
        },
    },
)
"""Two policies whose beliefs learn their scale: one model a user, and blocks."""


@pytest.mark.parametrize("name", ["free", "free-blocks"])
async def test_who_is_erased_was_never_in_a_scale_free_belief(tmp_path: Path, name: str) -> None:
    """It is then what those who stay would have taught alone, after a start and after a rebuild too."""
    service, policy = Learning(tmp_path, SCALE_FREE), SCALE_FREE.policies[name]

    async def learn_again() -> PopulationPrior:
        members = {}
        for user in (0, 1, 3):
            profile = await service.deployment.store.load_profile(f"user-{user}")
            ridge = profile.policies[name, policy.schema.name].ridge
            assert ridge is not None
            members[f"user-{user}"] = ridge
        return policy.fit_prior(members)

    def require_same(expected: PopulationPrior) -> None:
        for user in ("a stranger", "user-0", "user-3"):
            assert is_same(service.deployment.get_prior(policy, user), expected.get_prior(user), 1e-6)

    await service.open()
    for user in range(4):
        for number in range(6):
            request = service.legacy(f"user-{user}", reward=(number + user) % 4 / 1.5 - 1.0)
            request["features"] |= {"priority": number % 4 + 1, "kind": "abc"[number % 3]}
            await service.reward(request, name)
    await service.wait_until_fitted(policy=name)
    before = service.deployment.get_prior(policy, "a stranger")
    await users_service.erase(service.deployment, "user-2", "tests")
    without = await learn_again()
    require_same(without)
    assert not is_same(without.shared, before, 1e-3)
    await service.reopen()
    require_same(without)
    await service.close()
    with open_owned(tmp_path, SCALE_FREE) as opened:
        rebuild_verify.rebuild_documents(opened)
    service.open_again()
    await service.open()
    require_same(without)
    await service.close()


async def test_who_has_left_the_reservoir_is_out_of_what_was_learned_from_them_too(
    service: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who made room for others since the prior was learned, erased by a running service and before a start."""
    monkeypatch.setattr("bandstand.learning.prior_pool.compute_capacity", lambda _: 5)
    await service.reopen()
    secret = service.deployment.store.secret
    last_first = sorted(range(17), key=lambda user: compute_sampling_key(secret, f"user-{user}"), reverse=True)
    for user in last_first[:5]:
        await service.teach_policy(users=1, each=4, first=user)
    await service.wait_until_fitted()
    for user in last_first[5:]:
        await service.teach_policy(users=1, each=1, first=user)
    await service.reopen()
    document = await service.read_prior_file()
    assert document["former"] == sorted(f"user-{user}" for user in last_first[:5])
    one, other = (f"user-{user}" for user in last_first[:2])
    await users_service.erase(service.deployment, one, "tests")
    assert service.deployment.population.build_summary()["linucb-v2"]["generation"] == 2
    again = await service.read_prior_file()
    assert again["former"] == []
    assert f'"{one}"' not in json.dumps(again)

    await service.close()
    document.pop("checksum")
    service.files.write("linucb-v2", document)
    service.open_again()
    await service.deployment.store.open()
    await service.deployment.store.erase(other, "tests")  # a crash between this and the new file
    await service.deployment.population.open()
    await service.wait_until_fitted(2)
    assert f'"{other}"' not in json.dumps(await service.read_prior_file())


async def test_a_fit_under_way_when_a_user_is_erased_does_not_bring_them_back(
    service: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.teach_policy(users=6, each=3)
    with hold_calls(monkeypatch, PopulationPrior, "fit") as gate:
        fitting = asyncio.create_task(service.deployment.population.refresh_prior("linucb-v2"))
        await asyncio.to_thread(gate.reached.wait, 60)
        erasing = asyncio.create_task(users_service.erase(service.deployment, "user-2", "tests"))
        await asyncio.sleep(0.05)
    await asyncio.gather(fitting, erasing)
    assert service.deployment.population.build_summary()["linucb-v2"]["users"] == 5
    assert "user-2" not in service.files.path("linucb-v2").read_text()


async def test_whoever_joins_while_the_prior_is_written_is_kept_by_the_next_stop(
    service: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.teach_policy(users=4, each=3)
    with hold_calls(monkeypatch, PriorFiles, "write") as gate:
        learning = asyncio.create_task(service.deployment.population.refresh_prior("linucb-v2"))
        await asyncio.to_thread(gate.reached.wait, 60)
        await service.teach_policy(users=1, each=3, first=4)
    await learning
    await service.close()
    assert (service.files.read("linucb-v2") or {})["members"] == [f"user-{user}" for user in range(5)]
    service.open_again()
    await service.open()


async def test_a_prior_whose_writing_the_stop_interrupts_is_written_by_the_stop(
    service: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hears any more what the first try came to."""
    write, tries = PriorFiles.write, []

    def write_second(*arguments: Any) -> str:
        tries.append(arguments)
        if len(tries) == 1:
            raise OSError(28, "No space left on device")
        return write(*arguments)

    monkeypatch.setattr(PriorFiles, "write", write_second)
    with hold_calls(monkeypatch, PriorFiles, "write") as gate:
        await service.teach_policy(users=4, each=5)
        await asyncio.to_thread(gate.reached.wait, 60)
        stopping = asyncio.create_task(service.close())
        await asyncio.sleep(0.05)
    await stopping
    assert service.files.list_policies() == {"linucb-v2"}
    service.open_again()
    await service.open()


async def test_the_last_user_takes_the_prior_along(service: Learning) -> None:
    await service.teach_policy(users=1, each=20)
    await service.wait_until_fitted()
    await users_service.erase(service.deployment, "user-0", "tests")
    assert is_same(service.prior(), POLICY.prior)


async def test_an_erasure_on_a_disk_that_is_full_leaves_no_file(
    service: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.teach_policy(users=6, each=5)
    await service.wait_until_fitted()

    def raise_no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(service.files, "write", raise_no_space)
    await users_service.erase(service.deployment, "user-2", "tests")
    assert service.files.list_policies() == set()
    assert service.deployment.population.build_summary()["linucb-v2"]["users"] == 5


async def test_an_erasure_while_nothing_runs_leaves_no_file_that_names_the_user(service: Learning) -> None:
    """As the command line erases, on a directory that no service has open."""
    await service.teach_policy(users=6, each=5)
    await service.wait_until_fitted()
    await service.close()
    service.open_again()
    await service.deployment.store.open()
    await users_service.erase(service.deployment, "a stranger", "tests")
    assert service.files.list_policies() == {"linucb-v2"}
    await users_service.erase(service.deployment, "user-2", "tests")
    assert service.files.list_policies() == set()


async def test_a_user_erased_while_nothing_could_write_is_gone_after_the_start(service: Learning) -> None:
    """A crash between the erasure in the ledger and the new file."""
    await service.teach_policy(users=6, each=5)
    await service.wait_until_fitted()
    await service.deployment.store.erase("user-2", "tests")
    body = {key: value for key, value in (await service.read_prior_file()).items() if key != "checksum"}
    await service.deployment.population.close()
    service.files.write("linucb-v2", {**body, "members": [f"user-{user}" for user in range(6)]})
    await service.deployment.store.close()
    service.open_again()
    await service.open()
    await service.wait_until_fitted(2)
    assert "user-2" not in json.dumps(await service.read_prior_file())


async def test_who_is_reset_is_out_of_the_next_generation(service: Learning) -> None:
    await service.teach_policy(users=6, each=5)
    await service.wait_until_fitted()
    await users_service.reset(service.deployment, "user-2", "tests")
    await service.wait_until_fitted(2)
    assert service.deployment.population.build_summary()["linucb-v2"]["users"] == 5
    await service.teach_policy(users=1, each=1, first=2)
    await service.deployment.population.refresh_prior("linucb-v2")
    assert service.deployment.population.build_summary()["linucb-v2"]["users"] == 6


async def test_a_prior_that_cannot_be_learned_or_kept_leaves_the_service_as_it_was(
    service: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise np.linalg.LinAlgError("singular")

    with monkeypatch.context() as broken:
        broken.setattr("bandstand.bandit.population.fit_priors", fail)
        await service.teach_policy(users=5, each=4)
        await asyncio.sleep(0.1)
    assert service.prior() is POLICY.prior
    assert (await service.score()).decision_id is not None
    await service.teach_policy(users=5, each=4)
    await service.wait_until_fitted()


async def test_without_a_place_for_files_priors_live_as_long_as_the_process(tmp_path: Path) -> None:
    service = Learning(tmp_path)
    service.open_again(files=False)
    await service.open()
    await service.teach_policy(users=5, each=4)
    await service.wait_until_fitted()
    await users_service.erase(service.deployment, "user-1", "tests")
    assert service.deployment.population.build_summary()["linucb-v2"]["users"] == 4
    await service.close()
    assert not (tmp_path / "population").exists()


async def test_a_refresh_reads_no_documents(service: Learning, tmp_path: Path) -> None:
    await service.teach_policy(users=5, each=4)
    await service.wait_until_fitted()
    await service.close()
    service.open_again()
    await service.open()
    await service.teach_policy(users=1, each=1, first=8)
    for path in documents_in(tmp_path):
        path.write_text("not to be read")
    await service.deployment.population.refresh_prior("linucb-v2")
    assert service.deployment.population.build_summary()["linucb-v2"]["users"] == 6


async def test_rewards_that_teach_nothing_are_not_counted(service: Learning) -> None:
    request = service.request("anna")
    scored = await service.score(request)
    await service.teach_policy(users=5, each=3)
    await users_service.reset(service.deployment, "anna", "tests")
    taught = await service.reward({"decision_id": scored.decision_id, "reward": 1.0})
    assert not taught.applied
    await service.teach_policy(users=1, each=4)
    await asyncio.sleep(0.05)
    assert service.deployment.population.build_summary()["linucb-v2"]["generation"] == 0


@pytest.mark.parametrize("count", [1, 7, 40, 41, 100])
async def test_the_sample_has_the_smallest_keys_of_all_users(
    service: Learning, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("bandstand.learning.population._PAGE_SIZE", 6)
    await service.teach_policy(users=41, each=1)
    secret = service.deployment.store.secret
    by_key = sorted((f"user-{n}" for n in range(41)), key=lambda user_id: compute_sampling_key(secret, user_id))
    assert await service.deployment.population.select_sample(count) == by_key[:count]


async def stop_one_that_has_learned(state_dir: Path) -> Learning:
    """A closed deployment with several priors, one of which has its file."""
    service = Learning(state_dir, Catalogue.parse(SHIPPED, {"policies": {"also": SHIPPED["policies"]["linucb-v2"]}}))
    await service.open()
    await service.teach_policy(users=5, each=6)
    await service.wait_until_fitted()
    await service.read_prior_file()
    await service.close()
    return service


async def test_a_start_without_files_draws_one_sample_for_all_priors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await stop_one_that_has_learned(tmp_path)
    for path in (tmp_path / "population").iterdir():
        path.unlink()
    draws, select = list[int](), PopulationPriorRefresher.select_sample

    async def count_draws(population: PopulationPriorRefresher, count: int) -> list[str]:
        draws.append(count)
        return await select(population, count)

    monkeypatch.setattr(PopulationPriorRefresher, "select_sample", count_draws)
    service.open_again()
    await service.open()
    await service.wait_until_fitted()
    assert len(service.deployment.population.build_summary()) > 1
    assert len(draws) == 1
    assert service.deployment.population.list_members() == {f"user-{n}" for n in range(5)}
    await service.close()


async def test_without_a_sample_the_priors_whose_users_are_known_are_filled_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await stop_one_that_has_learned(tmp_path)

    async def fail(*_: object) -> list[str]:
        raise StorageUnavailableError("cannot be read")

    monkeypatch.setattr(PopulationPriorRefresher, "select_sample", fail)
    service.open_again()
    await service.open()
    assert not service.files.path("also").exists()
    await service.deployment.population.refresh_prior("linucb-v2")
    assert service.deployment.population.list_members() == {f"user-{n}" for n in range(5)}
    await service.close()
