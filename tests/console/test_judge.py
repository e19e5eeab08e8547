"""The pages of the judge: turns and their verdicts, corrected by a person."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.api.given import API_KEYS
from tests.console.given import ADMIN, Person, visit_console

TURN = {"query_t": "How do I boil an egg?", "answer_t": "Eight minutes.", "query_t1": "Thank you, that worked!"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def visitor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Person]:
    """Somebody at a console whose judge is started once, for tests that look at turns of their own."""
    async with visit_console(tmp_path_factory.mktemp("judge")) as visiting:
        yield visiting


async def send_turn(person: Person, user_id: str = "ada", **turn: str) -> dict[str, Any]:
    decision = await person.service.score(user_id)
    body = {"decision_id": decision["decision_id"], "turn": {**TURN, **turn}, "wait": True}
    answer = await person.service.post("/reward", body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_before_the_first_turn_it_says_how_to_send_one(person: Person) -> None:
    page = await person.open("/judge")
    assert "No turn has been judged yet" in page.text
    assert "/reward" in page.text


async def test_a_verdict_is_listed_shown_and_corrected(person: Person) -> None:
    told = await send_turn(person)
    judgement_id = told["judgement_id"]
    listed = await person.open("/judge")
    assert listed.rows()[-1][1] == "ada"
    assert listed.rows()[-1][4] == "pos_praise local"
    assert f"/console/judgement?id={judgement_id}" in listed.links
    page = await person.open("/judgement", id=judgement_id)
    assert TURN["query_t1"] in page.text
    before = (await person.service.get(f"/judgements/{judgement_id}")).json()
    wanted = next(label for label in labels_of(page.html) if label != before["verdict"].get("label"))
    done = await person.send("/judgement/override", id=judgement_id, label=wanted, token=page.token)
    assert done.status == 303, done.text
    after = (await person.service.get(f"/judgements/{judgement_id}")).json()
    assert (after["verdict"]["label"], after["verdict"]["tier"]) == (wanted, "person")
    assert (await person.open("/judge")).rows()[-1][4] == f"{wanted} person"
    corrected = await person.open("/judgement", id=judgement_id, done="overridden")
    assert "A person's verdict stands now" in corrected.text
    assert "override" in corrected.text
    seen = await person.open("/user", id="ada")
    assert len([row for row in seen.rows() if row[-1] == "receipt turn"]) == 1, "one decision stays one row"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_label_that_is_none_changes_nothing(visitor: Person) -> None:
    told = await send_turn(visitor)
    token = (await visitor.open("/judgement", id=told["judgement_id"])).token
    page = await visitor.send("/judgement/override", id=told["judgement_id"], label="nonsense", token=token)
    assert page.status == 409
    assert "Nothing was changed" in page.text
    assert (await visitor.send("/judgement/override", id="0" * 32, label="x", token=token)).status == 404
    assert (await visitor.open("/judgement", id="nothing")).status == 404


@pytest.mark.asyncio(loop_scope="module")
async def test_turns_are_listed_by_their_status(visitor: Person) -> None:
    await send_turn(visitor)
    for status in ("waiting", "scored", "taught", "withheld", "unscored", "nonsense"):
        expected = (
            await visitor.service.get("/judgements", **({"status": status} if status != "nonsense" else {}))
        ).json()
        page = await visitor.open("/judge", status=status)
        assert page.status == 200
        rows = [row for row in page.rows() if row[-1] == "turn"]
        assert len(rows) == len(expected["judgements"]), status
    token = (await visitor.open("/prompts")).token
    retried = await visitor.send("/judge/retry", token=token)
    assert retried.response.headers["location"] == "/console/judge?retried=0"


async def test_a_persons_verdict_is_theirs_and_not_their_keys(tmp_path: Path) -> None:
    async with visit_console(tmp_path, key=ADMIN, api_keys=API_KEYS) as person:
        told = await send_turn(person)
        await person.log_in(person="Grace Hopper")
        token = (await person.open("/judgement", id=told["judgement_id"])).token
        await person.send("/judgement/override", id=told["judgement_id"], label="neg_correction", token=token)
        page = await person.open("/judgement", id=told["judgement_id"])
        kept = (await person.service.get(f"/judgements/{told['judgement_id']}")).json()
    assert [row[2] for row in page.rows() if row[1] == "override"] == ["Grace Hopper"]
    assert (kept["verdict"]["model"], kept["history"][-1]["client"]) == ("Grace Hopper", "ops")


async def test_what_was_spent_is_told_with_what_may_be(tmp_path: Path) -> None:
    nobody = {"judge_model": "judge", "judge_url": "http://127.0.0.1:9", "judge_price": "1/2"}
    async with visit_console(tmp_path, judge_daily_tokens=50_000, judge_daily_usd="1.5", **nobody) as person:
        await send_turn(person)
        page = await person.open("/judge")
    assert re.search(r"Tokens today [\d,]+ of 50,000 Dollars today [\d.]+ of 1\.50", page.text)


@pytest.mark.asyncio(loop_scope="module")
async def test_what_was_chosen_and_what_the_message_speaks_of_are_shown(visitor: Person) -> None:
    told = await send_turn(visitor, about="terse: <b>one</b> sentence")
    page = await visitor.open("/judgement", id=told["judgement_id"])
    assert "Chosen terse: <b>one</b> sentence" in page.text
    assert "Speaks of behaviour" in page.text


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_user_said_is_escaped(visitor: Person) -> None:
    told = await send_turn(visitor, query_t1="<script>alert(1)</script> thanks")
    page = await visitor.open("/judgement", id=told["judgement_id"])
    assert "<script>alert(1)</script> thanks" in page.text
    assert "<script>alert" not in page.html


def labels_of(html: str) -> list[str]:
    return [part.partition("</option>")[0].rpartition(">")[2] for part in html.split("<option")[1:]]
