"""OpenAPI says what is so: the committed document, its examples, the schemas of requests and answers, every problem."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.openapi.utils import get_openapi
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from bandstand.api.problems import STATUS
from bandstand.api.schemas.requests import Wire
from bandstand.config.catalogue import load_catalogue
from bandstand.config.settings import Settings
from tests.api.given import TWO, Service, read_ok, read_problem, run_service

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs" / "openapi.json"
CODES = {error.code: status for error, (status, _) in STATUS.items()}

Operation = tuple[str, str, dict[str, Any]]


async def document_of(service: Service) -> dict[str, Any]:
    return read_ok(await service.get("/openapi.json"))


def operations_in(document: dict[str, Any]) -> list[Operation]:
    return [
        (method.upper(), path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """Holds values to a schema of the document."""
    return Draft202012Validator({**schema, "components": document["components"]})


def examples_in(operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return {name: example["value"] for name, example in content.get("examples", {}).items()}


@pytest.mark.asyncio(loop_scope="module")
async def test_the_committed_document_is_the_served_one(shared: Service) -> None:
    assert json.loads(COMMITTED.read_text(encoding="utf-8")) == await document_of(shared), "run `make openapi`"


@pytest.mark.asyncio(loop_scope="module")
async def test_every_operation_says_what_it_does_who_may_and_what_may_go_wrong(shared: Service) -> None:
    document = await document_of(shared)
    seen: set[str] = set()
    for method, path, operation in operations_in(document):
        where = f"{method} {path}"
        assert operation["summary"].endswith("."), where
        assert len(operation["tags"]) == 1, where
        assert operation["operationId"] not in seen, where
        seen.add(operation["operationId"])
        assert operation["x-role"] in {"open", "serve", "read", "admin"}
        assert (operation.get("security") == []) == (operation["x-role"] == "open"), where
        codes = operation["x-problems"]
        assert {"host-refused", "forbidden", "invalid-request", "internal"} <= set(codes) <= set(CODES), where
        assert ("unauthorized" in codes) == (operation["x-role"] != "open"), where
        assert ("too-large" in codes) == ("unsupported-media-type" in codes) == ("requestBody" in operation), where
        success = [status for status in operation["responses"] if status.startswith("2")]
        assert success in (["200"], ["202"], ["204"], ["200", "202"], ["200", "201"]), where
        statuses = {status for status in operation["responses"] if not status.startswith("2")}
        assert statuses == {str(CODES[code]) for code in codes}, where
        for status in statuses:
            response = operation["responses"][status]
            reference = response["content"]["application/problem+json"]["schema"]["$ref"]
            assert reference == "#/components/schemas/Problem"
            for code in codes:
                assert (f"`{code}`" in response["description"]) == (str(CODES[code]) == status), where


@pytest.mark.asyncio(loop_scope="module")
async def test_every_schema_is_one_and_every_reference_leads_somewhere(shared: Service) -> None:
    document = await document_of(shared)
    assert document["openapi"].startswith("3.1")
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    text = json.dumps(document)
    for reference in text.split('"$ref": "')[1:]:
        name = reference.partition('"')[0].removeprefix("#/components/schemas/")
        assert name in document["components"]["schemas"]


@pytest.mark.asyncio(loop_scope="module")
async def test_no_two_schemas_have_one_name(shared: Service) -> None:
    """The requests' come from the features, the answers' from their models; OpenAPI has one place for both."""
    framework = shared.app._app  # type: ignore[attr-defined]  # noqa: SLF001 (the application behind the gate)
    answers = set(get_openapi(title="", version="", routes=framework.routes)["components"]["schemas"])
    inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        (body.name, "validation", body.adapter) for body in Wire(load_catalogue(Settings())).bodies
    ]
    _, definitions = TypeAdapter.json_schemas(inputs)
    assert not answers & set(definitions["$defs"])


@pytest.mark.asyncio(loop_scope="module")
async def test_every_example_fits_its_schema(shared: Service) -> None:
    document = await document_of(shared)
    found = 0
    for _, path, operation in operations_in(document):
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            for example in examples_in(operation).values():
                found += 1
                validator(document, schema).validate(example)
            assert examples_in(operation), path
    assert found > 8


async def test_every_example_of_a_decision_and_of_its_reward_is_answered_with_200(service: Service) -> None:
    document = await document_of(service)
    for path in ("/score", "/reward", "/reset"):
        operation = document["paths"][path]["post"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        for example in examples_in(operation).values():
            answer = read_ok(await service.post(path, example))
            validator(document, schema).validate(answer)
            assert answer.get("applied", True) not in (False, None)


async def test_what_is_looked_up_fits_its_schema(service: Service) -> None:
    document = await document_of(service)
    values = {"user_id": "ada", "policy": "egreedy", "decision_id": "order-1"}
    for policy in ("egreedy", "linucb", "linucb-v2"):
        await service.score(policy=policy, decision_id="order-1" if policy == "egreedy" else policy)
    await service.reward(decision_id="order-1", reward=1)
    looked = 0
    for method, path, operation in operations_in(document):
        content = operation["responses"].get("200", {}).get("content", {})
        names = {parameter["name"] for parameter in operation.get("parameters", ())}
        required = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["required"]}
        if method != "GET" or "application/json" not in content or not required <= set(values):
            continue
        for given in {frozenset(required), frozenset(names & set(values))}:
            target = path
            for name in given:
                target = target.replace(f"{{{name}}}", values[name])
            query = {name: values[name] for name in given if f"{{{name}}}" not in path}
            answer = read_ok(await service.get(target, **query))
            errors = validator(document, content["application/json"]["schema"]).iter_errors(answer)
            assert not [error.message for error in errors], path
            looked += 1
    assert looked > 10


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_no_200_fits_the_schema_of_problems(shared: Service) -> None:
    document = await document_of(shared)
    problems = validator(document, {"$ref": "#/components/schemas/Problem"})
    for response in (
        await shared.post("/score", {}),
        await shared.get("/nothing"),
        await shared.client.put("/users"),
        await shared.get("/decisions/nothing"),
    ):
        problems.validate(response.json())


async def test_an_erasure_fits_its_schema(service: Service) -> None:
    document = await document_of(service)
    await service.score()
    answer = read_ok(await service.client.delete("/users/ada"))
    schema = document["paths"]["/users/{user_id}"]["delete"]["responses"]["200"]["content"]["application/json"]
    validator(document, schema["schema"]).validate(answer)


# ── a deployment's own features ───────────────────────────────────────────────────────────────────────────────────────

SHOP = """
[policies.shop-v1]
kind = "linucb"
schema = "shop"

[schemas.shop]
version = 1
intercept = true

[[schemas.shop.features]]
name = "price"
source = "candidate.price"
encoding = "clip"
low = 0
high = 100
minimum = 0
maximum = 1000
default = 10

[[schemas.shop.features]]
name = "country"
source = "context.country"
encoding = "onehot"
values = ["de", "fr"]
default = "de"

[[schemas.shop.features]]
name = "new"
source = "candidate.new"
encoding = "flag"
"""


async def test_a_deployment_s_own_features_are_shown_and_held_to(tmp_path: Path) -> None:
    config = tmp_path / "shop.toml"
    config.write_text(SHOP, encoding="utf-8")
    async with run_service(tmp_path / "state", bandstand_config=config, active_policy="shop-v1") as service:
        document = await document_of(service)
        schemas = document["components"]["schemas"]
        country, price = schemas["Context"]["properties"]["country"], schemas["Features"]["properties"]["price"]
        assert (country["type"], country["default"], country["maxLength"]) == (["string", "null"], "de", 256)
        assert (price["type"], price["default"]) == (["number", "null"], 10)
        assert (price["minimum"], price["maximum"]) == (0, 1000)
        assert schemas["Features"]["properties"]["new"]["type"] == ["boolean", "null"]
        assert "hour_of_day" in schemas["Context"]["properties"], "those that ship are still served"
        request = validator(document, {"$ref": "#/components/schemas/ScoreRequest"})
        cases: list[tuple[dict[str, Any], dict[str, Any], str | None]] = [
            ({"country": "fr"}, {"price": 12.5, "new": True}, None),
            ({}, {}, None),
            ({"country": "anywhere"}, {"price": 1000}, None),
            ({"country": 1}, {}, "context.country"),
            ({"country": "x" * 257}, {}, "context.country"),
            ({}, {"price": -0.5}, "candidates.0.features.price"),
            ({}, {"price": 1000.5}, "candidates.0.features.price"),
            ({}, {"price": "1"}, "candidates.0.features.price"),
            ({}, {"new": 1}, "candidates.0.features.new"),
        ]
        for context, features, at_fault in cases:
            body = {"user_id": "ada", "context": context, "candidates": [{**TWO[1], "features": features}]}
            response = await service.post("/score", body)
            assert request.is_valid(body) == (response.status_code == 200) == (at_fault is None), body
            if at_fault:
                read_problem(response, 422, "invalid-request", at_fault)
        answer = await service.score(candidates=[{**TWO[1], "features": {"price": 50}}], context={"country": "fr"})
        assert answer["policy"] == "shop-v1"
        receipt = await service.receipt(answer["decision_id"])
        assert receipt["feature_labels"] == ["intercept", "price", "country=de", "country=fr", "new"]
        assert receipt["candidates"][0]["features"] == [1.0, 0.5, 0.0, 1.0, 0.0]
        history = await service.history()
        assert history[-1]["features"] == {"price": 50, "country": "fr", "new": False}
        legacy = {"price": 50, "country": "fr", "hour_of_day": 9}
        assert (await service.reward_legacy(features=legacy))["policy"] == "shop-v1"
        read_problem(
            await service.post(
                "/reward", {"user_id": "ada", "tip_id": "t", "reward": 1, "features": {**legacy, "price": -1}}
            ),
            422,
            "invalid-request",
            "features.price",
        )
