"""Two services over one PostgreSQL answer as one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bandstand.store.postgres import connections, ledger
from bandstand.store.postgres.slots import LostLeaseError, SlotLease
from bandstand.testing.postgres_server import QUICK_SETTINGS
from tests.api.given import TWO, Service, run_service
from tests.store.postgres.shared import run_law_server, run_test_server

PAGES = (
    "/health",
    "/ready",
    "/metrics",
    "/stats",
    "/policies",
    "/users",
    "/revocations",
    "/judgements",
    "/decisions",
    "/decisions?words=tax&among=offered",
    "/picks",
    "/console",
    "/console/users",
    "/console/shown",
    "/console/gain.json",
    "/console/overview.json",
    "/console/policies",
    "/console/evaluations",
    "/console/judge/review",
    "/console/experiment",
)


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with run_law_server() as url:
        yield url


async def read_reward_count(service: Service, user_id: str) -> int:
    """What a service says that the active policy was taught of a user."""
    count: int = (await service.get(f"/stats/{user_id}")).json()["reward_count"]
    return count


@pytest.mark.slow
async def test_two_services_over_one_database_answer_as_one(tmp_path: Path, database: str) -> None:
    one_place, other_place = tmp_path / "one", tmp_path / "other"
    async with (
        run_service(one_place, state_url=database, durability="full") as one,
        run_service(other_place, state_url=database, durability="full") as other,
    ):
        for number in range(1, 7):
            decision = (await one.score("ada"))["decision_id"]
            taken = await other.post("/reward", {"decision_id": decision, "reward": 0.5})
            assert (taken.status_code, taken.json()["ok"]) == (200, True)
            again = await one.post("/reward", {"decision_id": decision, "reward": -0.5})
            assert again.status_code == 409
            assert await read_reward_count(one, "ada") == await read_reward_count(other, "ada") == number
            one, other = other, one  # noqa: PLW2901 (they take turns)
        assert (await one.post("/policies/egreedy-v1/promote")).json()["active"] == "egreedy-v1"
        assert (await other.score("ada"))["policy"] == "egreedy-v1"
        assert (await other.post("/policies/egreedy-v1/demote")).json()["active"] == "linucb-v2"
        assert (await one.score("ada"))["policy"] == "linucb-v2"
        for page in PAGES:
            for service in (one, other):
                assert (await service.get(page)).status_code == 200, page
        slots = {"user_id": "ada", "candidates": TWO, "slots": [{"id": "top"}, {"id": "side"}]}
        for service in (one, other):
            shown = (await service.post("/score", slots)).json()
            assert len({each["tip_id"] for each in shown["slots"]}) == 2
            assert (await other.post("/reward", {"decision_id": shown["slots"][1]["decision_id"], "reward": 1})).json()[
                "ok"
            ]
        held = (await one.score("ada", defer=True))["decision_id"]
        assert (await other.post("/reward", {"decision_id": held, "reward": 1})).json()["reason"] == "held"
        assert (await one.post(f"/decisions/{held}/activate")).json()["applied"]
        launch = "/policies/egreedy-v1/launch"
        assert (await one.post(launch, {"steps": [50, 100]})).status_code == 200
        refused = await other.post(launch, {})
        assert refused.status_code == 409, "whether or not it has heard of the other"
        assert (await other.get(launch)).json()["launch"]["share"] == 50
        served = {(await other.score(f"user-{number}"))["policy"] for number in range(20)}
        assert served == {"egreedy-v1", "linucb-v2"}
        assert (await other.post(f"{launch}/cancel")).json()["state"] == "cancelled"
        assert (await one.score("ada"))["policy"] == "linucb-v2"
        assert (await one.get(launch)).json()["launch"]["state"] == "cancelled"
        assert (await one.get("/stats")).json()["gain"]["sentence"]
        reaction = {"decision_id": (await one.score("ada"))["decision_id"], "reaction": {"action": "dismiss"}}
        assert (await other.post("/reward", reaction)).json()["reward"] == -1.0
        looked = (await one.post("/reactions/reapply", {"dry_run": False})).json()
        assert (looked["reactions"], looked["unchanged"]) == (1, 1)
        holds = [(await service.get("/health")).json()["ledger"] for service in (one, other)]
        assert len({hold["slot"] for hold in holds}) == 2 > sum(hold["leader"] for hold in holds)
        decision = (await one.score("ada"))["decision_id"]
        await other.client.delete("/users/ada")
        gone = await one.post("/reward", {"decision_id": decision, "reward": 0.5})
        assert gone.status_code == 404, "though this process has the decision in memory"
        assert await read_reward_count(one, "ada") == 0
    assert not (one_place / "ledger.db").exists()


@pytest.mark.slow
async def test_while_the_database_is_away_whoever_is_in_memory_can_be_scored_without_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise LostLeaseError("it has run out")

    with run_test_server(QUICK_SETTINGS) as server:
        url = server.build_url()
        async with (
            run_service(tmp_path / "one", state_url=url, durability="full", score_when_full=True) as one,
            run_service(tmp_path / "other", state_url=url, durability="full") as other,
        ):
            decision = (await one.score("ada"))["decision_id"]
            await one.reward(
                decision_id=(await other.score("ada"))["decision_id"], reward=1
            )  # all until then is synced
            server.stop()
            with monkeypatch.context() as patched:
                patched.setattr(ledger, "_SILENCE_S", 0.0)
                patched.setattr(connections, "_REQUEST_S", 0.1)
                for fields in ({}, {"decision_id": "mine"}, {"decision_id": decision}):
                    answer = await one.score("ada", **fields)
                    assert answer["decision_id"] is None, "it takes no reward"
                    assert answer["propensity"] > 0
                patched.setattr(SlotLease, "next_seq", refuse)
                assert (await one.score("ada"))["decision_id"] is None, "though no numbers are left"
                for service, user_id in ((one, "berta"), (other, "ada")):
                    refused = await service.post("/score", {"user_id": user_id, "candidates": TWO})
                    assert refused.status_code == 503
                    assert refused.headers["retry-after"]
                for service in (one, other):
                    assert (await service.post("/reward", {"decision_id": decision, "reward": 1})).status_code == 503
                    assert (await service.get("/ready")).status_code == 503
            server.start()
            while (await one.score("ada"))["decision_id"] is None:
                pass
            assert (await one.post("/reward", {"decision_id": decision, "reward": 1})).status_code == 200
            assert await read_reward_count(other, "ada") == 2
