"""Clients whose endpoint names no loop: what can be changed of one with a name can be of the default one."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bandstand.bandit.policies import KINDS
from bandstand.config.catalogue import load_catalogue
from bandstand.config.settings import Settings
from bandstand.errors import StorageUnavailableError
from bandstand.personalizer.settings import describe_policy
from bandstand.store.embedded.store import EmbeddedStore
from tests.api.given import Service, read_ok, read_problem, run_service
from tests.personalizer.given import BASE, rank, rank_body, reward

SERVICE, POLICY = f"{BASE}/configurations/service", f"{BASE}/configurations/policy"
CHANGED = {"open-egreedy": {"kind": "egreedy", "schema": "anything", "epsilon": 0.7, "prior": "standard"}}


async def put(service: Service, path: str, body: object) -> Any:
    return read_ok(await service.client.put(path, json=body))


async def read_receipt(service: Service, event: str) -> dict[str, Any]:
    return dict(read_ok(await service.get(f"/decisions/{event}")))


async def test_what_a_client_changes_of_the_default_loop_is_so_from_then_on(tmp_path: Path, open_config: Path) -> None:
    settings: dict[str, Any] = {"bandstand_config": open_config, "active_policy": "open-egreedy"}
    async with run_service(tmp_path / "state", **settings) as service:
        before = await rank(service, eventId="before")
        assert (await reward(service, "overtaken", 0.25)).status_code == 204
        whole = read_ok(await service.get(SERVICE))
        again = {name: value for name, value in whole.items() if name != "rewardWaitTime"}
        assert await put(service, SERVICE, again) | {"lastConfigurationEditDate": ""} == whole | {
            "lastConfigurationEditDate": ""
        }
        assert read_ok(await service.get("/loops/default"))["changes"] == [], "what was got may be put back"
        await put(service, SERVICE, whole)
        definition = read_ok(await service.get("/loops/default"))["definition"]
        assert definition["rewards"] == {"window": 600.0}, "who names the wait time has it"
        await put(service, SERVICE, {"explorationPercentage": 0.5, "logRetentionDays": 30, "defaultReward": 0.25})
        # What was decided before stands as it was decided, and teaches.
        assert await rank(service, eventId="before") == before
        assert (await reward(service, "before", 1.0)).status_code == 204
        after = await rank(service, eventId="after")
        await rank(service, eventId="overtaken")
        assert (await read_receipt(service, "overtaken"))["reward"]["reward"] == 0.25, "it has waited"
        assert min(each["probability"] for each in after["ranking"]) == pytest.approx(0.5 / 3)
        kept, newer = [await read_receipt(service, event) for event in ("before", "after")]
        assert (kept["floor"], newer["floor"], kept["reward"]["applied"]) == (0.2, 0.5, True)
        assert kept["policy_hash"] != newer["policy_hash"]
        policy = await put(service, POLICY, {"name": "mine", "arguments": "--cb_explore_adf --squarecb"})
        taught = read_ok(await service.get("/stats/default"))
        assert taught["reward_count"] == 2
        change = read_ok(await service.get("/loops/default"))["changes"][0]
        assert (change["loop"], change["action"], change["by"]) == ("default", "change", "anonymous")
        assert [change[when]["policies"]["open-egreedy"]["kind"] for when in ("before", "after")] == [
            "egreedy",
            "squarecb",
        ]
        assert "squarecb" in (await service.get("/console/loops")).text
    async with run_service(tmp_path / "state", **settings) as service:
        assert read_ok(await service.get(POLICY)) == policy, "the ledger says so, and the file says otherwise"
        configuration = read_ok(await service.get(SERVICE))
        assert [configuration[key] for key in ("explorationPercentage", "logRetentionDays", "defaultReward")] == [
            *(0.5, 30, 0.25)
        ]
        assert read_ok(await service.get("/stats/default")) == taught, "nothing that was learned is lost"
        for event in ("before", "overtaken"):
            assert read_ok(await service.post("/revocations", {"decision_id": event}))["rewards"] == 1
        assert not any(read_ok(await service.get("/stats/default"))["theta"])
        # And back to what the file says.
        definition = (await put(service, "/loops/default", {}))["definition"]
        assert definition == {"scope": "user", "mode": "online", "policy": "open-egreedy"}
        assert read_ok(await service.get(SERVICE))["explorationPercentage"] == 0.2
        refused = await service.client.put("/loops/default", json={"policy": "linucb-v2", "scope": "loop"})
        read_problem(refused, 422, "invalid-request", "policy", "scope")


async def test_requests_under_way_are_decided_by_one_definition_or_the_other(service: Service) -> None:
    changed = asyncio.Event()
    await reward(service, (await rank(service))["eventId"], 1.0)  # from here on, one action is the best

    async def ask(number: int) -> dict[str, Any]:
        answers = [await service.post(f"{BASE}/rank", rank_body(eventId=f"e{number}-0"))]
        while not changed.is_set():
            answers.append(await service.post(f"{BASE}/rank", rank_body(eventId=f"e{number}-{len(answers)}")))
        assert {answer.status_code for answer in answers} == {201}, "none is lost"
        event = answers[-1].json()
        assert (await reward(service, event["eventId"], 1.0)).status_code == 204
        return dict(event)

    async def change() -> None:
        await put(service, SERVICE, {"explorationPercentage": 0.5})
        read_ok(await service.client.put("/loops/default", json={"shadow": ["linucb-v2"], "policies": CHANGED}))
        changed.set()

    events = (await asyncio.gather(*(ask(number) for number in range(4)), change()))[:-1]
    hashes: dict[float, set[str]] = {}
    for event in events:
        assert event is not None
        for number in range(int(event["eventId"].partition("-")[2]) + 1):
            receipt = await read_receipt(service, f"{event['eventId'].partition('-')[0]}-{number}")
            ranked = [each["probability"] for each in receipt["candidates"]]
            assert sum(ranked) == pytest.approx(1.0)
            assert min(ranked) == pytest.approx(receipt["floor"] / 3)
            hashes.setdefault(receipt["floor"], set()).add(receipt["policy_hash"])
    assert hashes.keys() >= {0.2, 0.7}
    assert all(len(each) == 1 for each in hashes.values()), "no decision is half of each"
    assert read_ok(await service.get("/stats"))["shadows"].keys() == {"linucb-v2"}


async def test_a_launch_and_a_promotion_outlast_a_change(tmp_path: Path) -> None:
    async with run_service(tmp_path / "state") as service:
        read_ok(await service.post("/policies/squarecb-v1/promote"))
        read_ok(await service.post("/policies/thompson-v1/launch", {"steps": [50, 100]}))
        launch = read_ok(await service.get("/policies/thompson-v1/launch"))
        await put(service, "/loops/default", {"retention_days": 10})
        assert read_ok(await service.get("/policies/thompson-v1/launch")) == launch
        decisions = [await service.score(f"u{number}") for number in range(30)]
        assert {decision["policy"] for decision in decisions} == {"squarecb-v1", "thompson-v1"}
        # It would serve none of the arms: refused, as in a loop with a name.
        refused = await service.client.put("/loops/default", json={"mode": "apprentice"})
        read_problem(refused, 409, "loop-refused")
        dropped = await service.client.put("/loops/default", json={"include": ["linucb-v2", "first-v1"]})
        assert "squarecb-v1" in read_problem(dropped, 409, "loop-refused")["detail"]


async def test_a_state_that_is_away_for_a_moment_is_taken_up_as_it_was(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bandstand.wiring.running_loop._PAUSE_S", 0.0)
    open_store, failures = EmbeddedStore.open, [StorageUnavailableError("the disk is away")] * 3

    async def fail_for_a_while(store: EmbeddedStore) -> None:
        if failures:
            raise failures.pop()
        await open_store(store)

    await rank(service, eventId="before")
    monkeypatch.setattr(EmbeddedStore, "open", fail_for_a_while)
    answer = await service.client.put("/loops/default", json={"policies": CHANGED})
    read_problem(answer, 503, "storage-unavailable")
    assert not failures
    assert read_ok(await service.get(SERVICE))["explorationPercentage"] == 0.2
    assert (await reward(service, "before", 1.0)).status_code == 204
    assert (await read_receipt(service, "before"))["reward"]["applied"]
    await put(service, "/loops/default", {"policies": CHANGED})
    assert read_ok(await service.get(SERVICE))["explorationPercentage"] == 0.7


def test_a_policy_described_as_a_table_is_the_same_policy() -> None:
    policies = load_catalogue(Settings()).policies.values()
    for policy in policies:
        table = describe_policy(policy)
        again = KINDS[table.pop("kind")](policy.name, policy.schema, {k: v for k, v in table.items() if k != "schema"})
        assert again.hash == policy.hash, policy.name
