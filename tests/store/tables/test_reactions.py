"""The rows of reactions: a rebuild comes to what they were revised to, and they go with what they came to."""

from collections.abc import Mapping
from pathlib import Path

from bandstand.bandit.reaction_table import DwellStep, ReactionTable
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.service.reactions import reapply_reactions
from bandstand.service.reward import reward
from tests.store.given import DAY, NOON, Subject, assert_same, ledger_of, make_embedded, rebuild_profile
from tests.store.populated import Served, trim_directory

OTHER = ReactionTable("shop", 1, {"dismiss": (DwellStep(0.25),), "done": (DwellStep(-0.5, 60_000.0), DwellStep(0.5))})


async def react(served: Served, user_id: str, reaction: Mapping[str, object]) -> None:
    decision_id = await served.decide(user_id)
    request = {"decision_id": decision_id, "reaction": reaction}
    await reward(served.deployment, request, client="tests")


async def live(served: Served) -> None:
    for user_id in ("anna", "bob"):
        await served.live_history(user_id)
        for dwell_ms in (5.0, 70_000):
            await react(served, user_id, {"action": "done", "dwell_ms": dwell_ms})
        await react(served, user_id, {"action": "dismiss"})


def count_rows(directory: Path) -> int:
    with ledger_of(directory) as ledger:
        return int(ledger.execute("SELECT count(*) FROM reactions").fetchone()[0])


async def test_what_is_taught_anew_is_what_a_rebuild_makes(tmp_path: Path) -> None:
    async with Served(tmp_path / "state") as served:
        await live(served)
        served.deployment.reward_settings = RewardSettings(reactions=OTHER, aggregation="sum", window=600.0)
        await react(served, "anna", {"action": "dismiss"})
        served.deployment.reward_settings = RewardSettings(aggregation="sum", window=600.0)
        result = await reapply_reactions(served.deployment, "the office", dry_run=False)
        assert (result.reactions, result.revised, result.unchanged) == (7, 1, 6)
        served.deployment.reward_settings = RewardSettings(reactions=OTHER)
        result = await reapply_reactions(served.deployment, "the office", dry_run=False)
        assert (result.reactions, result.revised, result.unchanged, result.users) == (7, 7, 0, 2)
    async with Subject(make_embedded(tmp_path / "state")) as subject:
        known = await subject.store.load_profile("anna")
    assert_same(known, await rebuild_profile(tmp_path / "state", "anna"))
    assert count_rows(tmp_path / "state") == 7


async def test_they_go_with_their_users_and_with_retention(tmp_path: Path) -> None:
    async with Served(tmp_path / "state") as served:
        await live(served)
        served.deployment.reward_settings = RewardSettings(aggregation="sum")
        await react(served, "anna", {"action": "dismiss"})
        served.deployment.reward_settings = RewardSettings(reactions=OTHER)
        await reapply_reactions(served.deployment, "the office", dry_run=False)
        await served.store.erase("anna", "tests")
    assert count_rows(tmp_path / "state") == 3
    trim_directory(tmp_path / "state", NOON + DAY)
    assert count_rows(tmp_path / "state") == 0
    async with Served(tmp_path / "state") as served:
        result = await reapply_reactions(served.deployment, "the office")
        assert (result.reactions, result.out_of_reach.users) == (0, 1)
