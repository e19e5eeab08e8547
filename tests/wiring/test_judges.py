"""From settings to judges: what each setting makes, over real sockets, and what is refused at once."""

import json
from pathlib import Path
from typing import Any

import pytest
import respx

from bandstand.config.settings import Settings
from bandstand.errors import ConfigurationError
from bandstand.judge.turn import Turn
from bandstand.judge.verdict import Judged, Unscored, Verdict
from bandstand.judging import configuration, gate, llm_host, local_judges, open_judges
from bandstand.testing.scripted_llm_server import ScriptedAnswer, ScriptedRequest, ScriptedServer, Wire

TURN = Turn("Ideas for dinner?", "Try a lentil soup.", "isn't that rather a lot of work?")
NO = json.dumps({"rationale": "They object.", "label": "neg_correction", "confidence": 0.9})
WIRES: list[Wire] = ["openai", "anthropic"]


def settings(state_dir: Path, **given: Any) -> Settings:
    keys = {"anthropic_api_key": "a-key", "openai_api_key": "o-key"}
    return Settings(**{"state_dir": state_dir, **keys, **given})


async def judge_with(chosen: Settings, turn: Turn = TURN, taxonomy: str | None = None) -> Judged:
    async with open_judges(chosen) as judges:
        return await judges.get_judge(taxonomy).judge(turn)


@pytest.mark.parametrize("provider", WIRES)
async def test_each_provider_is_asked_on_its_own_wire_with_its_key_and_a_strict_schema(
    tmp_path: Path, provider: Wire
) -> None:
    async with ScriptedServer(ScriptedAnswer(NO)) as server:
        chosen = settings(tmp_path, judge="llm", judge_model="tiny", judge_provider=provider, judge_url=server.url)
        found = await judge_with(chosen)
    assert isinstance(found, Verdict)
    assert (found.label, found.tier, found.model, found.raw) == ("neg_correction", "llm", "tiny", NO)
    (request,) = server.requests
    assert (request.wire, request.body["model"]) == (provider, "tiny")
    assert "isn't that rather" in request.message_texts[0]
    if provider == "openai":
        assert request.headers["authorization"] == "Bearer o-key"
        assert request.body["response_format"]["json_schema"]["strict"] is True
        assert request.body["max_completion_tokens"] == 2_048
    else:
        assert "a-key" in {request.headers.get("x-api-key"), request.headers.get("authorization", "")[7:]}
        assert request.body["output_config"]["format"]["type"] == "json_schema"
        assert request.body["max_tokens"] == 2_048


@pytest.mark.parametrize("provider", WIRES)
async def test_a_gateway_without_strict_output_is_asked_without_and_read_strictly(
    tmp_path: Path, provider: Wire
) -> None:
    refused = frozenset({"response_format", "output_config"})
    answer = ScriptedAnswer(f"```json\n{NO}\n```", refuse=refused)
    async with ScriptedServer(answer) as server:
        found = await judge_with(
            settings(tmp_path, judge="llm", judge_model="tiny", judge_provider=provider, judge_url=server.url)
        )
    assert isinstance(found, Verdict)
    assert len(server.requests) == 2
    assert not refused & server.requests[1].body.keys()


@pytest.mark.parametrize("status", [429, 500])
async def test_what_may_pass_is_tried_again_and_waited_for(tmp_path: Path, status: int) -> None:
    answers = iter([ScriptedAnswer(status=status, headers={"retry-after": "0"}), ScriptedAnswer(NO)])
    async with ScriptedServer(lambda _: next(answers)) as server:
        found = await judge_with(settings(tmp_path, judge="llm", judge_model="tiny", judge_url=server.url))
    assert isinstance(found, Verdict)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_what_will_not_pass_is_not_tried_again(tmp_path: Path, status: int) -> None:
    async with ScriptedServer(ScriptedAnswer("c4n4ry", status=status)) as server:
        found = await judge_with(settings(tmp_path, judge="llm", judge_model="tiny", judge_url=server.url))
    assert isinstance(found, Unscored)
    assert (found.reason, found.raw) == ("rejected", None)
    assert len(server.requests) == 1


async def test_one_deadline_bounds_all_tries(tmp_path: Path) -> None:
    async with ScriptedServer(ScriptedAnswer(NO, delay_s=600)) as server:
        found = await judge_with(
            settings(tmp_path, judge="llm", judge_model="tiny", judge_url=server.url, judge_deadline_s=0.2)
        )
    assert isinstance(found, Unscored)
    assert found.reason == "timeout"


async def test_nobody_is_asked_until_a_model_is_named(tmp_path: Path) -> None:
    async with ScriptedServer(ScriptedAnswer(NO)) as server:
        chosen = settings(tmp_path, judge_url=server.url)
        assert llm_host(chosen) is None
        assert (await judge_with(chosen)).tier == "local"
    assert server.requests == []


@pytest.mark.parametrize("mode", ["local", "rules"])
async def test_local_modes_ask_nobody_whatever_is_named(tmp_path: Path, mode: str) -> None:
    async with ScriptedServer(ScriptedAnswer(NO)) as server:
        chosen = settings(tmp_path, judge=mode, judge_model="tiny", judge_url=server.url)
        assert llm_host(chosen) is None
        assert (await judge_with(chosen)).tier == mode
    assert server.requests == []


async def test_local_judges_need_no_loop_and_no_network(tmp_path: Path) -> None:
    judges = local_judges(settings(tmp_path, judge="llm", judge_model="tiny", judge_url="http://127.0.0.1:1"))
    assert (await judges.get_judge().judge(TURN)).tier == "local"
    assert not judges.get_judge().has_llm


async def test_the_providers_themselves_are_asked_where_no_url_is_set(
    tmp_path: Path, provider: respx.MockRouter
) -> None:
    openai = {"choices": [{"message": {"content": NO}, "finish_reason": "stop"}]}
    anthropic = {"content": [{"type": "text", "text": NO}], "stop_reason": "end_turn"}
    first = provider.post("https://api.openai.com/v1/chat/completions").respond(json=openai)
    second = provider.post("https://api.anthropic.com/v1/messages").respond(json=anthropic)
    for name in WIRES:
        chosen = settings(tmp_path, judge="llm", judge_model="tiny", judge_provider=name)
        assert llm_host(chosen) == f"api.{name}.com"
        assert isinstance(await judge_with(chosen), Verdict)
    assert first.called
    assert second.called


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"judge": "llm"}, "JUDGE_MODEL"),
        ({"judge_model": "tiny"}, "OPENAI_API_KEY"),
        ({"judge_model": "tiny", "judge_provider": "anthropic"}, "ANTHROPIC_API_KEY"),
        ({"judge_model": "tiny", "judge_provider": "anthropic", "judge_url": "http://x"}, "ANTHROPIC_API_KEY"),
        ({"judge_model": "tiny", "judge_url": "http://x", "judge_prompt_version": "v9"}, "JUDGE_PROMPT_VERSION"),
    ],
)
async def test_what_is_missing_is_named_before_any_turn(tmp_path: Path, given: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        async with open_judges(Settings(state_dir=tmp_path, **given)):
            pass


async def test_a_gateway_may_want_no_key(tmp_path: Path) -> None:
    async with ScriptedServer(ScriptedAnswer(NO)) as server:
        chosen = Settings(state_dir=tmp_path, judge="llm", judge_model="tiny", judge_url=server.url)
        assert isinstance(await judge_with(chosen), Verdict)


async def test_a_price_makes_a_cost(tmp_path: Path) -> None:
    async with ScriptedServer(ScriptedAnswer(NO)) as server:
        chosen = settings(
            tmp_path, judge="llm", judge_model="tiny", judge_url=server.url, judge_price="1000000/2000000"
        )
        usage = (await judge_with(chosen)).usage
    assert usage.cost == usage.prompt_tokens + 2 * usage.completion_tokens


async def test_prompts_of_one_s_own_come_first_and_the_shipped_ones_fill_in(tmp_path: Path) -> None:
    folder = tmp_path / "prompts" / "judge"
    folder.mkdir(parents=True)
    (folder / "v7.md").write_text(
        '+++\nversion = "v7"\ndescription = "Mine."\n[parameters]\nmessage = "it"\n+++\n'
        "{% block system %}Mine.{% endblock %}{% block user %}{{ message }}{% endblock %}"
    )
    async with ScriptedServer(ScriptedAnswer(NO)) as server:
        given = {"judge": "llm", "judge_model": "tiny", "judge_url": server.url, "prompts_dir": folder.parent}
        found = await judge_with(settings(tmp_path, judge_prompt_version="v7", **given))
        await judge_with(settings(tmp_path, **given))
    assert isinstance(found, Verdict)
    assert str(found.prompt_hash).startswith("judge/v7@")
    assert server.requests[0].system == "Mine."
    assert server.requests[1].system.startswith("You read one turn")
    (folder / "v7.md").write_text("nothing")
    with pytest.raises(ConfigurationError, match=r"broken: judge/v7\.md, line 1"):
        await judge_with(settings(tmp_path, judge_prompt_version="v7", **given))


async def test_corrections_are_judged_under_their_own_prompt_and_limits(tmp_path: Path) -> None:
    said = json.dumps({"rationale": "x", "label": "repetition", "confidence": 0.9})

    def answer_request(request: ScriptedRequest) -> ScriptedAnswer:
        assert request.system.startswith("You read a user's message")
        assert request.message_texts[0].count("a") < 700
        return ScriptedAnswer(said)

    async with ScriptedServer(answer_request) as server:
        chosen = settings(tmp_path, judge="llm", judge_model="tiny", judge_url=server.url)
        found = await judge_with(chosen, Turn("", "a" * 9_000, "hmm"), "correction-v1")
    assert isinstance(found, Verdict)
    assert (found.label, found.taxonomy) == ("repetition", "correction-v1")


async def test_a_deployment_s_own_file_reaches_its_judges(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[judge]\ntaxonomy = "mood-v1"\n[[judge.rules]]\nid = "mine"\nlabel = "cross"\nscore = 0.9\nany = ["grr"]\n'
        "[taxonomies.mood-v1.labels]\n"
        "cross = {reward = -1, means = 'is cross'}\nfine = {reward = 0, means = 'is fine'}\n"
    )
    found = await judge_with(settings(tmp_path, bandstand_config=own), Turn("", "", "grr"))
    assert isinstance(found, Verdict)
    assert (found.taxonomy, found.label, found.rule) == ("mood-v1", "cross", "mine")
    own.write_text("[judge]\ntaxonomy = 'none'")
    with pytest.raises(ConfigurationError, match=r"BANDSTAND_CONFIG: judge\.taxonomy"):
        configuration(settings(tmp_path, bandstand_config=own))


def test_the_gate_is_as_settings_have_it(tmp_path: Path) -> None:
    made = gate(settings(tmp_path, judge_tau=0.8, judge_gate="soft"))
    assert (made.tau, made.mode) == (0.8, "soft")


@pytest.mark.parametrize(
    ("caps", "tiers"),
    [
        ({"judge_daily_tokens": 100}, ["local", "local"]),
        ({"judge_daily_tokens": 7_500}, ["llm", "llm"]),
        ({"judge_daily_usd": "5"}, ["local", "local"]),
        ({"judge_daily_usd": "5", "judge_price": "0.05/0.40"}, ["llm", "llm"]),
        ({"judge_daily_usd": "0.001", "judge_price": "0/0.40"}, ["llm", "llm"]),
        ({"judge_daily_usd": "0.0005", "judge_price": "0/0.40"}, ["local", "local"]),
    ],
)
async def test_past_a_cap_or_without_a_price_the_local_tiers_go_on(
    tmp_path: Path, caps: dict[str, str], tiers: list[str]
) -> None:
    async with ScriptedServer(ScriptedAnswer(NO)) as server:
        chosen = settings(tmp_path, judge="llm", judge_model="tiny", judge_url=server.url, **caps)
        async with open_judges(chosen) as judges:
            found = [await judges.get_judge().judge(Turn("", "", word)) for word in ("one", "two")]
    assert [judged.tier for judged in found] == tiers
    assert len(server.requests) == tiers.count("llm")
