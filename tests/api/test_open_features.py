"""Open features from a definition to the wire: any JSON learned from, refused by name, explained, and found again."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.given import Service, run_service

DEFINITION = """
[schemas.anything]
version = 1
intercept = true

[[schemas.anything.features]]
name = "all"
encoding = "open"

[[schemas.anything.features]]
name = "embedding"
source = "candidate.embedding"
encoding = "vector"
length = 2

[policies.anything-v1]
kind = "linucb"
schema = "anything"
alpha = 0.5
prior = "standard"

[schemas.messages]
version = 1
intercept = true

[[schemas.messages.features]]
name = "content"
source = "candidate.content"
encoding = "text"

[policies.messages-v1]
kind = "linucb"
schema = "messages"
prior = "standard"
"""
MEALS: list[dict[str, Any]] = [
    {"id": name, "content": f"Try {name}.", "source": "menu", "features": {"dish": {"kind": name}, "price": price}}
    for name, price in (("soup", 5), ("cake", 4.5), ("bread", 3))
]
WANTED = {"morning": "bread", "noon": "soup", "evening": "cake"}


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    config = tmp_path / "open.toml"
    config.write_text(DEFINITION, "utf-8")
    return {"bandstand_config": config, "active_policy": "anything-v1"}


async def _teach(service: Service, rounds: int) -> None:
    for number in range(rounds):
        moment, wanted = [*WANTED.items()][number % 3]
        scored = await service.score(candidates=MEALS, context={"moment": moment, "guest": {"new": True}})
        taught = await service.reward(decision_id=scored["decision_id"], reward=float(scored["tip_id"] == wanted))
        assert taught["applied"]


async def _list_picks(service: Service) -> dict[str, str]:
    context = {moment: {"moment": moment, "guest": {"new": True}} for moment in WANTED}
    return {moment: (await service.score(candidates=MEALS, context=each))["tip_id"] for moment, each in context.items()}


async def test_what_no_schema_names_is_learned_and_outlives_a_restart(tmp_path: Path, settings: dict[str, Any]) -> None:
    async with run_service(tmp_path / "state", **settings) as service:
        await _teach(service, 60)
        assert await _list_picks(service) == WANTED
    async with run_service(tmp_path / "state", **settings) as service:
        assert await _list_picks(service) == WANTED


async def test_a_receipt_explains_each_candidate_by_name(tmp_path: Path, settings: dict[str, Any]) -> None:
    async with run_service(tmp_path / "state", **settings) as service:
        await _teach(service, 30)
        scored = await service.score(candidates=MEALS, context={"moment": "noon"})
        path = f"/decisions/{scored['decision_id']}"
        plain, explained = (await service.get(path)).json(), (await service.get(path, explain="true")).json()
    assert all(each["explanation"] is None for each in plain["candidates"])
    for candidate in explained["candidates"]:
        explanation = candidate["explanation"]
        assert explanation["mean"] == pytest.approx(candidate["mean"])  # nothing was taught since
        assert sum(each["contribution"] for each in explanation["contributions"]) == pytest.approx(explanation["mean"])
        names = {each["name"] for each in explanation["contributions"]}
        kind = f"candidate.dish.kind={candidate['tip_id']}"
        assert {"intercept", "context.moment=noon", "candidate.price", kind, f"context.moment=noon × {kind}"} <= names


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}, "deeper than 8"),
        ({f"k{number}": number for number in range(257)}, "256 values"),
        ({"a": "x" * 257}, "256 characters"),
        ({"a": 1e999}, "finite"),
        ({"hour_of_day": "noon"}, "integer"),
    ],
)
async def test_what_is_too_much_is_refused_by_name(
    tmp_path: Path, settings: dict[str, Any], context: dict[str, Any], message: str
) -> None:
    body = {"user_id": "ada", "candidates": MEALS, "context": context}
    async with run_service(tmp_path / "state", **settings) as service:
        answer = await service.post("/score", service_json(body))
        in_features = await service.post(
            "/score", service_json({**body, "context": {}, "candidates": [{**MEALS[0], "features": context}]})
        )
    for refused, field in ((answer, "context"), (in_features, "candidates.0.features")):
        assert refused.status_code == 422
        [fault] = refused.json()["errors"]
        assert fault["field"].startswith(field)
        assert message in fault["message"]


def service_json(body: object) -> str:
    """JSON with a number that is too large for a double, which Python's own writer would call Infinity."""
    import json  # noqa: PLC0415 (only here)

    return json.dumps(body).replace("Infinity", "1e999")


async def test_a_reward_without_a_decision_is_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    async with run_service(tmp_path / "state", **settings) as service:
        answer = await service.post("/reward", {"user_id": "ada", "tip_id": "soup", "reward": 1, "features": {"a": 1}})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "decision_id"


async def test_an_open_shadow_learns_from_decisions_and_not_from_the_legacy_form(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    settings |= {"active_policy": "linucb-v2", "shadow": "anything-v1"}
    async with run_service(tmp_path / "state", **settings) as service:
        scored = await service.score(candidates=MEALS, context={"moment": "noon"})
        await service.reward(decision_id=scored["decision_id"], reward=1.0)
        legacy = {"user_id": "ada", "tip_id": "soup", "reward": 1.0, "features": {"priority": 2}}
        assert (await service.post("/reward", legacy)).json()["applied"]
        taught = (await service.get("/stats/anything-v1/ada")).json()["reward_count"]
        assert (await service.get("/stats/linucb-v2/ada")).json()["reward_count"] == 2
    assert taught == 1


async def test_openapi_says_that_anything_is_taken(tmp_path: Path, settings: dict[str, Any]) -> None:
    async with run_service(tmp_path / "state", **settings) as service:
        schemas = (await service.get("/openapi.json")).json()["components"]["schemas"]
    for name in ("Context", "Features"):
        assert schemas[name]["additionalProperties"] is True
        assert "256 values" in schemas[name]["description"]
    embedding = schemas["Features"]["properties"]["embedding"]
    assert (embedding["type"], embedding["minItems"], embedding["maxItems"]) == (["array", "null"], 2, 2)


async def test_a_candidates_own_text_is_read_when_it_is_scored(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The pick is made on what the receipt shows and the reward teaches."""
    settings |= {"active_policy": "messages-v1"}
    async with run_service(tmp_path / "state", **settings) as service:
        for _ in range(8):
            scored = await service.score(candidates=MEALS)
            await service.reward(decision_id=scored["decision_id"], reward=float(scored["tip_id"] == "cake"))
        scored = await service.score(candidates=MEALS)
        receipt = (await service.get(f"/decisions/{scored['decision_id']}", explain="true")).json()
    for candidate in receipt["candidates"]:
        assert candidate["mean"] == pytest.approx(candidate["explanation"]["mean"])
    assert len({candidate["mean"] for candidate in receipt["candidates"]}) == 3
