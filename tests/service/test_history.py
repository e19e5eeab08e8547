"""History and receipts: what was decided, in full, and enough to make the same pick again."""

import numpy as np
import pytest

from bandstand.bandit.distribution import hash_to_uniform
from bandstand.errors import UnknownDecisionError
from bandstand.service.history import HISTORY_LENGTH, DecisionReceipt, ReceiptReward, load_history, load_receipt
from tests.service.given import FEATURES, Service
from tests.store.given import CATALOGUE


def picked_again(paper: DecisionReceipt) -> int:
    """The index that a receipt's own numbers pick, as its documentation says: no code of the service is used."""
    p = np.array([candidate.probability for candidate in paper.candidates])
    count, floor, seed = len(p), paper.floor, paper.seed
    if seed < floor:
        return min(int(count * seed / floor), count - 1)
    greedy = (p - floor / count) / (1 - floor)
    return int(np.searchsorted(np.cumsum(greedy) / greedy.sum(), (seed - floor) / (1 - floor), side="right"))


@pytest.mark.parametrize("policy", sorted(CATALOGUE.policies))
async def test_the_pick_follows_from_the_receipt_alone(service: Service, policy: str) -> None:
    for number in range(150):
        request = service.request(count=1 + number % 6)
        if number % 5 == 0:  # ties
            request["candidates"] = [each | {"features": FEATURES} for each in request["candidates"]]
        scored = await service.score(request, policy=policy)
        if number % 3 == 0:
            await service.reward({"decision_id": scored.decision_id, "reward": service.random.uniform(-1, 1)})
        paper = await load_receipt(service.deployment, str(scored.decision_id))
        pick = picked_again(paper)
        assert paper.candidates[pick].tip_id == paper.tip_id == scored.tip_id
        assert paper.candidates[pick].probability == paper.propensity == scored.propensity
        assert paper.candidates[pick].score == paper.score == scored.score
        assert paper.exploring == (paper.seed < paper.floor) == scored.exploring


async def test_a_receipt_shows_what_the_policy_saw(service: Service) -> None:
    policy = CATALOGUE.policies["linucb-v2"]
    for _ in range(12):
        await service.reward(service.legacy(reward=service.random.uniform(-1, 1)))
    ridge = (await service.deployment.store.load_profile("anna")).policies["linucb-v2", "tips-v2"].ridge
    assert ridge is not None
    request = service.request()
    scored = await service.score(request)
    await service.reward({"decision_id": scored.decision_id, "reaction": {"action": "snooze"}})
    for _ in range(2):
        paper = await load_receipt(service.deployment, str(scored.decision_id))
        x = policy.schema.encode(request["context"], [each["features"] for each in request["candidates"]])
        covariance = np.linalg.inv(np.eye(policy.schema.dimension) + ridge.gram)
        width = np.sqrt(np.einsum("ki,ij,kj->k", x, covariance, x))
        columns = {
            name: np.array([getattr(candidate, name) for candidate in paper.candidates])
            for name in ("features", "mean", "width", "score", "probability")
        }
        np.testing.assert_allclose(columns["features"], x, rtol=0, atol=1e-12)
        np.testing.assert_allclose(columns["mean"], x @ covariance @ ridge.b, rtol=0, atol=1e-9)
        np.testing.assert_allclose(columns["width"], width, rtol=0, atol=1e-9)
        np.testing.assert_allclose(columns["score"], columns["mean"] + 0.5 * width, rtol=0, atol=1e-9)
        assert columns["probability"].sum() == pytest.approx(1.0)
        assert paper.seed == hash_to_uniform(service.deployment.store.secret, str(scored.decision_id))
        assert (paper.user_id, paper.client, paper.context) == ("anna", "tests", request["context"])
        assert (paper.policy, paper.policy_hash) == (policy.name, policy.hash)
        assert (paper.schema, paper.schema_hash) == (policy.schema.name, policy.schema.hash)
        assert paper.feature_labels == list(policy.schema.labels)
        assert paper.ts == "2025-06-15T15:06:40+00:00"
        assert paper.reward == ReceiptReward(
            reward=0.1,
            applied=True,
            reason=None,
            source="client",
            ts="2025-06-15T15:06:40+00:00",
            client="tests",
        )
        await service.reopen()


async def test_a_receipt_says_why_a_reward_taught_nothing(service: Service) -> None:
    scored = await service.score()
    assert (await load_receipt(service.deployment, str(scored.decision_id))).reward is None
    await service.deployment.store.reset("anna", "tests")
    await service.reward({"decision_id": scored.decision_id, "reward": 1.0})
    paper = await load_receipt(service.deployment, str(scored.decision_id))
    assert paper.reward is not None
    assert (paper.reward.applied, paper.reward.reason) == (False, "reset")


async def test_a_receipt_by_the_callers_own_id(service: Service) -> None:
    await service.score(decision_id="mine / \U0001f98a")
    assert (await load_receipt(service.deployment, "mine / \U0001f98a")).decision_id == "mine / \U0001f98a"


async def test_there_is_no_receipt_of_nothing(service: Service) -> None:
    await service.score()
    for decision_id in ("", "mine", "f" * 32, "0" * 32):
        with pytest.raises(UnknownDecisionError):
            await load_receipt(service.deployment, decision_id)


async def test_a_strangers_history_is_empty(service: Service) -> None:
    assert (await load_history(service.deployment, "nobody")).history == []


async def test_history_is_the_newest_hundred_oldest_first_all_policies_mixed(service: Service) -> None:
    made = []
    for number in range(HISTORY_LENGTH + 20):
        service.clock.now += 1
        policy = ("linucb-v1", "egreedy-v1", "linucb-v2")[number % 3]
        made.append((await service.score(policy=policy), policy))
    for _ in range(2):
        entries = (await load_history(service.deployment, "anna")).history
        assert [(entry.decision_id, entry.policy) for entry in entries] == [
            (scored.decision_id, policy) for scored, policy in made[20:]
        ]
        assert [entry.ts for entry in entries] == sorted(entry.ts for entry in entries)
        await service.reopen()


async def test_an_entry_holds_the_raw_values_of_the_pick(service: Service) -> None:
    candidate = {"id": "tip", "content": "", "source": "", "features": FEATURES | {"hour_of_day": 3}}
    context = {"hour_of_day": 21, "day_of_week": 5}
    scored = await service.score({"user_id": "anna", "candidates": [candidate], "context": context}, policy="linucb")
    (entry,) = (await load_history(service.deployment, "anna")).history
    assert entry.features == FEATURES | {"hour_of_day": 21}, "the hour is the context's"
    assert (entry.tip_id, entry.score, entry.propensity) == ("tip", scored.score, scored.propensity)
    assert (entry.day_of_week, entry.policy, entry.exploring) == (None, "linucb-v1", False)
    await service.score({"user_id": "anna", "candidates": [candidate], "context": context}, policy="egreedy")
    _, entry = (await load_history(service.deployment, "anna")).history
    assert entry.features == FEATURES | context | {"exploring": entry.exploring}
    assert (entry.day_of_week, entry.policy) == (5, "egreedy-v1"), "shown by policies that look at it"


async def test_an_entry_without_values_shows_the_defaults(service: Service) -> None:
    request = {"user_id": "anna", "candidates": [{"id": "tip", "content": "", "source": ""}]}
    await service.score(request, "linucb")
    await service.score(request, "egreedy")
    without, entry = (await load_history(service.deployment, "anna")).history
    defaults = {"hour_of_day": 12, "is_overdue": False, "task_age_days": 0, "priority": 1}
    assert (without.features, without.day_of_week) == (defaults, None)
    more = {"day_of_week": 0, "exploring": entry.exploring}
    assert (entry.features, entry.day_of_week) == ({**defaults, **more}, 0)
    assert entry.ts == "2025-06-15T15:06:40Z"


async def test_a_reset_ends_the_history_and_keeps_the_receipts(service: Service) -> None:
    scored = await service.score()
    await service.deployment.store.reset("anna", "tests")
    assert (await load_history(service.deployment, "anna")).history == []
    assert (await load_receipt(service.deployment, str(scored.decision_id))).tip_id == scored.tip_id
