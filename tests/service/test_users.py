"""Users: listed in the order of first sight, reset, erased."""

from bandstand.service.history import load_history
from bandstand.service.stats import load_user_stats
from bandstand.service.users import UNREACHABLE, KnownUser, UserList, erase, list_users, reset
from tests.service.given import Service
from tests.store.checks import HOSTILE_IDS


async def test_users_are_listed_page_by_page(service: Service) -> None:
    assert await list_users(service.deployment, "", 0, 10) == UserList(users=[], next=None)
    for user_id in HOSTILE_IDS:
        await service.score(user_id=user_id)
    found: list[str] = []
    after: int | None = 0
    while after is not None:
        page = await list_users(service.deployment, "", after, 7)
        found += [user.user_id for user in page.users]
        after = page.next
    assert found == HOSTILE_IDS
    page = await list_users(service.deployment, "../", 0, 10)
    assert page == UserList(users=[KnownUser("../../etc/passwd")], next=None)


async def test_hostile_ids_are_served_apart(service: Service) -> None:
    for number, user_id in enumerate(HOSTILE_IDS):
        await service.reward(service.legacy(user_id, reward=number / 100))
    await service.reopen()
    for number, user_id in enumerate(HOSTILE_IDS):
        stats = await load_user_stats(service.deployment, user_id)
        assert (stats.user_id, stats.reward_count, stats.cumulative_reward) == (user_id, 1, number / 100)


async def test_a_reset_forgets_one_user_of_every_policy_and_is_idempotent(service: Service) -> None:
    for policy in ("linucb", "egreedy", "linucb-v2"):
        for user_id in ("anna", "berta"):
            scored = await service.score(user_id=user_id, policy=policy)
            await service.reward({"decision_id": scored.decision_id, "reward": 0.5})
    for _ in range(2):
        await reset(service.deployment, "anna", "the office")
        await reset(service.deployment, "nobody", "the office")
    for policy in ("linucb", "egreedy", "linucb-v2"):
        assert (await load_user_stats(service.deployment, "anna", policy)).pulls == 0
        assert (await load_user_stats(service.deployment, "berta", policy)).reward_count == 1
    assert (await load_history(service.deployment, "anna")).history == []
    assert len((await load_history(service.deployment, "berta")).history) == 3
    assert len((await list_users(service.deployment, "", 0, 10)).users) == 2


async def test_an_erasure_counts_what_went_and_names_what_it_cannot_reach(service: Service) -> None:
    scored = [await service.score() for _ in range(3)]
    await service.reward({"decision_id": scored[0].decision_id, "reward": 0.5})
    await service.reward(service.legacy())
    await reset(service.deployment, "anna", "tests")
    await service.score(user_id="berta")
    answer = await erase(service.deployment, "anna", "the office")
    assert answer.ok is True
    counts = answer.erased
    assert (counts["decisions"], counts["rewards"], counts["marks"]) == (3, 2, 1)
    assert answer.unreachable == list(UNREACHABLE)
    assert [user.user_id for user in (await list_users(service.deployment, "", 0, 10)).users] == ["berta"]
    again = await erase(service.deployment, "anna", "the office")
    assert set(again.erased.values()) == {0}
    assert (await load_history(service.deployment, "anna")).history == []
    assert (await load_user_stats(service.deployment, "anna")).last_updated is None
