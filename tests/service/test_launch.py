"""Launches: the ladder climbs while what comes of it allows, goes back where it does not, and obeys by hand."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bandstand.errors import InvalidRequestError, LoopRefusedError, PromotionRefusedError
from bandstand.service.context import ServiceContext
from bandstand.service.launch import (
    LaunchStatus,
    act_on_launch,
    check_launch,
    find_launch_status,
    start_launch,
)
from bandstand.service.promotion import promote
from tests.service.given import Make, Service, in_memory, on_disk

LADDER = {"steps": [20.0, 50.0, 100.0], "min_decisions": 20}


@pytest.fixture(params=[in_memory, on_disk])
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    make: Make = request.param
    started = Service(make(tmp_path))
    await started.deployment.store.open()
    await started.deployment.start()
    yield started
    await started.deployment.store.close()


async def look(deployment: ServiceContext) -> LaunchStatus:
    """How the launch stands."""
    found = await find_launch_status(deployment, "thompson-v1")
    assert found is not None
    return found


async def live(service: Service, users: int, *, new: float, old: float, revenue: float | None = None) -> None:
    """Everybody decides once, and rewards the policy that they have with its value, give or take a little."""
    for number in range(users):
        scored = await service.score(user_id=f"user-{number}")
        value = (new if scored.policy == "thompson-v1" else old) + (-0.05, 0.05)[number % 2]
        brought = {} if revenue is None else {"metrics": {"revenue": revenue + (-1.0, 1.0)[number % 2]}}
        await service.reward({"decision_id": scored.decision_id, "reward": value, **brought})
    await service.deployment.store.follow_gains()


async def test_a_better_policy_climbs_to_its_promotion(service: Service) -> None:
    started = await start_launch(service.deployment, "thompson-v1", LADDER, "ops")
    assert (started.state, started.share, started.control) == ("running", 20.0, "linucb-v2")
    assert await check_launch(service.deployment) == "hold"
    await live(service, 240, new=0.5, old=0.2)
    assert await check_launch(service.deployment) == "advance"
    await service.reopen()  # it goes on where it was
    assert (await look(service.deployment)).share == 50.0
    await live(service, 240, new=0.5, old=0.2)
    assert await check_launch(service.deployment) == "advance"
    ended = await look(service.deployment)
    assert (ended.state, ended.share) == ("finished", 100.0)
    assert [(each.action, each.share) for each in ended.events] == [
        ("start", 20.0),
        ("advance", 50.0),
        ("finish", 100.0),
    ]
    assert ended.events[1].figures["difference"] == pytest.approx(0.3, abs=0.05)
    assert service.deployment.active_policy == "thompson-v1"
    assert (await service.score(user_id="anybody")).policy == "thompson-v1"
    assert await check_launch(service.deployment) is None


async def test_a_worse_policy_is_taken_back(service: Service) -> None:
    await start_launch(service.deployment, "thompson-v1", LADDER, "ops")
    await live(service, 240, new=0.0, old=0.4)
    assert await check_launch(service.deployment) == "rollback"
    ended = await look(service.deployment)
    assert (ended.state, ended.share, ended.events[-1].by) == ("rolled_back", 0.0, "launch")
    assert "surely less" in ended.events[-1].reason
    assert {(await service.score(user_id=f"user-{number}")).policy for number in range(60)} == {"linucb-v2"}


async def test_a_guardrail_may_be_on_what_rewards_bring_by_name(service: Service) -> None:
    deployment = service.deployment
    await start_launch(deployment, "thompson-v1", LADDER | {"guardrails": {"revenue": 20.0}}, "ops")
    await live(service, 240, new=0.5, old=0.2)
    assert await check_launch(deployment) == "hold"
    assert (await look(deployment)).waits_for == "revenue, which no reward has brought at this share"
    await live(service, 240, new=0.5, old=0.2, revenue=30.0)
    standing = await look(deployment)
    assert standing.figures["guardrail:revenue"] == pytest.approx(30.0, abs=1.0)
    await live(service, 480, new=0.5, old=0.2, revenue=-100.0)
    assert await check_launch(deployment) == "rollback"
    ended = (await look(deployment)).events[-1]
    assert ended.reason.startswith("revenue is -")
    assert (ended.figures["guardrail:revenue"] or 0.0) < 0.0


async def test_by_hand_it_is_held_let_go_on_and_cancelled(service: Service) -> None:
    deployment = service.deployment
    await start_launch(deployment, "thompson-v1", LADDER, "ops")
    assert (await act_on_launch(deployment, "thompson-v1", "hold", "ops")).state == "held"
    await live(service, 240, new=0.5, old=0.2)
    assert await check_launch(deployment) is None
    await service.reopen()
    deployment = service.deployment
    assert (await look(deployment)).state == "held"
    assert (await act_on_launch(deployment, "thompson-v1", "resume", "ops")).figures["rewarded"] >= 20  # type: ignore[operator]
    assert (await act_on_launch(deployment, "thompson-v1", "advance", "ops")).share == 50.0
    assert (await act_on_launch(deployment, "thompson-v1", "cancel", "ops")).state == "cancelled"
    assert (await act_on_launch(deployment, "thompson-v1", "cancel", "ops")).state == "cancelled"
    with pytest.raises(PromotionRefusedError, match="ended"):
        await act_on_launch(deployment, "thompson-v1", "advance", "ops")
    assert (await act_on_launch(deployment, "thompson-v1", "resume", "ops")).share == 50.0


async def test_who_has_the_policy_keeps_it_as_its_share_grows(service: Service) -> None:
    await start_launch(service.deployment, "thompson-v1", LADDER, "ops")
    users = [f"user-{number}" for number in range(200)]
    had = {user for user in users if (await service.score(user_id=user)).policy == "thompson-v1"}
    await act_on_launch(service.deployment, "thompson-v1", "advance", "ops")
    have = {user for user in users if (await service.score(user_id=user)).policy == "thompson-v1"}
    assert had < have


async def test_what_is_no_ladder_or_comes_in_between_is_refused(service: Service) -> None:
    deployment = service.deployment
    for steps in ([], [10.0, 5.0, 100.0], [10.0, 50.0]):
        with pytest.raises(InvalidRequestError):
            await start_launch(deployment, "thompson-v1", {"steps": steps}, "ops")
    with pytest.raises(PromotionRefusedError, match="active policy already"):
        await start_launch(deployment, "linucb-v2", {}, "ops")
    assert await find_launch_status(deployment, "thompson-v1") is None
    await start_launch(deployment, "thompson-v1", {}, "ops")
    with pytest.raises(PromotionRefusedError, match="under way"):
        await start_launch(deployment, "squarecb-v1", {}, "ops")
    with pytest.raises(PromotionRefusedError, match="under way"):
        await promote(deployment, "squarecb-v1", "ops")


async def test_where_the_baseline_serves_nothing_is_launched_and_the_other_way_round(service: Service) -> None:
    deployment = service.deployment
    apprentice = replace(deployment.definition, mode="apprentice")
    await deployment.apply_definition(apprentice)
    with pytest.raises(PromotionRefusedError, match="apprentice"):
        await start_launch(deployment, "thompson-v1", LADDER, "ops")
    await deployment.apply_definition(replace(apprentice, mode="online"))
    await start_launch(deployment, "thompson-v1", LADDER, "ops")
    with pytest.raises(LoopRefusedError, match="while a launch splits the users"):
        await deployment.apply_definition(apprentice)
    assert deployment.mode == "online"
