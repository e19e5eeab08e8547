"""The door: who comes in, what every answer carries, and what a person is shown when something goes wrong."""

import re
from pathlib import Path

import httpx
import pytest

from bandstand.errors import StorageUnavailableError
from bandstand.store.tables.console_queries import ConsoleQueries
from tests.api.given import API_KEYS, KEYS
from tests.console.given import ADMIN, Page, Person, visit_console

PAGES = ("", "/users", "/policies", "/simulations", "/simulations/new", "/simulations/compare", "/prompts", "/loops")
FIGURES = ("/overview.json", "/simulations/1/progress.json")
FORMS = ("/user/reset", "/user/erase", "/simulations/new", "/simulations/1/cancel", "/prompts/reload", "/logout")


async def test_a_stranger_sees_the_log_in_and_nothing_else(tmp_path: Path) -> None:
    async with visit_console(tmp_path, api_keys=API_KEYS) as person:
        for path in (*PAGES, "/user?id=ada", "/nowhere"):
            answer = (await person.open(path)).response
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/console/login?next=%2Fconsole")
            assert answer.text == ""
        for path in FIGURES:
            assert (await person.open(path)).status == 401
        for path in FORMS:
            assert (await person.send(path, token="")).status in {303, 403}, path
        page = await person.open("/login")
        assert page.status == 200
        assert "Users" not in page.text


async def test_an_api_key_in_a_header_is_not_a_log_in(tmp_path: Path) -> None:
    async with visit_console(tmp_path, api_keys=API_KEYS) as person:
        answer = await person.client.get("/console", headers={"x-api-key": ADMIN})
        assert answer.status_code == 303


async def test_a_person_logs_in_looks_and_logs_out(tmp_path: Path) -> None:
    async with visit_console(tmp_path, api_keys=API_KEYS) as person:
        page = await person.log_in(next="/console/users?q=a")
        assert (page.status, page.response.headers["location"]) == (303, "/console/users?q=a")
        flags = page.response.headers["set-cookie"].lower()
        assert {"httponly", "samesite=strict", "path=/console"} <= set(flags.split("; "))
        assert ADMIN not in flags
        for path in PAGES:
            shown = await person.open(path)
            assert shown.status == 200, path
            assert "ops" in shown.text
        assert (await person.open("/login")).status == 303
        cookies = dict(person.client.cookies)
        left = await person.send("/logout", token=(await person.open()).token)
        assert (left.status, left.response.headers["location"]) == (303, "/console/login")
        assert not dict(person.client.cookies)
        assert cookies
        assert (await person.open()).status == 303


@pytest.mark.parametrize("key", ["", "wrong", KEYS["shop"][1], KEYS["eyes"][1], "ops"])
async def test_any_other_key_is_refused_without_a_cookie(tmp_path: Path, key: str) -> None:
    async with visit_console(tmp_path, api_keys=API_KEYS) as person:
        page = await person.log_in(key)
        assert page.status == 401
        assert "no key of this service" in page.text
        assert "set-cookie" not in page.response.headers


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example", "//evil.example", "/score", "/consolex", "/console\\@evil", "/console\r\nx: y", ""],
)
async def test_a_log_in_leads_to_no_other_place(tmp_path: Path, wanted: str) -> None:
    async with visit_console(tmp_path, api_keys=API_KEYS) as person:
        page = await person.log_in(next=wanted)
        assert page.response.headers["location"] == "/console"


async def test_a_cookie_survives_a_restart_and_ends_with_its_key(tmp_path: Path) -> None:
    async with visit_console(tmp_path, api_keys=API_KEYS) as person:
        await person.log_in()
        cookies = dict(person.client.cookies)
    for keys, status in ((API_KEYS, 200), (API_KEYS.replace(ADMIN, "an0ther"), 303), ("a:admin:b", 303)):
        async with visit_console(tmp_path, api_keys=keys) as person:
            person.client.cookies.update(cookies)
            assert (await person.open()).status == status


async def test_over_https_the_cookie_is_for_https_alone(tmp_path: Path) -> None:
    async with visit_console(tmp_path, api_keys=API_KEYS) as person:
        transport = httpx.ASGITransport(person.service.app)
        async with httpx.AsyncClient(transport=transport, base_url="https://bandstand.example") as client:
            token = Page(await client.get("/console/login")).token
            answer = await client.post("/console/login", data={"key": ADMIN, "token": token})
            assert "secure" in answer.headers["set-cookie"].lower().split("; ")
        behind_a_proxy = {"origin": "https://bandstand.example"}
        token = (await person.open("/login")).token
        form = {"key": ADMIN, "token": token}
        answer = await person.client.post("/console/login", data=form, headers=behind_a_proxy)
        assert "secure" in answer.headers["set-cookie"].lower().split("; ")
        answer = await person.client.post("/console/login", data=form)
        assert "secure" not in answer.headers["set-cookie"].lower().split("; ")


@pytest.mark.parametrize("path", FORMS)
async def test_no_form_does_anything_without_its_token(person: Person, path: str) -> None:
    await person.service.score("ada")
    before = await person.service.stats("ada")
    fields = {"id": "ada", "typed": "ada", "policies": "linucb-v1"}
    for given in ({}, {"token": ""}, {"token": "x"}, {"token": "é"}):
        page = await person.send(path, **fields, **given)
        assert page.status == 403, path
    assert await person.service.stats("ada") == before
    assert not (await person.service.get("/simulations")).json()["simulations"]


async def test_a_token_is_of_one_visit_alone(tmp_path: Path) -> None:
    async with visit_console(tmp_path, api_keys=API_KEYS) as person:
        await person.log_in()
        first = (await person.open()).token
        person.client.cookies.clear()
        await person.log_in()
        assert (await person.send("/prompts/reload", token=first)).status == 403
        assert (await person.send("/prompts/reload", token=(await person.open()).token)).status == 303


async def test_a_form_of_another_site_is_refused_even_with_a_token(tmp_path: Path) -> None:
    async with visit_console(tmp_path, api_keys=API_KEYS) as person:
        await person.log_in()
        token = (await person.open()).token
        for site in ("cross-site", "same-site", "none"):
            headers = {"sec-fetch-site": site}
            answer = await person.client.post("/console/prompts/reload", data={"token": token}, headers=headers)
            assert answer.status_code == 403


async def test_what_is_no_form_is_refused(person: Person) -> None:
    post = person.client.post
    token = (await person.open("/prompts")).token
    assert (await post("/console/prompts/reload", json={"token": token})).status_code == 422
    kind = {"content-type": "application/x-www-form-urlencoded"}
    for body in (b"token=%ff", b"token=\xff", b"token=" + b"x" * 70_000, b"&".join([b"a=1"] * 300)):
        assert (await post("/console/prompts/reload", content=body, headers=kind)).status_code == 422


async def test_a_slash_behind_an_address_is_taken_off(person: Person) -> None:
    for path, query, page in (
        ("/", {}, ""),
        ("/users/", {"q": "a b"}, "/users?q=a+b"),
        ("//evil.test/", {}, "/evil.test"),
    ):
        answer = (await person.open(path, **query)).response
        assert (answer.status_code, answer.headers["location"]) == (308, f"/console{page}"), path


async def test_a_cursor_that_no_ledger_can_hold_is_refused(person: Person) -> None:
    for path in ("/users", "/user", "/shown", "/judge", "/judge/review", "/simulations", "/evaluations"):
        for cursor in (str(1 << 63), "-1", "x"):
            assert (await person.open(path, id="ada", before=cursor)).status == 422, (path, cursor)


async def test_every_answer_carries_the_headers_and_no_page_holds_a_script(person: Person) -> None:
    await person.service.score("ada")
    for path in (*PAGES, "/user?id=ada", "/nowhere", "/overview.json", "/static/console.css", "/login"):
        page = await person.open(path)
        headers = page.response.headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        if headers.get("content-type", "").startswith("text/html"):
            assert headers["cache-control"] == "no-store"
            assert all(source is not None and not text for source, text in page.scripts)
            assert not re.findall(r"""(?:src|href|action)=["'](?:https?:)?//""", page.html)


async def test_what_is_not_there_is_a_page_too(person: Person) -> None:
    for path in ("/nowhere", "/user?id=nobody", "/decision?id=none", "/simulations/7", "/prompt?name=x&version=y"):
        page = await person.open(path)
        assert page.status == 404, path
        assert "Nothing here" in page.text
        assert page.response.headers["content-type"].startswith("text/html")
    for path in ("/user", "/users?before=x", "/simulations?before=x", "/simulations/compare?run=x"):
        assert (await person.open(path)).status == 422, path
    assert (await person.open(f"/simulations/{2**70}")).status == 404


async def test_a_store_that_fails_is_said_so(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unreadable(*_: object) -> None:
        raise StorageUnavailableError("the ledger cannot be read now")

    monkeypatch.setattr(ConsoleQueries, "load_activity", unreadable)
    page = await person.open()
    assert page.status == 503
    assert "The ledger cannot be read now." in page.text
    assert (await person.open("/overview.json")).response.json() == {"detail": "the ledger cannot be read now"}


async def test_a_fault_of_ours_tells_its_reference_and_nothing_else(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def raise_broken(*_: object) -> None:
        raise ValueError("c4n4ry")

    monkeypatch.setattr(ConsoleQueries, "list_newest_users", raise_broken)
    page = await person.open("/users")
    assert page.status == 500
    assert "c4n4ry" not in page.html
    assert page.response.headers["x-request-id"] in page.text


async def test_without_keys_other_names_and_other_sites_are_refused(person: Person) -> None:
    assert (await person.client.get("/console", headers={"host": "evil.example"})).status_code == 400
    headers = {"origin": "http://evil.example"}
    token = (await person.open("/prompts")).token
    answer = await person.client.post("/console/prompts/reload", data={"token": token}, headers=headers)
    assert answer.status_code == 403
