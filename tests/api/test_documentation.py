"""The pages are complete: every route, role and error that the service has, and none that it has not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bandstand.api.problems import STATUS
from tests.api.given import Service, read_ok

DOCS = Path(__file__).parents[2] / "docs"
ANYWHERE = {
    "host-refused",
    "unauthorized",
    "forbidden",
    "not-found",
    "method-not-allowed",
    "too-large",
    "unsupported-media-type",
    "invalid-request",
    "internal",
}
NO_ROUTE_S_OWN = {"not-found", "method-not-allowed", "client-gone", "request-timeout"}


def read_page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def read_sections() -> dict[str, str]:
    """The text of each route's section by its heading, METHOD and path."""
    parts = re.split(
        r"^### `([A-Z]+ /\S*)`$",
        re.split(r"^## ", read_page("api.md"), maxsplit=1, flags=re.MULTILINE)[1],
        flags=re.MULTILINE,
    )
    return {heading: text.partition("\n## ")[0] for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


async def operations_of(service: Service) -> dict[str, dict[str, Any]]:
    document = read_ok(await service.get("/openapi.json"))
    return {
        f"{method.upper()} {path}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


async def test_every_route_has_its_section_with_its_role_and_its_errors(service: Service) -> None:
    documented, served = read_sections(), await operations_of(service)
    assert set(documented) == set(served)
    for route, operation in served.items():
        text = " ".join(documented[route].split())
        assert f"Role: `{operation['x-role']}`." in text, route
        named = re.search(r"Errors: ([^.]*)\.", text)
        codes = set(re.findall(r"`([a-z-]+)`", named[1])) if named else set()
        assert codes == set(operation["x-problems"]) - ANYWHERE, route


async def test_every_field_of_a_request_or_an_answer_is_named_in_its_section(service: Service) -> None:
    documented = read_sections()
    schemas = read_ok(await service.get("/openapi.json"))["components"]["schemas"]
    for route, names in {
        "POST /score": ("ScoreRequest", "Context", "ScoreResponse", "Ranked", "Candidate"),
        "POST /reward": ("RewardRequest", "Reaction", "RewardResponse"),
        "GET /stats/{user_id}": ("UserStats",),
        "GET /stats": ("DeploymentStats", "PolicyStats"),
        "GET /features/{user_id}": ("History", "Scoring"),
        "GET /decisions/{decision_id}": ("Receipt", "Considered", "RewardTaken"),
        "GET /policies": ("Policies", "PolicyEntry"),
        "GET /users": ("Users", "User"),
        "DELETE /users/{user_id}": ("Erased",),
        "GET /health": ("Health",),
        "GET /ready": ("Ready",),
        "POST /generate": ("GenerateRequest", "GenerateContext", "GenerateResponse"),
    }.items():
        for name in names:
            missing = {
                field for field in schemas[name]["properties"] if not re.search(rf"\b{field}\b", documented[route])
            }
            assert not missing, (route, name)


def test_every_error_has_its_row_with_its_status_its_meaning_and_what_to_do() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (.+) \| (.+) \|$", read_page("errors.md"), flags=re.MULTILINE)
    assert {code: int(status) for code, status, _, _ in rows} == {
        error.code: status for error, (status, _) in STATUS.items()
    }
    assert len(rows) == len(STATUS)
    assert all(meaning.endswith(".") and remedy.endswith(".") for _, _, meaning, remedy in rows)


async def test_every_error_is_some_route_s(service: Service) -> None:
    served = {code for operation in (await operations_of(service)).values() for code in operation["x-problems"]}
    assert {error.code for error in STATUS} - served == NO_ROUTE_S_OWN


async def test_the_problem_on_the_page_is_one_that_is_answered(service: Service) -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", read_page("api.md"), flags=re.DOTALL)
    told = json.loads(shown)
    body = {"user_id": "ada", "context": {"hour_of_day": 24}, "candidates": [{"id": "t", "content": "", "source": ""}]}
    answer = (await service.post("/score", body, x_request_id=told["request_id"])).json()
    assert answer == told


@pytest.mark.parametrize("name", ["api.md", "errors.md"])
def test_every_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", read_page(name)):
        assert target.startswith("https://") or (DOCS / target).exists(), target


async def test_every_metric_is_on_the_page(service: Service) -> None:
    text = (await service.get("/metrics")).text
    for name in re.findall(r"^# TYPE (\w+?)(?:_total|_created)? ", text, flags=re.MULTILINE):
        assert f"`{name}`" in read_page("api.md"), name
