"""Promotion: at once, for good, with who and when, and back again."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bandstand.bandit.experiment import Experiment
from bandstand.errors import ConfigurationError, PromotionRefusedError, StorageFullError, UnknownPolicyError
from bandstand.service.context import ServiceContext
from bandstand.service.policies import build_overview
from bandstand.service.promotion import ActivePolicyStatus, demote, promote
from bandstand.service.stats import load_user_stats
from bandstand.store.maintenance.offline import open_owned
from bandstand.store.maintenance.rebuild_verify import rebuild_documents
from bandstand.testing.memory_store import MemoryStore
from tests.service.given import Make, Service, on_disk
from tests.store.given import CATALOGUE
from tests.store.populated import build_shop, catalogue_of

NOON = "2025-06-15T15:06:40+00:00"


@asynccontextmanager
async def running(make: Make, directory: Path, **options: Any) -> AsyncIterator[Service]:
    service = Service(make(directory), **options)
    await service.deployment.store.open()
    await service.deployment.start()
    yield service
    await service.deployment.store.close()


async def test_a_promoted_policy_decides_at_once_and_after_a_restart(service: Service) -> None:
    assert (await service.score()).policy == "linucb-v2"
    assert await promote(service.deployment, "linucb", "ops") == ActivePolicyStatus(
        active="linucb-v1", since=NOON, by="ops", pinned_by=None
    )
    for _ in range(2):
        assert (await service.score()).policy == "linucb-v1"
        assert (await service.reward(service.legacy())).policy == "linucb-v1"
        assert (await load_user_stats(service.deployment, "anna")).policy == "linucb-v1"
        assert (await service.score(policy="linucb-v2")).policy == "linucb-v2"
        told = build_overview(service.deployment)
        assert (told.active, told.since, told.by) == ("linucb-v1", NOON, "ops")
        assert [entry.name for entry in told.policies if entry.active] == ["linucb-v1"]
        await service.reopen()


async def test_every_change_is_told_the_newest_first(service: Service) -> None:
    for policy in ("linucb-v1", "thompson-v1"):
        service.clock.now += 1
        await promote(service.deployment, policy, "ops")
    await demote(service.deployment, "thompson-v1", "boss")
    for _ in range(2):
        told = build_overview(service.deployment).promotions
        assert [(each.action, each.policy, each.instead_of, each.by) for each in told] == [
            ("demote", "linucb-v1", "thompson-v1", "boss"),
            ("promote", "thompson-v1", "linucb-v1", "ops"),
            ("promote", "linucb-v1", "linucb-v2", "ops"),
        ]
        assert told[0].ts == told[1].ts == "2025-06-15T15:06:42+00:00"
        await service.reopen()


async def test_demoting_goes_back_one_promotion_at_a_time(service: Service) -> None:
    for policy in ("linucb-v1", "thompson-v1", "linucb-v1", "squarecb-v1"):
        await promote(service.deployment, policy, "ops")
    for policy in ("squarecb-v1", "linucb-v1", "thompson-v1", "linucb-v1"):
        assert service.deployment.active_policy == policy
        await demote(service.deployment, policy, "ops")
        await service.reopen()
    assert service.deployment.active_policy == "linucb-v2"
    assert build_overview(service.deployment).promotions[0].policy == "linucb-v2"
    with pytest.raises(PromotionRefusedError, match="by default"):
        await demote(service.deployment, "linucb-v2", "ops")


async def test_both_are_idempotent(service: Service) -> None:
    for _ in range(2):
        assert (await promote(service.deployment, "linucb-v1", "ops")).active == "linucb-v1"
    for _ in range(2):
        assert (await demote(service.deployment, "linucb-v1", "ops")).active == "linucb-v2"
    assert len(service.deployment.promotions) == 2


async def test_the_default_can_be_promoted_so_that_a_later_default_does_not_change_it(
    make: Make, tmp_path: Path
) -> None:
    async with running(make, tmp_path) as service:
        await promote(service.deployment, "linucb-v2", "ops")
        assert service.deployment.promotions[0].instead_of == "linucb-v2"


@pytest.mark.parametrize(
    "options",
    [
        {"active_policy": "egreedy-v1", "pinned_by": "ACTIVE_POLICY"},
        {"experiment": Experiment.parse("uniform-v1:1,first-v1:1")},
    ],
    ids=["pinned", "experiment"],
)
async def test_what_a_setting_decides_no_promotion_changes(tmp_path: Path, options: dict[str, Any]) -> None:
    async with running(on_disk, tmp_path) as free:
        await promote(free.deployment, "thompson-v1", "ops")
    async with running(on_disk, tmp_path, **options) as held:
        before = held.deployment.active_policy
        assert before != "thompson-v1"
        for change in (promote, demote):
            with pytest.raises(PromotionRefusedError, match="says which policy is active"):
                await change(held.deployment, "thompson-v1", "ops")
        told = build_overview(held.deployment)
        assert (told.active, told.since, told.by) == (before, None, None)
        assert told.pinned_by in {"ACTIVE_POLICY", "EXPERIMENT"}
        assert len(told.promotions) == 1
    async with running(on_disk, tmp_path) as free:
        assert free.deployment.active_policy == "thompson-v1", "the promotion stands again"


async def test_an_unknown_policy_cannot_be_promoted(service: Service) -> None:
    for change in (promote, demote):
        with pytest.raises(UnknownPolicyError):
            await change(service.deployment, "linucb-v22", "ops")
    assert service.deployment.promotions == []


async def test_a_promotion_that_is_not_written_does_not_happen(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def raise_full(_: object) -> None:
        message = "the disk is full"
        raise StorageFullError(message)

    monkeypatch.setattr(service.deployment.store, "log_promotion", raise_full, raising=True)
    with pytest.raises(StorageFullError):
        await promote(service.deployment, "linucb-v1", "ops")
    assert (service.deployment.active_policy, service.deployment.promotions) == ("linucb-v2", [])


async def test_a_promotion_that_was_answered_survives_a_kill_and_a_rebuild(tmp_path: Path) -> None:
    async with running(on_disk, tmp_path) as service:
        await service.score()
        await promote(service.deployment, "linucb-v1", "ops")
        shutil.copytree(tmp_path / "state", tmp_path / "killed" / "state")
    with open_owned(tmp_path / "killed" / "state", CATALOGUE) as state:
        rebuild_documents(state)
    async with running(on_disk, tmp_path / "killed") as service:
        assert service.deployment.active_policy == "linucb-v1"
        assert service.deployment.promotions[0].client == "ops"


async def test_a_promoted_policy_that_is_gone_ends_the_start_in_one_line() -> None:
    own = catalogue_of(build_shop())
    store = MemoryStore(own)
    deployment = ServiceContext(own, store)
    await promote(deployment, "shop", "ops")
    gone = ServiceContext(CATALOGUE, store)
    with pytest.raises(ConfigurationError, match="policy 'shop' was promoted and is not configured any more") as caught:
        await gone.start()
    assert len(caught.value.detail.splitlines()) == 1
    pinned = ServiceContext(CATALOGUE, store, active_policy="linucb-v1", pinned_by="ACTIVE_POLICY")
    await pinned.start()
    assert pinned.active_policy == "linucb-v1"


async def test_demoting_passes_over_what_is_not_configured_any_more() -> None:
    own = catalogue_of(build_shop())
    store = MemoryStore(own)
    deployment = ServiceContext(own, store)
    for policy in ("thompson-v1", "shop", "linucb-v1"):
        await promote(deployment, policy, "ops")
    later = ServiceContext(CATALOGUE, store)
    await later.start()
    assert (await demote(later, "linucb-v1", "ops")).active == "thompson-v1"
    assert (await demote(later, "thompson-v1", "ops")).active == "linucb-v2"
