"""What the tests of Personalizer's wire are given: a service whose policy reads any JSON, and its calls."""

from typing import Any

import httpx

from tests.api.given import CANARY, Answer, Service

OPEN = """
[schemas.anything]
version = 1
intercept = true

[[schemas.anything.features]]
name = "all"
encoding = "open"

[policies.open-egreedy]
kind = "egreedy"
schema = "anything"
epsilon = 0.2
prior = "standard" # no test waits for one that is learned
"""

_ALL: dict[str, Any] = {"name": "all", "encoding": "open"}
LOOP: dict[str, Any] = {
    "scope": "loop",
    "include": [],
    "policy": "menu",
    "policies": {"menu": {"kind": "egreedy", "schema": "anything", "epsilon": 0.2}},
    "schemas": {"anything": {"version": 1, "intercept": True, "features": [_ALL]}},
}
NARROW_LOOP = LOOP | {"schemas": {"anything": LOOP["schemas"]["anything"] | {"features": [_ALL | {"columns": 32}]}}}
"""The same with few columns: its model is a small file."""

BASE = "/personalizer/v1.0"
LOOP_BASE = f"/loops/menu{BASE}"
ACTIONS: list[dict[str, Any]] = [
    {"id": "pasta", "features": [{"taste": "salty", "grams": [400, 800]}, {"nutrition": {"level": 5}}]},
    {"id": "ice cream", "features": [{"taste": "sweet"}]},
    {"id": "salad", "features": [{"taste": "fresh"}, None, {"calories": None}][:1]},
]
CONTEXT: list[dict[str, Any]] = [{"state": {"timeOfDay": "noon"}}, {"device": {"mobile": True}}]


def rank_body(**fields: Any) -> dict[str, Any]:
    return {"contextFeatures": CONTEXT, "actions": ACTIONS, **fields}


async def rank(service: Service, base: str = BASE, **fields: Any) -> dict[str, Any]:
    """The answer to a rank call."""
    answer = await service.post(f"{base}/rank", rank_body(**fields))
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def reward(service: Service, event_id: str, value: object, base: str = BASE, **headers: str) -> httpx.Response:
    return await service.post(f"{base}/events/{event_id}/reward", {"value": value}, **headers)


async def make_loop(service: Service, definition: dict[str, Any] = LOOP) -> None:
    """Make the loop ``menu``, with a policy that reads any JSON and one model for everybody."""
    answer = await service.client.put("/loops/menu", json=definition)
    assert answer.status_code == 201, answer.text


def read_error(answer: httpx.Response | Answer, status: int, code: str) -> str:
    """The message of an error that must be just this one."""
    if isinstance(answer, httpx.Response):
        answer = Answer(answer.status_code, answer.headers.raw, answer.content)
    assert answer.status == status, answer.body
    assert answer.header("content-type") == "application/json"
    assert answer.header("x-ms-error-code") == code
    error = answer.json()["error"]
    assert set(answer.json()) == {"error"}
    assert set(error) == {"code", "message"}
    assert error["code"] == code
    assert error["message"]
    assert CANARY not in answer.body.decode()
    return str(error["message"])
