"""The hot path makes no second truth: what the gate answers itself, the framework's routes answer alike."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bandstand.api.asgi.metrics import Metrics
from tests.api.given import API_KEYS, FEATURES, KEYS, TWO, Answer, Service, run_service
from tests.api.refusals import REFUSED

_OUR_ID = re.compile(rb"\b[0-7][0-9a-f]{31}\b")
_JSON = (b"content-type", b"application/json")


class Sent(NamedTuple):
    """One request."""

    method: str
    target: str
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = (_JSON,)


def post(target: str, body: Any, **headers: str) -> Sent:
    named = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())
    return Sent("POST", target, json.dumps(body).encode(), (_JSON, *named))


def request(**fields: Any) -> dict[str, Any]:
    return {"user_id": "ada", "candidates": TWO, **fields}


LEGACY = {"user_id": "ada", "tip_id": "tip-1", "reward": 0.5, "features": FEATURES}

GOOD = [
    *(
        post(f"/score{where}", request(decision_id=f"{where}{number}", ranking=number % 2 == 0))
        for where in ("", "/linucb", "/egreedy", "/linucb-v1", "/egreedy-v1", "/linucb-v2")
        for number in range(6)
    ),
    post("/score/linucb", request(candidates=TWO[:1])),  # an id of ours, and no draw that depends on it
    post("/score/linucb", request(candidates=TWO[:1], context={"hour_of_day": 3, "day_of_week": 6}, unknown="field")),
    post("/score", request(decision_id="0")),
    post("/score?anything=at+all", request(decision_id="0")),
    post("/score/linucb-v2", request(decision_id="0")),
    post("/score/linucb", request(decision_id="0")),  # 409
    post("/score", request(decision_id="0", user_id="bob")),  # 409
    post("/score/egreedy", request(decision_id="🦊/..%")),
    post("/score/eg%72eedy", request(decision_id="🦊/..%")),
    post("/reward", {"decision_id": "0", "reward": 1}),
    post("/reward", {"decision_id": "0", "reward": 1.0}),
    post("/reward", {"decision_id": "0", "reward": 0.5}),  # 409
    post("/reward/linucb", {"decision_id": "0", "reward": 1.0}),  # 422
    post("/reward/linucb-v2", {"decision_id": "1", "reward": 1.0}),
    post("/reward", {"decision_id": "/egreedy2", "user_id": "bob", "reward": 1.0}),  # 404
    post("/reward/egreedy", {"decision_id": "/egreedy2", "reaction": {"action": "done", "dwell_ms": 45_000}}),
    post("/reward", LEGACY),
    post("/reward/linucb", LEGACY),
    post("/reward/egreedy", {**LEGACY, "day_of_week": 3}),
    post("/reward", LEGACY, idempotency_key="k-1"),
    post("/reward", LEGACY, idempotency_key="k-1"),
    post("/reward", {**LEGACY, "reward": 0}, idempotency_key="k-1"),  # 422
    post("/reward/linucb", LEGACY, idempotency_key="k-1"),
    post("/reward", LEGACY, idempotency_key=""),  # 422
    post("/score", request(decision_id="late"), x_request_id="mine"),
]

ODD = [
    *(Sent("POST", target, json.dumps(request()).encode(), ()) for target in ("/score", "/reward")),
    post("/score", request(), content_encoding="gzip"),
    post("/reward", LEGACY, content_length=str(2**21)),
    *(Sent(method, target) for method in ("GET", "PUT", "OPTIONS", "HEAD") for target in ("/score", "/reward/linucb")),
    post("/score?x=%FF", request()),
    post("/score/%FF", request()),
    post("/reward?user_id=\xff", LEGACY),
    post("/score", request(decision_id="traced"), x_request_id="x" * 129),  # an id of ours would draw by chance
]


async def send_call(service: Service, requests: Iterable[Sent]) -> list[Answer]:
    return [
        await service.raw(each.method, each.target.encode("latin-1", "ignore"), headers=each.headers, body=[each.body])
        for each in requests
    ]


def mask_ids(answer: Answer) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """All but the ids that nobody can foresee."""
    own = (answer.header("x-request-id") or "").encode()
    headers = sorted((name, b"*" if value == own else value) for name, value in answer.headers)
    return answer.status, headers, _OUR_ID.sub(b"*", answer.body).replace(own, b"*")


def counts(metrics: str) -> Counter[tuple[str, ...]]:
    """How many requests, decisions and rewards were counted, by all their labels."""
    return Counter(
        {
            (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): int(sample.value)
            for family in text_string_to_metric_families(metrics)
            for sample in family.samples
            if sample.name
            in {"bandstand_request_seconds_count", "bandstand_decisions_total", "bandstand_rewards_total"}
        }
    )


@pytest.mark.parametrize("keyed", [False, True])
async def test_the_gate_and_the_framework_give_the_same_answers(tmp_path: Path, keyed: bool) -> None:
    settings: dict[str, object] = {"prior_refresh_rewards": 1000}  # no prior is learned between two answers
    if keyed:
        settings["api_keys"] = API_KEYS
    async with run_service(tmp_path / "hot"):
        pass  # makes the deployment's secret, which draws
    shutil.copytree(tmp_path / "hot", tmp_path / "framed")
    refused = [Sent("POST", refusal.path, refusal.body) for refusal in REFUSED.values()]
    requests = [*GOOD, *refused, *ODD]
    if keyed:
        secrets = [secret for _, secret in KEYS.values()]
        cycle = [None, *secrets, "wrong"]
        requests = [
            each._replace(headers=(*each.headers, (b"x-api-key", secret.encode()))) if secret else each
            for number, each in enumerate(requests)
            for secret in (secrets[0], *cycle[number % 5 : number % 5 + 1])
        ]
    answers, metrics, documents = {}, {}, {}
    for name, hot_path in (("hot", True), ("framed", False)):
        async with run_service(tmp_path / name, hot_path=hot_path, key=KEYS["ops"][1], **settings) as service:
            answers[name] = [mask_ids(answer) for answer in await send_call(service, requests)]
            metrics[name] = counts((await service.get("/metrics")).text)
            documents[name] = (await service.get("/openapi.json")).json()
    for each, hot, framed in zip(requests, answers["hot"], answers["framed"], strict=True):
        assert hot == framed, each
    assert metrics["hot"] == metrics["framed"]
    assert documents["hot"] == documents["framed"]
    statuses = Counter(status for status, _, _ in answers["hot"])
    assert statuses[200] > 30
    assert {200, 404, 405, 409, 413, 415, 422} <= set(statuses)
    if keyed:
        assert {401, 403} <= set(statuses)


async def test_what_they_taught_is_the_same(tmp_path: Path) -> None:
    async with run_service(tmp_path / "hot"):
        pass
    shutil.copytree(tmp_path / "hot", tmp_path / "framed")
    seen = []
    for name, hot_path in (("hot", True), ("framed", False)):
        async with run_service(tmp_path / name, hot_path=hot_path) as service:
            await send_call(service, GOOD)
            stats = [await service.stats("ada", policy) for policy in ("linucb", "egreedy", "linucb-v2")]
            history = await service.history()
            receipt = await service.receipt("late")
        for each in (*stats, *history, receipt):
            for clock in ("ts", "last_updated"):
                each.pop(clock, None)
        for entry in history:
            entry["decision_id"] = _OUR_ID.sub(b"*", entry["decision_id"].encode())
        seen.append((stats, history, receipt))
    assert seen[0] == seen[1]


async def test_a_fault_behind_the_commit_is_the_answer_of_its_own_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("cannot be counted")

    async with run_service(tmp_path) as service:
        decision_id = (await service.score(decision_id="mine"))["decision_id"]
        with monkeypatch.context() as patched:
            patched.setattr(Metrics, "record_decision", fail)
            patched.setattr(Metrics, "record_reward", fail)
            scored = await service.post("/score", request())
            rewarded = await service.post("/reward", {"decision_id": decision_id, "reward": 1})
        again = await service.post("/reward", {"decision_id": decision_id, "reward": 1})
    assert [each.status_code for each in (scored, rewarded, again)] == [500, 500, 200], "it was committed before"


async def test_answers_hold_just_what_openapi_shows(service: Service) -> None:
    """The two routes write their JSON by hand; the schemas that describe it stand elsewhere."""
    schemas = (await service.get("/openapi.json")).json()["components"]["schemas"]
    scored = await service.score(ranking=True)
    filled = await service.score(slots=[{"id": "top"}])
    rewarded = await service.reward(decision_id=scored["decision_id"], reward=1)
    assert set(scored) | {"slots"} == set(schemas["ScoreResponse"]["properties"])
    assert set(filled) == set(scored) - {"ranking"} | {"slots"}
    assert set(filled["slots"][0]) == set(schemas["SlotPick"]["properties"])
    assert set(scored["ranking"][0]) == set(schemas["Ranked"]["properties"])
    assert set(rewarded) | {"aggregate"} == set(schemas["RewardResponse"]["properties"]), "that is of rewards over time"
