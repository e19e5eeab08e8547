"""The review of turns: what is shown, what a key's press does, and what people's labels say of the judge."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bandstand.judge.taxonomy import shipped_taxonomy
from bandstand.judge.training.dataset import parse_rows
from tests.console.given import Page, Person, visit_console
from tests.console.test_judge import TURN, send_turn

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def visitor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Person]:
    """Somebody at a console whose judge is started once, for tests that look at turns of their own users."""
    async with visit_console(tmp_path_factory.mktemp("reviews")) as visiting:
        yield visiting


async def review(person: Person, page: Page, judgement_id: str, verdict: str, **fields: Any) -> Page:
    return await person.send("/judge/review", id=judgement_id, verdict=verdict, token=page.token, **fields)


async def test_a_turn_is_shown_with_its_words_and_accepted(visitor: Person) -> None:
    told = await send_turn(visitor, "ann")
    page = await visitor.open("/judge/review", user="ann")
    for words in (*TURN.values(), "pos_praise at", "by local", "taught", "reward 0.80"):
        assert words in page.text, words
    done = await review(visitor, page, told["judgement_id"], "pos_praise", user="ann", state="open", at="3")
    assert done.status == 303, done.text
    assert done.response.headers["location"] == "/console/judge/review?state=open&user=ann&at=3&done=yes"
    kept = (await visitor.service.get(f"/judgements/{told['judgement_id']}")).json()
    assert (kept["verdict"]["tier"], kept["verdict"]["label"], kept["reward"]) == ("person", "pos_praise", 0.8)
    assert "None fits" in (await visitor.open("/judge/review", user="ann")).text
    assert TURN["query_t1"] in (await visitor.open("/judge/review", user="ann", state="reviewed")).text


async def test_another_label_takes_back_what_was_taught(visitor: Person) -> None:
    told = await send_turn(visitor, "bea", query_t1="Thank you, that worked! Bea")
    page = await visitor.open("/judge/review", user="bea")
    await review(visitor, page, told["judgement_id"], "neg_correction", user="bea")
    assert (await visitor.service.get("/stats/bea")).json()["cumulative_reward"] == pytest.approx(-0.8)
    page = await visitor.open("/judge/review", user="bea", state="all")
    assert "neg_correction at 100" in page.text
    assert "the judge said pos_praise" in page.text
    refused = await review(visitor, page, told["judgement_id"], "nonsense", user="bea", state="all")
    assert refused.status == 409
    assert "Nothing was changed" in refused.text


async def test_turns_are_found_by_label_confidence_and_state(visitor: Person) -> None:
    await send_turn(visitor, "cem")
    await send_turn(visitor, "cem", query_t1="hm")
    for filters, praised in (
        ({"label": "pos_praise"}, True),
        ({"label": "neg_confusion"}, False),
        ({"confidence": "100"}, True),
        ({"confidence": "1"}, False),
        ({"confidence": "nonsense"}, True),
        ({"state": "taught"}, True),
        ({"state": "unscored"}, False),
        ({"state": "reviewed"}, False),
        ({"state": "nonsense"}, True),
    ):
        page = await visitor.open("/judge/review", user="cem", **filters)
        assert page.status == 200
        assert (TURN["query_t1"] in page.text) == praised, filters
    assert "None fits" in (await visitor.open("/judge/review", user="nobody")).text


async def test_what_people_say_is_held_against_what_the_judge_said(visitor: Person) -> None:
    for number, verdict in enumerate(["pos_praise"] * 3 + ["neutral"]):
        told = await send_turn(visitor, f"dia-{number}", query_t1=f"Thank you, that worked! {number}")
        page = await visitor.open("/judge/review", user=f"dia-{number}")
        await review(visitor, page, told["judgement_id"], verdict)
    page = await visitor.open("/judge/review")
    (row,) = [row for row in page.rows() if row[:1] == ["pos_praise"]]
    labels = await visitor.service.client.get("/console/judge/labels.jsonl")
    said = [json.loads(line)["label"] for line in labels.text.splitlines()]
    agreed = said.count("pos_praise")
    assert agreed >= 3
    assert row[1:3] == [str(len(said)), f"{100 * agreed / len(said):.0f} %"]
    read = parse_rows(labels.text.splitlines(), shipped_taxonomy("followup-v1"), strict=True)
    assert len(read.rows) >= 4
    assert "attachment" in labels.headers["content-disposition"]
    assert (await visitor.service.client.get("/console/judge/labels.jsonl?taxonomy=none")).status_code == 404


async def test_who_was_erased_is_in_neither_the_queue_nor_the_labels(visitor: Person) -> None:
    told = await send_turn(visitor, "eve", query_t1="Thank you, says Eve")
    page = await visitor.open("/judge/review", user="eve")
    await review(visitor, page, told["judgement_id"], "pos_praise")
    assert "says Eve" in (await visitor.service.client.get("/console/judge/labels.jsonl")).text
    assert (await visitor.service.client.delete("/users/eve")).status_code == 200
    assert "says Eve" not in (await visitor.service.client.get("/console/judge/labels.jsonl")).text
    assert "says Eve" not in (await visitor.open("/judge/review", state="all")).text
