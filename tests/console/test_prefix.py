"""Behind a proxy that shows the service under a path of its own, every address that leaves is below that path."""

import re
from pathlib import Path

import pytest

from bandstand.api.asgi.access import OWN_SEGMENTS
from bandstand.errors import ConfigurationError
from tests.api.given import API_KEYS, KEYS, TWO, run_service
from tests.console.given import Page, Person, visit_console
from tests.console.test_auth import PAGES

ADDRESS = re.compile(r'\b(?:href|src|action|data-[a-z]+)="(/[^"]*)"')
BROWSER = {"accept": "text/html,application/xhtml+xml"}
BEHIND = {"x-forwarded-prefix": "/bandit"}


async def test_every_address_of_every_page_is_below_the_prefix(person: Person) -> None:
    decision = await person.service.score("ada")
    await person.service.reward(decision_id=decision["decision_id"], reward=0.5)
    person.client.headers.update(BEHIND)
    paths = (
        *PAGES,
        "/judge",
        "/user?id=ada",
        "/user/erase?id=ada",
        f"/decision?id={decision['decision_id']}",
        "/nowhere",
    )
    for path in (*(f"/console{path}" for path in paths), "/docs"):
        page = Page(await person.client.get(path))
        found = ADDRESS.findall(page.html)
        assert len(found) > 2, path
        assert all(address.startswith("/bandit/") for address in found), (path, found)
        for address in found:
            if "/static/" in address or address.endswith("/openapi.json"):
                assert (await person.client.get(address.removeprefix("/bandit"))).status_code == 200


async def test_without_a_prefix_addresses_are_as_they_were(person: Person) -> None:
    page = Page(await person.client.get("/console"))
    assert all(address.startswith("/console") for address in ADDRESS.findall(page.html))


async def test_redirects_and_the_cookie_are_below_the_prefix(tmp_path: Path) -> None:
    async with visit_console(tmp_path, api_keys=API_KEYS) as person:
        person.client.headers.update(BEHIND)
        sent_away = await person.client.get("/console/users?q=a")
        assert sent_away.headers["location"] == "/bandit/console/login?next=%2Fconsole%2Fusers%3Fq%3Da"
        page = await person.log_in(next="/console/users?q=a")
        assert page.response.headers["location"] == "/bandit/console/users?q=a"
        flags = page.response.headers["set-cookie"]
        assert "; Path=/bandit/console;" in flags
        person.client.cookies.set("bandstand_console", flags.split("=", 1)[1].partition(";")[0], path="/console")
        left = await person.send("/logout", token=(await person.open()).token)
        assert left.response.headers["location"] == "/bandit/console/login"
        assert "Path=/bandit/console;" in left.response.headers["set-cookie"]


@pytest.mark.parametrize("left", ["", "/bandit"])
async def test_the_setting_serves_whether_the_proxy_cuts_the_prefix_off_or_not(tmp_path: Path, left: str) -> None:
    async with run_service(tmp_path, root_path="/bandit/") as service:
        scored = await service.post(f"{left}/score", {"user_id": "ada", "candidates": TWO})
        assert scored.status_code == 200
        assert (await service.get(f"{left}/stats/ada")).json()["pulls"] == 1
        page = Page(await service.get(f"{left}/console"))
        assert page.status == 200
        assert all(address.startswith("/bandit/console") for address in ADDRESS.findall(page.html))
        assert (await service.get(f"{left}/openapi.json")).json()["servers"] == [{"url": "/bandit"}]
        assert (await service.get(f"{left}/")).headers["location"] == "/bandit/console"


async def test_openapi_names_the_prefix_only_where_there_is_one(person: Person) -> None:
    assert "servers" not in (await person.client.get("/openapi.json")).json()
    behind = (await person.client.get("/openapi.json", headers=BEHIND)).json()
    assert behind["servers"] == [{"url": "/bandit"}]
    assert "servers" not in (await person.client.get("/openapi.json")).json()


async def test_the_bare_address_leads_to_the_console(tmp_path: Path, person: Person) -> None:
    for headers in ({}, BROWSER):
        answer = await person.client.get("/", headers=headers)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    async with run_service(tmp_path / "keyed", api_keys=API_KEYS) as service:
        assert (await service.get("/")).headers["location"] == "/console"
        assert (await service.post("/", {})).status_code == 401


async def test_a_browser_at_docs_is_asked_for_a_key_as_at_the_console(tmp_path: Path) -> None:
    async with visit_console(tmp_path, api_keys=API_KEYS) as person:
        answer = await person.client.get("/docs", headers=BROWSER)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/docs")
        sent_away = await person.open("/docs")
        assert sent_away.response.headers["location"] == "/console/login?next=%2Fconsole%2Fdocs"
        assert (await person.log_in(next="/console/docs")).response.headers["location"] == "/console/docs"
        page = await person.open("/docs")
        assert "/score" in page.text
        assert "/console/openapi.json" in page.links
        document = await person.client.get("/console/openapi.json", headers=BEHIND)
        assert document.json()["servers"] == [{"url": "/bandit"}]
        wrong = await person.client.get("/docs", headers={**BROWSER, "x-api-key": KEYS["shop"][1]})
        assert wrong.status_code == 403


async def test_no_path_of_ours_may_be_the_prefix(tmp_path: Path, person: Person) -> None:
    shown = (await person.client.get("/openapi.json")).json()["paths"]
    assert {path.split("/")[1] for path in shown} <= OWN_SEGMENTS
    for segment in OWN_SEGMENTS:
        with pytest.raises(ConfigurationError, match="ROOT_PATH"):
            async with run_service(tmp_path / "state", root_path=f"/{segment}/below"):
                raise AssertionError(segment)
