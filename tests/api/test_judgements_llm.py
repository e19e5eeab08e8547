"""Turns judged by an LLM behind real sockets, in the judge's own process: either wire, and when it fails."""

import json
from pathlib import Path
from typing import Any

import pytest

from bandstand.testing.scripted_llm_server import ScriptedAnswer, ScriptedServer
from tests.api.given import FEATURES, Service, read_ok, run_service

SAID = {"label": "neg_confusion", "confidence": 0.9, "rationale": "asks again"}
TURN = {"query_t": "How tall is it?", "answer_t": "Eight feet.", "query_t1": "and in metres?"}
LEGACY = {"user_id": "ada", "tip_id": "tip-1", "features": FEATURES}


def settings(server: ScriptedServer, provider: str = "openai", **more: Any) -> dict[str, Any]:
    keys = {"openai_api_key": "sk-openai", "anthropic_api_key": "sk-anthropic"}
    url = f"{server.url}/v1" if provider == "openai" else server.url
    return {"judge": "llm", "judge_model": "gpt-5-nano", "judge_provider": provider, "judge_url": url, **keys, **more}


async def send_judged_turn(service: Service) -> dict[str, Any]:
    return read_ok(await service.post("/reward", {**LEGACY, "turn": TURN, "wait": True}))


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_model_judges_a_turn(tmp_path: Path, provider: str) -> None:
    async with (
        ScriptedServer(ScriptedAnswer(json.dumps(SAID))) as server,
        run_service(tmp_path / "state", **settings(server, provider)) as service,
    ):
        found = await send_judged_turn(service)
        assert (found["verdict"]["label"], found["verdict"]["tier"], found["reward"]) == ("neg_confusion", "llm", -0.6)
        assert found["verdict"]["prompt_hash"]
        assert json.loads(found["verdict"]["raw"]) == SAID
        (request,) = server.requests
        assert "and in metres?" in "".join(request.message_texts)
        assert any(value.endswith(f"sk-{provider}") for value in request.headers.values())
        spent = read_ok(await service.get("/stats"))["judge"]["today"]
        usage = found["verdict"]["usage"]
        assert spent["tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


async def test_a_model_that_fails_leaves_the_turn_unscored_and_it_can_be_tried_again(tmp_path: Path) -> None:
    answers = [ScriptedAnswer("no", status=401), ScriptedAnswer(json.dumps(SAID))]
    async with (
        ScriptedServer(lambda _: answers[0]) as server,
        run_service(tmp_path / "state", **settings(server)) as service,
    ):
        found = await send_judged_turn(service)
        assert (found["status"], found["reason"], found["applied"]) == ("unscored", "rejected", None)
        assert (await service.stats())["reward_count"] == 0
        listed = read_ok(await service.get("/judgements", status="unscored"))["judgements"]
        assert [entry["judgement_id"] for entry in listed] == [found["judgement_id"]]
        del answers[0]
        assert read_ok(await service.post("/judgements/retry", {}))["retried"] == 1
        again = read_ok(await service.post("/reward", {**LEGACY, "turn": TURN, "wait": True}))
        assert again["taught"]


async def test_past_the_budget_the_local_tiers_go_on(tmp_path: Path) -> None:
    async with (
        ScriptedServer(ScriptedAnswer(json.dumps(SAID))) as server,
        run_service(tmp_path / "state", **settings(server, judge_daily_tokens=10)) as service,
    ):
        found = await send_judged_turn(service)
        assert (found["status"], found["verdict"]["tier"]) == ("scored", "local")
        assert server.requests == []
        assert read_ok(await service.get("/stats"))["judge"]["today"]["over_budget"] == 1
        assert "bandstand_judge_over_budget_total 1.0" in (await service.get("/metrics")).text
