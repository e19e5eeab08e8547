"""Rank, reward and activate on the wire: codes, bodies, order, identity, and what is learned."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.given import API_KEYS, CANARY, KEYS, Service, encode_segment, read_ok, run_service
from tests.personalizer.given import ACTIONS, BASE, CONTEXT, rank, rank_body, read_error, reward

EMPTY_FEATURE = {"id": "a", "features": [{"": 1}]}
ODD_ID = "ev 1/ä?é"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_rank_call_is_answered_with_every_action_the_chosen_one_first(shared: Service) -> None:
    answer = await rank(shared)
    ranking = answer["ranking"]
    assert {each["id"] for each in ranking} == {action["id"] for action in ACTIONS}
    assert sum(each["probability"] for each in ranking) == pytest.approx(1.0)
    assert ranking[0]["id"] == answer["rewardActionId"]
    assert answer["eventId"]
    assert [each["probability"] for each in ranking[1:]] == sorted(
        (each["probability"] for each in ranking[1:]), reverse=True
    )


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "target",
    [
        "/personalizer/v1.0/rank",
        "/personalizer/v1.1/rank",
        "/personalizer/v1.1-preview.1/rank",
        "/personalizer/v1.1-preview.2/rank",
        "/personalizer/v1.1-preview.3/rank",
        "/personalizer/rank?api-version=2022-09-01-preview",
    ],
)
async def test_three_shapes_of_a_version_are_served(shared: Service, target: str) -> None:
    answer = await shared.post(target, rank_body())
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("POST", "/personalizer/v2.0/rank", 404, "ResourceNotFound"),
        ("POST", "/personalizer/rank", 404, "ResourceNotFound"),
        ("POST", "/personalizer/rank?api-version=2021-01-01", 404, "ResourceNotFound"),
        ("POST", "/personalizer/", 404, "ResourceNotFound"),
        ("POST", "/personalizer/v1.0/events/a/b/reward", 404, "ResourceNotFound"),
        ("GET", "/personalizer/v1.0/rank", 405, "BadRequest"),
        ("POST", "/personalizer/v1.0/logs/interactions", 403, "InvalidApiAccess"),
    ],
)
async def test_what_is_no_call_is_refused_in_its_own_form(
    shared: Service, method: str, target: str, status: int, code: str
) -> None:
    read_error(await shared.raw(method, target.encode()), status, code)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (rank_body(actions=[]), "actions"),
        (rank_body(actions=None), "actions"),
        (rank_body(actions=[None]), "actions[0]"),
        (rank_body(actions=[{"id": f"a{n}", "features": [{"x": 1}]} for n in range(51)]), "actions"),
        (rank_body(actions=[{"id": "", "features": [{"x": 1}]}]), "actions[0].id"),
        (rank_body(actions=[{"id": "x" * 257, "features": [{"x": 1}]}]), "actions[0].id"),
        (rank_body(actions=[{"id": "a", "features": []}]), "actions[0].features"),
        (rank_body(actions=[{"id": "a", "features": [{"x": None}]}]), "actions[0].features"),
        (rank_body(actions=[{"id": "a", "features": [CANARY]}]), "actions[0].features"),
        (rank_body(actions=[EMPTY_FEATURE]), "actions[0].features"),
        (rank_body(actions=[{"id": "a", "features": [{"x": [1, CANARY]}]}]), "actions[0].features"),
        (rank_body(actions=[ACTIONS[0], ACTIONS[0]]), "actions"),
        (rank_body(eventId=""), "eventId"),
        (rank_body(eventId=7), "eventId"),
        (rank_body(contextFeatures=[None]), "contextFeatures"),
        (rank_body(contextFeatures={"a": 1}), "contextFeatures"),
        (rank_body(contextFeatures=[{"a": [True]}]), "contextFeatures"),
        (rank_body(deferActivation="yes"), "deferActivation"),
        (rank_body(excludedActions="pasta"), "excludedActions"),
        (rank_body(excludedActions=[action["id"] for action in ACTIONS]), "excludedActions"),
    ],
)
async def test_a_bad_rank_call_is_refused_by_name(shared: Service, body: object, names: str) -> None:
    message = read_error(await shared.post(f"{BASE}/rank", body), 400, "InvalidRankRequest")
    assert names in message


@pytest.mark.asyncio(loop_scope="module")
async def test_what_says_nothing_is_no_fault(shared: Service) -> None:
    actions = [{"id": "a", "features": [{"x": 1, "y": None}]}, {"id": "b", "features": [{"_x": 1, "z": {"w": None}}]}]
    body = {"actions": actions, "eventId": None, "deferActivation": None, "excludedActions": []}
    answer = await shared.post(f"{BASE}/rank", body, content_type="application/json; charset=UTF-8")
    assert answer.status_code == 201, answer.text


@pytest.mark.asyncio(loop_scope="module")
async def test_an_event_id_is_the_decision_s_and_seeds_the_draw(shared: Service) -> None:
    first = await rank(shared, eventId="again")
    assert first["eventId"] == "again"
    assert await rank(shared, eventId="again") == first
    receipt = await shared.receipt("again")
    assert receipt["tip_id"] == first["rewardActionId"]
    assert receipt["context"] == {"state": {"timeOfDay": "noon"}, "device": {"mobile": True}}
    other = await shared.post(f"{BASE}/rank", rank_body(eventId="again", contextFeatures=[{"other": 1}]))
    assert "eventId" in read_error(other, 400, "InvalidRankRequest")


@pytest.mark.asyncio(loop_scope="module")
async def test_ids_of_any_text_are_rewarded_and_activated(shared: Service) -> None:
    await rank(shared, eventId=ODD_ID)
    path = f"{BASE}/events/{encode_segment(ODD_ID)}"
    answer = await shared.post(f"{path}/reward", {"value": 0.5}, x_ms_client_request_id="r-1")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["x-ms-client-request-id"] == "r-1"
    bare = await shared.raw("POST", f"{path}/activate".encode(), headers=[(b"content-length", b"0")])
    assert (bare.status, bare.body) == (204, b"")
    assert (await shared.receipt(ODD_ID))["reward"]["reward"] == 0.5


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("value", [1.0001, -2, None, True, "1", [1], 10**400])
async def test_a_bad_reward_is_refused(shared: Service, value: object) -> None:
    read_error(await reward(shared, "any", value), 400, "InvalidRewardRequest")


@pytest.mark.asyncio(loop_scope="module")
async def test_the_first_reward_counts_and_others_change_nothing(shared: Service) -> None:
    await rank(shared, eventId="twice")
    for value, request_id in ((1.0, "a"), (1.0, "a"), (-1.0, "b"), (0.5, "a")):
        assert (await reward(shared, "twice", value, x_ms_client_request_id=request_id)).status_code == 204
    assert (await reward(shared, "twice", -1.0)).status_code == 204
    assert (await shared.receipt("twice"))["reward"]["reward"] == 1.0


@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_event_is_no_error_and_is_counted(shared: Service) -> None:
    assert (await reward(shared, "of-the-old-service", 1.0)).status_code == 204
    assert (await shared.post(f"{BASE}/events/of-the-old-service/activate", b"")).status_code == 204
    text = (await shared.get("/metrics")).text
    assert 'bandstand_personalizer_unknown_events_total{call="reward"}' in text
    assert 'bandstand_personalizer_unknown_events_total{call="activate"}' in text


@pytest.mark.asyncio(loop_scope="module")
async def test_a_reward_that_overtakes_its_rank_call_is_taught(shared: Service) -> None:
    assert (await reward(shared, "overtaken", 0.25)).status_code == 204
    await rank(shared, eventId="overtaken")
    assert (await shared.receipt("overtaken"))["reward"]["reward"] == 0.25


async def test_everybody_shares_a_model_and_a_header_names_one_s_own(service: Service) -> None:
    await rank(service, eventId="shared")
    await service.post(f"{BASE}/rank", rank_body(eventId="own"), x_bandstand_user="ada")
    assert (await service.receipt("shared"))["user_id"] == "default"
    assert (await service.receipt("own"))["user_id"] == "ada"
    await reward(service, "own", 1.0)
    assert (await service.stats("ada"))["reward_count"] == 1
    assert (await service.stats("default"))["reward_count"] == 0
    refused = await service.post(f"{BASE}/rank", rank_body(), x_bandstand_user="")
    read_error(refused, 400, "InvalidRankRequest")


async def test_it_learns_which_action_suits_a_context(service: Service) -> None:
    best = {"noon": "salad", "night": "ice cream"}
    for number in range(120):
        time = "noon" if number % 2 else "night"
        answer = await rank(service, eventId=f"e{number}", contextFeatures=[{"time": time}])
        assert (await reward(service, f"e{number}", float(answer["rewardActionId"] == best[time]))).status_code == 204
    for time, action in best.items():
        ranking = (await rank(service, contextFeatures=[{"time": time}]))["ranking"]
        assert max(ranking, key=lambda each: each["probability"])["id"] == action


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_subscription_key_is_one_of_ours(tmp_path: Path, open_config: Path) -> None:
    async with run_service(tmp_path / "state", api_keys=API_KEYS, bandstand_config=open_config) as service:
        refused = await service.post(f"{BASE}/rank", rank_body())
        assert "invalid subscription key" in read_error(refused, 401, "401")
        wrong = await service.post(f"{BASE}/rank", rank_body(), ocp_apim_subscription_key="nobody's")
        read_error(wrong, 401, "401")
        reader = await service.post(f"{BASE}/rank", rank_body(), ocp_apim_subscription_key=KEYS["eyes"][1])
        read_error(reader, 403, "InvalidApiAccess")
        served = await service.post(f"{BASE}/rank", rank_body(eventId="e"), ocp_apim_subscription_key=KEYS["shop"][1])
        assert served.status_code == 201
        receipt = await service.client.get("/decisions/e", headers={"x-api-key": KEYS["eyes"][1]})
        assert read_ok(receipt)["client"] == "shop"
        elsewhere = f"/loops/nowhere{BASE}/rank"
        read_error(await service.post(elsewhere, rank_body()), 401, "401")
        nowhere = await service.post(elsewhere, rank_body(), ocp_apim_subscription_key=KEYS["shop"][1])
        read_error(nowhere, 404, "ResourceNotFound")


@pytest.mark.asyncio(loop_scope="module")
async def test_limits_of_the_gate_are_said_in_its_own_form(shared: Service) -> None:
    large: dict[str, Any] = {"actions": ACTIONS, "contextFeatures": CONTEXT, "padding": "x" * (1 << 20)}
    read_error(await shared.post(f"{BASE}/rank", large), 413, "PayloadSizeExceeded")
    read_error(await shared.post(f"{BASE}/rank", rank_body(), content_type="text/plain"), 415, "BadRequest")
