"""Learning modes: who is served, and who learns, in each."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bandstand.bandit.experiment import Experiment
from bandstand.bandit.loop_definition import LearningMode, LoopDefinition
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.errors import LearningModeError, LoopRefusedError
from bandstand.service.activation import activate
from bandstand.service.history import load_receipt
from bandstand.service.promotion import promote
from bandstand.service.shadow_value import load_shadow_values
from tests.service.given import Make, Service, in_memory, on_disk
from tests.store.postgres.shared import empty_ledger, make_shared, run_law_server

OpenService = Callable[..., Awaitable[Service]]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with run_law_server() as url:
        yield url


@pytest.fixture(params=["memory", "embedded", "postgres"])
async def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "postgres":
        url: str = request.getfixturevalue("database")
        await empty_ledger(url)
        return lambda _: make_shared(url)
    return in_memory if request.param == "memory" else on_disk


@pytest.fixture
async def open_service(make: Make, tmp_path: Path) -> AsyncIterator[OpenService]:
    """Starts a service in a mode."""
    opened: list[Service] = []

    async def start(mode: LearningMode, **options: object) -> Service:
        service = Service(make(tmp_path), definition=LoopDefinition(name="default", mode=mode), **options)
        opened.append(service)
        await service.deployment.store.open()
        await service.deployment.start()
        return service

    yield start
    for service in opened:
        await service.deployment.store.close()


async def set_mode(service: Service, mode: LearningMode) -> None:
    await service.deployment.apply_definition(replace(service.deployment.definition, mode=mode))


async def count_rewards(service: Service, policy: str) -> int:
    profile = await service.deployment.store.load_profile("anna")
    return sum(state.reward_count for (name, _), state in profile.policies.items() if name == policy)


async def test_an_apprentice_serves_the_first_and_learns_until_it_is_promoted(open_service: OpenService) -> None:
    service = await open_service("apprentice")
    for number in range(20):
        request = service.request()
        scored = await service.score(request)
        assert (scored.tip_id, scored.propensity, scored.policy) == ("tip-0", 1.0, "first-v1")
        await service.reward({"decision_id": scored.decision_id, "reward": (number % 3 - 1) / 2})
    service.deployment.close_shadows()
    assert await count_rewards(service, "linucb-v2") == 20, "it learns from what the baseline earned"
    values = await load_shadow_values(service.deployment)
    assert values is not None
    assert (values["linucb-v2"].decisions, values["linucb-v2"].rewarded) == (20, 20)
    agreement = values["linucb-v2"].agreement  # of twenty picks one or two, now and then none
    assert agreement is not None
    assert 0.0 <= agreement < 1.0
    with pytest.raises(LearningModeError, match="only first-v1 serves"):
        await service.score(policy="linucb-v2")
    assert (await service.score(policy="first-v1")).policy == "first-v1"
    await promote(service.deployment, "thompson-v1", "ops")
    assert service.deployment.shadows is not None
    assert [policy.name for policy in service.deployment.shadows.policies] == ["thompson-v1"]
    await set_mode(service, "online")
    assert (await service.score()).policy == "thompson-v1"
    assert service.deployment.shadows is None


async def test_logging_serves_the_first_and_teaches_nobody_anything(open_service: OpenService) -> None:
    service = await open_service("online", shadow_policies=("thompson-v1",))
    before = await service.score()
    await set_mode(service, "logging")
    scored = await service.score()
    assert (scored.tip_id, scored.propensity) == ("tip-0", 1.0)
    for decision in (before, scored):
        answer = await service.reward({"decision_id": decision.decision_id, "reward": 1.0})
        assert (answer.applied, answer.reason) == (False, "logging_only")
    service.deployment.close_shadows()
    for policy in ("linucb-v2", "first-v1", "thompson-v1"):
        assert await count_rewards(service, policy) == 0
    await set_mode(service, "online")
    assert service.deployment.shadows is not None
    later = await service.score()
    assert (await service.reward({"decision_id": later.decision_id, "reward": 1.0})).applied
    await service.reopen()
    assert await count_rewards(service, "thompson-v1") == 1, "a rebuild teaches no more than was taught"


async def test_logging_teaches_nothing_of_what_is_rewarded_over_time_either(open_service: OpenService) -> None:
    rewards = RewardSettings(aggregation="sum", window=3600.0, default_reward=0.25)
    service = await open_service("logging", reward_settings=rewards)
    scored, _ = await service.score(), await service.score()
    answer = await service.reward({"decision_id": scored.decision_id, "reward": 1.0})
    assert (answer.applied, answer.reason) == (False, "logging_only")
    service.clock.now += 7200.0
    assert (await service.deployment.store.close_windows(10)).taught == []
    assert await count_rewards(service, "first-v1") == 0


async def test_what_ends_or_is_shown_while_nothing_is_taught_says_so_and_keeps_nobody_waiting(
    open_service: OpenService,
) -> None:
    rewards = RewardSettings(aggregation="sum", window=3600.0, default_reward=0.25)
    service = await open_service("online", reward_settings=rewards)
    silent, held, summed = await service.score(), await service.score(defer=True), await service.score()
    answered = [await service.score() for _ in range(5)]
    await service.reward({"decision_id": held.decision_id, "reward": 0.5})
    await set_mode(service, "logging")
    for each in (*answered, summed):
        answer = await service.reward({"decision_id": each.decision_id, "reward": 1.0})
        assert (answer.applied, answer.reason) == (False, "logging_only")
    shown = await activate(service.deployment, str(held.decision_id), "tests")
    assert (shown.activated, shown.applied, shown.reward, shown.reason) == (True, False, 0.5, "logging_only")
    await set_mode(service, "online")
    # From here on it learns: of a sum, what comes now; of what was shown meanwhile, nothing any more.
    assert (await service.reward({"decision_id": summed.decision_id, "reward": 0.125})).aggregate == 0.125
    late = await service.reward({"decision_id": held.decision_id, "reward": 1.0})
    assert (late.applied, late.reason) == (False, "logging_only")
    await set_mode(service, "logging")
    service.clock.now += 3600.0
    while await service.deployment.windows.close_some():
        pass
    receipt = await load_receipt(service.deployment, str(silent.decision_id))
    assert receipt.reward is not None
    assert (receipt.reward.reward, receipt.reward.applied, receipt.reward.reason) == (0.25, False, "logging_only")
    assert await count_rewards(service, "linucb-v2") == 1
    await set_mode(service, "online")
    await service.score()
    service.clock.now += 3600.0
    assert len((await service.deployment.store.close_windows(1)).taught) == 1, "those from before are no longer due"
    await service.reopen()
    assert await count_rewards(service, "linucb-v2") == 2


async def test_a_mode_without_a_baseline_to_serve_is_refused_and_all_goes_on(open_service: OpenService) -> None:
    service = await open_service("online", experiment=Experiment.parse("linucb-v2:1,thompson-v1:1"))
    with pytest.raises(LoopRefusedError, match="EXPERIMENT"):
        await set_mode(service, "apprentice")
    assert service.deployment.mode == "online"
    assert (await service.score()).policy in {"linucb-v2", "thompson-v1"}
