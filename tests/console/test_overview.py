"""The first page."""

import re
from pathlib import Path

from tests.api.given import API_KEYS
from tests.console.given import Person, visit_console


async def test_an_empty_service_says_what_to_do_next(person: Person) -> None:
    page = await person.open()
    assert "Nothing has been decided yet" in page.text
    assert f"curl -s {str(person.client.base_url).rstrip('/')}/score" in page.text
    assert "Authorization" not in page.text
    assert "/console/simulations/new" in page.links
    assert "plotly.js" not in str(page.scripts), "there is nothing to draw"


async def test_with_keys_the_first_request_brings_one(tmp_path: Path) -> None:
    async with visit_console(tmp_path, api_keys=API_KEYS) as person:
        await person.log_in()
        assert "Authorization: Bearer $KEY" in (await person.open()).text


async def test_it_counts_what_was_decided_and_rewarded(person: Person) -> None:
    for number in range(4):
        decision = await person.service.score(f"user-{number % 2}", policy="linucb-v1")
        if number:
            await person.service.reward(decision_id=decision["decision_id"], reward=(-1.0, 1.0, 0.5)[number - 1])
    await person.service.score("user-0", policy="first-v1")
    page = await person.open(span="24h")
    assert page.rows()[-2:] == [
        ["linucb-v1", "4", "80.0 %", "0.0 %", "3", "75.0 %", "0.167"],
        ["first-v1", "1", "20.0 %", "0.0 %", "0", "0.0 %", "–"],
    ]
    assert "Users 2 Decisions 5 Rewards 3" in page.text
    figures = (await person.open("/overview.json", span="24h")).response.json()
    assert sum(sum(trace["y"]) for trace in figures["decisions"]["data"]) == 5
    points = [trace["y"] for trace in figures["reward"]["data"] if trace.get("mode") == "markers"]
    assert [each for each in points if each] == [[1 / 6]]


async def test_any_span_is_answered(person: Person) -> None:
    await person.service.score("ada")
    for span in ("24h", "7d", "30d", "90d", "nonsense", ""):
        page = await person.open(span=span)
        assert page.rows()[-1][:2] == ["linucb-v2", "1"], span
        assert (await person.open("/overview.json", span=span)).status == 200


async def test_it_tells_how_the_service_is(person: Person) -> None:
    page = await person.open()
    assert "State ready Durability process" in page.text


async def test_it_says_how_long_calls_take_and_what_is_left(person: Person) -> None:
    decision = await person.service.score("ada")
    await person.service.reward(decision_id=decision["decision_id"], reward=0.5)
    page = await person.open()
    assert re.search(r"/score p50 [\d.]+ ms, p99 [\d.]+ ms of 1; /reward p50 .* of 1; .* of disk are left", page.text)
    assert "events wait for the ledger" in page.text


async def test_what_gets_picked_has_its_numbers_there(person: Person) -> None:
    for number in range(3):
        await person.service.score(f"user-{number}", policy="first-v1")
    page = await person.open()
    assert "Of the newest 3 decisions, 100.0% picked tip-1" in page.text
    assert ["tip-1", "3", "100.0 %"] in [row[:3] for row in page.rows()]
