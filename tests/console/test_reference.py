"""The page of the interface says what the OpenAPI document says, and needs nothing from elsewhere."""

import json
from pathlib import Path

import pytest

from tests.api.given import API_KEYS, KEYS, run_service
from tests.console.given import Page, Person


async def test_every_operation_stands_on_it(person: Person) -> None:
    page = Page(await person.client.get("/docs"))
    document = (await person.client.get("/openapi.json")).json()
    assert page.status == 200
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            assert f"{method.upper()} {path} {told['summary']}" in page.text
            for each in told.get("parameters", ()):
                assert f"{each['name']} in the {each['in']}" in page.text
    shown = document["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    first = json.dumps(next(iter(shown.values()))["value"], indent=2, ensure_ascii=False)
    assert " ".join(first.split()) in page.text


async def test_it_runs_no_script_and_loads_nothing_from_elsewhere(person: Person) -> None:
    page = Page(await person.client.get("/docs"))
    assert page.scripts == []
    assert "://" not in page.html.replace("http://www.w3.org", "")
    assert "default-src 'none'" in page.response.headers["content-security-policy"]


@pytest.mark.parametrize(("key", "status"), [("eyes", 200), ("ops", 200), ("shop", 403), (None, 401)])
async def test_it_is_for_readers(tmp_path: Path, key: str | None, status: int) -> None:
    async with run_service(tmp_path, api_keys=API_KEYS) as service:
        headers = {} if key is None else {"x-api-key": KEYS[key][1]}
        assert (await service.client.get("/docs", headers=headers)).status_code == status
