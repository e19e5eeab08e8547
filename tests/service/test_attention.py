"""What needs a person: said in words, with its day and what helps; and nothing said of a sound deployment."""

from dataclasses import replace

import pytest

from bandstand.bandit.policies import LinUCB
from bandstand.config.catalogue import load_catalogue
from bandstand.config.settings import Settings
from bandstand.service.attention import (
    AttentionList,
    find_judge_items,
    find_loop_items,
    find_pick_items,
    find_reward_items,
    find_store_items,
    load_items,
)
from bandstand.service.judgements import CoverageReport, DaySpending, PolicyCoverage
from bandstand.service.loop import (
    DayConditions,
    ExplorationCheck,
    LoopCondition,
    LoopHealth,
    WeightCheck,
    compute_condition,
)
from bandstand.store.records import StoreStatus
from bandstand.store.tables.picks import LoggedPick, PickedCandidate
from tests.service.given import Service

QUIET = compute_condition([], [])


def build_day(day: str, decisions: int, answered: int, *warnings: str) -> DayConditions:
    condition = replace(QUIET, decisions=decisions, answered=answered, warnings=list(warnings))
    return DayConditions(day=day, all=condition, policies={})


def build_health(*days: DayConditions, total: LoopCondition = QUIET) -> LoopHealth:
    return LoopHealth(all=total, policies={}, drift=(), days=days)


def build_picks(*days: tuple[int, int, int], offered: int = 3) -> list[LoggedPick]:
    """Picks of days, the newest first: of how many decisions how many went to the favourite."""
    ids = [(day, "same" if at < same else f"tip-{at}") for day, made, same in days for at in range(made)]
    return [LoggedPick(0, 0, 86_400.0 * day, None, PickedCandidate(tip_id, offered, None, ())) for day, tip_id in ids]


@pytest.mark.parametrize(
    ("days", "since"),
    [
        (((9, 300, 300), (8, 300, 298), (7, 300, 200)), "1970-01-09"),
        (((9, 10, 10), (8, 300, 298)), "1970-01-09"),
        (((9, 300, 290), (8, 300, 300)), None),
        (((9, 150, 150), (8, 300, 100)), None),
        (((9, 150, 150),), None),
    ],
)
def test_it_is_said_where_all_get_the_same(days: tuple[tuple[int, int, int], ...], since: str | None) -> None:
    found = find_pick_items(build_picks(*days))
    assert [each.since for each in found] == ([] if since is None else [since])
    assert find_pick_items(build_picks(*days, offered=1)) == [], "there was no choice"
    assert all("same" not in each.message for each in found), "/health is open: no candidate is named there"


@pytest.mark.parametrize(
    ("rewards", "name", "said"),
    [
        ([0.0, 0.01] * 100, "learned-late", "the largest of the 200 newest rewards is 0.01; learned-late takes"),
        ([0.5, -40.0] * 100, "learned-late", "the largest of the 200 newest rewards is 40; learned-late takes"),
        ([0.0, 0.01] * 100, "linucb-v1", "linucb-v1 takes rewards to be of the size of 1"),
        ([0.0, 0.01] * 100, "linucb-v2", None),
        ([0.0, 0.01] * 99, "learned-late", None),
        ([0.01] * 199 + [-0.5], "learned-late", None),
        ([0.0] * 200, "learned-late", None),
    ],
    ids=["small", "large", "without a learned prior", "a policy that learns it", "too few", "one as usual", "none"],
)
def test_rewards_of_a_size_that_the_prior_does_not_expect_are_said(
    rewards: list[float], name: str, said: str | None
) -> None:
    shipped = load_catalogue(Settings())
    late = LinUCB("learned-late", shipped.schemas["tips-v2"], {"prior": "population"})
    policies = {**shipped.policies, late.name: late}
    picks = [LoggedPick(0, 0, 0.0, reward, PickedCandidate("tip", 3, None, ())) for reward in [*rewards, None]]
    found = find_reward_items(picks, policies[name])
    assert [item.code for item in found] == ([] if said is None else ["rewards-scale"])
    assert all(said in item.message for item in found if said)


def test_a_check_that_failed_is_said_with_its_numbers_and_its_first_day() -> None:
    total = replace(
        QUIET,
        exploration=ExplorationCheck(rate=0.05, expected=0.02, p_value=1e-9),
        weight=WeightCheck(mean=1.5, stderr=0.01, expected=1.0, p_value=1e-9),
        warnings=["exploration", "weight", "draws"],
    )
    days = (build_day("2026-03-02", 50, 0, "exploration"), build_day("2026-03-01", 50, 0, "exploration", "draws"))
    exploration, weight, draws = find_loop_items(build_health(*days, total=total))
    assert "drawn 5.0% of the time and not 2.0%" in exploration.message
    assert "1.500, where 1.000 is right" in weight.message
    assert [item.code for item in (exploration, weight, draws)] == ["loop-exploration", "loop-weight", "loop-draws"]
    assert [item.since for item in (exploration, weight, draws)] == ["2026-03-01", None, "2026-03-01"]
    assert all(item.advice for item in (exploration, weight, draws))


@pytest.mark.parametrize(
    ("today", "newest", "before", "said"),
    [
        ((100, 0), (200, 0), (400, 280), True),
        ((100, 0), (200, 30), (400, 280), True),
        ((100, 0), (200, 60), (400, 280), False),
        ((500, 0), (200, 140), (400, 280), False),
        ((100, 0), (99, 0), (400, 280), False),
        ((100, 0), (200, 0), (99, 90), False),
        ((100, 0), (200, 0), (400, 0), False),
    ],
    ids=["none", "few", "enough", "today is under way", "too few to tell", "too few before", "never any"],
)
def test_rewards_that_stop_are_said(
    today: tuple[int, int], newest: tuple[int, int], before: tuple[int, int], *, said: bool
) -> None:
    health = build_health(
        build_day("2026-03-03", *today), build_day("2026-03-02", *newest), build_day("2026-03-01", *before)
    )
    items = find_loop_items(health)
    assert [(item.code, item.since) for item in items] == ([("rewards-missing", "2026-03-02")] if said else [])


def test_what_the_store_met_is_said() -> None:
    assert find_store_items(StoreStatus()) == []
    error, one = find_store_items(StoreStatus(last_error="disk I/O error", quarantined=1))
    assert error.message == "the store's last write failed: disk I/O error"
    assert one.message.startswith("one user's document")
    (many,) = find_store_items(StoreStatus(quarantined=1200))
    (differ,) = find_store_items(StoreStatus(details={"processes": 3, "configurations": 2}))
    assert "3 processes share the ledger under 2 settings" in differ.message
    assert find_store_items(StoreStatus(details={"processes": 3, "configurations": 1})) == []
    assert many.message.startswith("1,200 users' documents")


def test_turns_that_nobody_could_judge_are_said() -> None:
    def build_coverage(unscored: dict[str, int], over_budget: int = 0) -> CoverageReport:
        policy = PolicyCoverage(turns=100, waiting=0, scored=60, taught=50, withheld={}, unscored=unscored)
        today = DaySpending(tokens=0, usd=0.0, over_budget=over_budget)
        return CoverageReport(waiting=0, today=today, policies={"linucb-v2": policy})

    assert find_judge_items(build_coverage({"timeout": 20})) == []
    (unscored,) = find_judge_items(build_coverage({"timeout": 30, "refusal": 10}))
    assert unscored.message == "40% of the turns of linucb-v2 could not be judged, most often for timeout"
    (budget,) = find_judge_items(build_coverage({}, over_budget=3))
    assert budget.code == "judge-budget"


async def test_of_a_sound_deployment_nothing_is_said(service: Service) -> None:
    for number in range(20):
        scored = await service.score(user_id=f"user-{number}")
        await service.reward({"decision_id": scored.decision_id, "reward": 0.5})
    assert await load_items(service.deployment) == []


async def test_what_was_found_is_kept_for_a_minute(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = AttentionList(service.deployment)
    assert await attention.load() == []
    monkeypatch.setattr(service.deployment.store, "status", lambda: StoreStatus(quarantined=1))
    assert await attention.load() == []
    (item,) = await AttentionList(service.deployment).load()
    assert item.code == "quarantined"
