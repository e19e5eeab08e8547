"""What was shown over HTTP: a search that says where to look on, tables of picks, and content kept from a role."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bandstand.api.asgi.access import get_required_role
from tests.api.given import API_KEYS, CANARY, KEYS, TWO, Service, encode_segment, read_ok, read_problem, run_service
from tests.store.given import ledger_of

ADMIN, READ, SERVE = (KEYS[name][1] for name in ("ops", "eyes", "shop"))
OFFERED: list[dict[str, Any]] = [
    {"id": "tip-1", "content": f"Call {CANARY}", "source": "task", "features": {"priority": 4, "place": CANARY}},
    {"id": "tip-2", "content": f"Water {CANARY}", "source": "task", "features": {"priority": 1, "place": CANARY}},
]
TURN = {"query_t": CANARY, "answer_t": f"Do {CANARY}", "query_t1": f"thanks {CANARY}, that worked!"}


async def test_decisions_are_found_by_words_and_by_candidate(service: Service) -> None:
    made = [(await service.score(f"user-{number}"))["decision_id"] for number in range(3)]
    found = read_ok(await service.get("/decisions", words="TAX", among="offered", limit=2))
    assert [each["decision_id"] for each in found["decisions"]] == made[:0:-1]
    assert [each["content"] for each in found["decisions"][0]["matches"]] == ["Send the tax return."]
    rest = read_ok(await service.get("/decisions", words="tax", among="offered", before=found["next"]))
    assert [each["decision_id"] for each in rest["decisions"]] == made[:1]
    assert rest["next"] is None
    by_pick = [read_ok(await service.get("/decisions", candidate_id=each["id"]))["decisions"] for each in TWO]
    assert sorted(each["decision_id"] for page in by_pick for each in page) == sorted(made)
    [mine] = read_ok(await service.get("/decisions", user_id="user-1"))["decisions"]
    assert (mine["decision_id"], mine["user_id"]) == (made[1], "user-1")
    assert read_ok(await service.get("/decisions", until="2001-01-01"))["decisions"] == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("among", "all"),
        ("since", "tomorrow"),
        ("until", "2026-13-01"),
        ("limit", 0),
        ("limit", 201),
        ("before", -1),
        ("words", " ".join(["w"] * 11)),
        ("words", "w" * 501),
        ("candidate_id", "w" * 501),
        ("user_id", "ada\x9b"),
        ("user_id", ""),
    ],
)
async def test_a_search_that_cannot_be_is_refused_by_its_field(service: Service, field: str, value: str | int) -> None:
    read_problem(await service.get("/decisions", **{field: value}), 422, "invalid-request", field)


async def test_picks_are_counted_by_item_source_and_feature(service: Service) -> None:
    for number in range(4):
        made = await service.score(f"user-{number}")
        await service.reward(decision_id=made["decision_id"], reward=0.5)
    told = read_ok(await service.get("/picks"))
    assert (told["decisions"], told["rewarded"]) == (4, 4)
    assert [(each["name"], each["picks"]) for each in told["sources"]["groups"]] == [("task", 4)]
    assert sum(each["picks"] for each in told["items"]["groups"]) == 4
    assert told["mean_reward"]["value"] == 0.5
    read_problem(await service.get("/picks", limit=0), 422, "invalid-request", "limit")


@asynccontextmanager
async def run_with_words(state_dir: Path, **settings: Any) -> AsyncIterator[tuple[Service, dict[str, str]]]:
    """A service whose reader asks, after users were shown, sent and said something; with what stands in paths."""
    async with run_service(state_dir, key=READ, api_keys=API_KEYS, judge="local", **settings) as service:
        with_key = {"authorization": f"Bearer {SERVE}"}
        made = [
            read_ok(
                await service.post(
                    "/score", {"user_id": "ada", "candidates": OFFERED, "context": {"mood": CANARY}}, **with_key
                )
            )["decision_id"]
            for _ in range(2)
        ]
        turn = {"decision_id": made[0], "turn": TURN, "wait": True}
        taken = read_ok(await service.post("/reward", turn, **with_key))
        with ledger_of(state_dir) as ledger:  # as a judge that quotes would have left it
            ledger.execute("UPDATE verdicts SET quotes = ?", (json.dumps({"rationale": CANARY, "raw": CANARY}),))
        yield (
            service,
            {
                "user_id": "ada",
                "decision_id": made[0],
                "judgement_id": taken["judgement_id"],
                "policy": "linucb-v2",
                "name": "generate",
                "version": "v1",
            },
        )


async def read_all(service: Service, ids: dict[str, str]) -> dict[str, str]:
    """What a reader is told by every route that their role opens, by its path; and by the other wire."""
    described = read_ok(await service.get("/openapi.json"))["paths"]
    told = {}
    for template, methods in described.items():
        if "get" not in methods or get_required_role("GET", template) not in {"read", "open"}:
            continue
        path = template
        for name, value in ids.items():
            path = path.replace(f"{{{name}}}", encode_segment(value))
        assert "{" not in path, f"the test does not know what stands in {template}"
        needed = {each["name"] for each in methods["get"].get("parameters", ()) if each["in"] == "query"}
        query = {name: value for name, value in ids.items() if name in needed and name != "policy"}
        for extra in ({}, {"explain": "true"} if "explain" in needed else {}):
            told[path + str(extra)] = (await service.get(path, **query, **extra)).text
    for path in ("configurations/service", "configurations/policy", "evaluations", "logs/properties"):
        told[path] = (await service.get(f"/personalizer/v1.0/{path}")).text
    return told


async def test_no_route_shows_content_to_a_reader_who_may_not_see_it(tmp_path: Path) -> None:
    async with run_with_words(tmp_path / "kept", read_content=False) as (service, ids):
        told = await read_all(service, ids)
        assert len(told) > 20
        assert [path for path, text in told.items() if CANARY in text] == []
        receipt = await service.receipt(ids["decision_id"])
        assert receipt["content_withheld"]
        assert [each["probability"] > 0 for each in receipt["candidates"]] == [True, True]
        assert [each["features"] for each in receipt["candidates"]] == [None, None], "which are numbers of raw ones"
        assert [each["features"] for each in await service.history()] == [{}, {}]
        read_problem(await service.get("/decisions", words="water"), 403, "forbidden")
        by_id = read_ok(await service.get("/decisions", candidate_id="tip-1", among="offered"))
        assert len(by_id["decisions"]) == 2
        admin = {"authorization": f"Bearer {ADMIN}"}
        whole = await service.client.get(f"/decisions/{ids['decision_id']}", headers=admin)
        assert CANARY in whole.text
    async with run_with_words(tmp_path / "open") as (service, ids):
        shown = {path.partition("{")[0] for path, text in (await read_all(service, ids)).items() if CANARY in text}
        decision, judgement = ids["decision_id"], ids["judgement_id"]
        seen = {f"/decisions/{decision}", f"/judgements/{judgement}", "/decisions", "/picks"}
        assert seen == shown, "else the law above is of nothing"
