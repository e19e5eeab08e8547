"""The console in a browser: used with the keyboard, looked at by axe, in light and dark, wide and at phone width."""

import asyncio
import json
import re
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.api.given import API_KEYS, TWO
from tests.console.given import ADMIN, keep, play_conversations
from tests.contract.server import start_server
from tests.project.checkout import tool

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGES = (
    "/login",
    "",
    "/users",
    "/shown",
    "/shown?words=tax&among=offered",
    "/user?id=ada",
    "/user/reset?id=ada",
    "/user/erase?id=ada",
    "/decision?id=first",
    "/policies",
    "/policies/promote?policy=thompson-v1",
    "/policies/launch?policy=thompson-v1",
    "/experiment",
    "/judge",
    "/judge/review",
    "/simulations",
    "/simulations/new",
    "/simulations/1",
    "/simulations/2",
    "/simulations/compare?run=1&run=2",
    "/prompts",
    "/loops",
    "/loops/mode?name=default&mode=apprentice",
    "/prompt?name=generate&version=v1",
    "/nowhere",
)
PHONE = 390
TURN = {"query_t": "How do I boil an egg?", "answer_t": "Eight minutes.", "query_t1": "Thank you, that worked!"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with keys and something in it."""
    state = tmp_path_factory.mktemp("browser") / "state"
    with start_server(state, API_KEYS=API_KEYS, SHADOW="thompson-v1") as server:
        base = f"http://127.0.0.1:{server.port}"
        for number in range(12):
            fields = {"decision_id": "first"} if number == 0 else {}
            made = fetch_json(base, "/score", {"user_id": ("ada", "bea")[number % 2], "candidates": TWO, **fields})
            fetch_json(base, "/reward", {"decision_id": made["decision_id"], "reward": 0.5})
        made = fetch_json(base, "/score", {"user_id": "chat", "candidates": TWO})
        fetch_json(base, "/reward", {"decision_id": made["decision_id"], "turn": TURN, "wait": True})
        fetch_json(base, "/simulations", {"policies": ["linucb-v1", "linucb-v2"], "personas": 3, "days": 2, "seeds": 2})
        with ThreadPoolExecutor(1) as thread:  # Playwright's loop runs in this one
            keep(state, *thread.submit(lambda: asyncio.run(play_conversations())).result())
        yield base


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=tool("chromium"), headless=True, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Somebody who has logged in; a word of the browser's about an error fails the test."""
    with_faults = watch_page(browser, address)
    log_in(with_faults[0])
    yield with_faults[0]
    assert with_faults[1] == []
    with_faults[0].context.close()


def watch_page(browser: Browser, address: str, **options: Any) -> tuple[Page, list[str]]:
    context = browser.new_context(base_url=address, **options)
    page, faults = context.new_page(), list[str]()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: faults.append(request.url) if not request.url.startswith(address) else None)
    return page, faults


def visit_pages(page: Page) -> Iterator[str]:
    """Go from page to page: the log-in as a stranger, then all others."""
    for path in PAGES:
        if path == PAGES[1]:
            log_in(page)
        page.goto(f"/console{path}")
        page.wait_for_load_state("networkidle")
        yield path
    page.goto("/console/judge")
    page.get_by_role("link", name="Turn of").first.click()
    expect(page.get_by_text(TURN["query_t1"])).to_be_visible()
    yield "/judgement"


def log_in(page: Page, path: str = "/console") -> None:
    page.goto(path)
    page.get_by_label("API key").fill(ADMIN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("navigation", name="Pages")).to_be_visible()


def fetch_json(base: str, path: str, body: object) -> dict[str, Any]:
    headers = {"content-type": "application/json", "authorization": f"Bearer {ADMIN}"}
    request = urllib.request.Request(f"{base}{path}", json.dumps(body).encode(), headers)  # noqa: S310 (loopback)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        told: dict[str, Any] = json.loads(answer.read())
        return told


def test_a_person_logs_in_where_they_wanted_to_go_and_out_again(page: Page) -> None:
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.goto("/console/users?q=a")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.get_by_label("API key").fill(ADMIN)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/console/users\?q=a$"))
    expect(page.get_by_role("link", name="ada")).to_be_visible()


def test_figures_are_drawn_under_the_policy_and_follow_the_colours_of_the_page(page: Page) -> None:
    page.goto("/console")
    for name in ("reward", "decisions"):
        expect(page.locator(f"[data-figure={name}] .main-svg").first).to_be_visible()
    text = page.locator("[data-figure=reward] .legendtext").first
    page.emulate_media(color_scheme="light")
    light = text.evaluate("each => getComputedStyle(each).fill")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "light => getComputedStyle(document.querySelector('[data-figure=reward] .legendtext')).fill !== light",
        arg=light,
    )


def test_a_run_is_started_watched_and_finished(page: Page) -> None:
    page.goto("/console/simulations")
    page.get_by_role("link", name="Start one").click()
    page.get_by_label("Users").fill("3")
    page.get_by_label("Days").fill("20")
    page.get_by_label("Seeds", exact=True).fill("0")
    page.get_by_role("button", name="Start").click()
    assert page.get_by_label("Seeds", exact=True).evaluate("each => each.validity.rangeUnderflow")
    page.get_by_label("Seeds", exact=True).fill("4")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("heading", level=1).get_by_text("done")).to_be_visible(timeout=120_000)
    expect(page.get_by_role("region", name="Policies of the run").get_by_role("row")).to_have_count(6)
    expect(page.locator("[data-figure=reward] .main-svg").first).to_be_visible()


def test_a_policy_is_promoted(page: Page) -> None:
    page.goto("/console/policies")
    page.get_by_role("link", name="Promote thompson-v1").click()
    page.get_by_role("button", name="Promote").click()
    expect(page.get_by_role("status")).to_contain_text("from now on")
    expect(page.get_by_role("row", name="thompson-v1").first).to_contain_text("active")
    page.get_by_role("button", name="Go back from thompson-v1").click()
    expect(page.get_by_role("row", name="linucb-v2").first).to_contain_text("active")


def test_a_user_is_found_and_reset_by_keyboard_alone(page: Page) -> None:
    page.goto("/console/users")
    page.get_by_label("Id begins with").focus()
    page.keyboard.type("be")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    tab_to(page, "bea")
    tab_to(page, "Reset…")
    tab_to(page, "Reset")
    expect(page.get_by_role("status")).to_contain_text("starts anew")
    expect(page.get_by_text("Nothing since the reset")).to_be_visible()


def test_a_turn_is_reviewed_by_one_key(page: Page) -> None:
    page.goto("/console/judge/review?user=chat")
    expect(page.get_by_text(TURN["query_t1"])).to_be_visible()
    page.keyboard.press("k")
    with page.expect_navigation():
        page.keyboard.press("a")
    expect(page.get_by_role("status")).to_contain_text("Kept")
    page.goto("/console/judge/review?user=chat&state=reviewed")
    expect(page.get_by_text("by a person")).to_be_visible()


def tab_to(page: Page, name: str) -> None:
    """Go to a link or button by Tab, and press it."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == name:
            with page.expect_navigation():
                page.keyboard.press("Enter")
            return
    raise AssertionError(f"{name} cannot be reached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(browser: Browser, address: str, scheme: Any) -> None:
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    page, _ = watch_page(browser, address, color_scheme=scheme)
    for path in visit_pages(page):
        page.evaluate(axe)
        found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
        grave = [
            (each["id"], [node["target"] for node in each["nodes"]])
            for each in found
            if each["impact"] in {"serious", "critical"}
        ]
        assert grave == [], (path, scheme)
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_at_phone_width_no_page_scrolls_sideways(browser: Browser, address: str, scheme: Any) -> None:
    viewport: Any = {"width": PHONE, "height": 800}
    page, _ = watch_page(browser, address, color_scheme=scheme, viewport=viewport)
    for path in visit_pages(page):
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE, path
    page.context.close()


def test_every_page_works_without_scripts(browser: Browser, address: str) -> None:
    page, _ = watch_page(browser, address, java_script_enabled=False)
    log_in(page)
    for path in PAGES[1:-1]:
        answer = page.goto(f"/console{path}")
        assert answer is not None
        assert answer.status == 200, path
        expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.context.close()
