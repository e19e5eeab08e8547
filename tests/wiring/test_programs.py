"""The judge for Python programs: with and without an event loop, as often as one likes, never two loops on a client."""

import asyncio
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bandstand.errors import ConfigurationError
from bandstand.judge.llm.cache import VerdictCache
from bandstand.judge.turn import Turn
from bandstand.judge_worker.stateless import UnscoredError
from bandstand.judging import (
    LLMRewardClient,
    LLMRewardConfig,
    classify_feedback,
    estimate_reward_llm,
    estimate_rewards_batch,
    judge,
    judge_batch,
)
from bandstand.testing.scripted_llm_server import ScriptedAnswer, ScriptedRequest, ScriptedServer
from bandstand.wiring import programs

LABELS = {"wrong": ("neg_correction", 0.9), "great": ("pos_praise", 0.9), "well": ("pos_praise", 0.3)}


def answer_request(request: ScriptedRequest) -> ScriptedAnswer:
    """Say what the message's first word means; refuse what it does not know."""
    word = request.message_texts[0].split("<message>\n")[1].split()[0]
    if word == "broken":
        return ScriptedAnswer(status=400)
    if word == "busy":
        return ScriptedAnswer(raw=b'{"error": {"message": "overloaded"}}')
    label, confidence = LABELS.get(word, ("neutral", 0.9))
    return ScriptedAnswer(json.dumps({"rationale": word, "label": label, "confidence": confidence}))


class Server:
    """A scripted model in a loop and a thread of its own, for programs that have none."""

    def __init__(self) -> None:
        self.server = ScriptedServer(answer_request)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.server.start(), self._loop).result(10)
        return self.server

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.server.aclose(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ScriptedServer]:
    monkeypatch.setattr(programs, "_verdicts", VerdictCache())
    monkeypatch.setattr(programs, "_clients", OrderedDict())
    with Server() as running:
        monkeypatch.setenv("JUDGE_URL", running.url)
        monkeypatch.setenv("STATE_DIR", str(tmp_path))
        monkeypatch.delenv("JUDGE_MODEL", raising=False)
        yield running


def turn(word: str) -> Turn:
    return Turn("q", "a", f"{word} indeed")


def test_estimates_are_rewards_and_whether_they_teach(server: ScriptedServer) -> None:
    assert estimate_reward_llm(turn("wrong")) == (-0.8, True)
    assert estimate_reward_llm(turn("great")) == (0.8, True)
    assert estimate_reward_llm(turn("well")) == (0.0, False)
    assert estimate_reward_llm(turn("broken")) == (0.0, False)
    assert {request.body["model"] for request in server.requests} == {"gpt-5-nano"}


def test_a_batch_keeps_its_order_and_loses_nothing_to_one_failure(server: ScriptedServer) -> None:
    words = ["wrong", "broken", "great", "hm"]
    assert estimate_rewards_batch([turn(word) for word in words]) == [(-0.8, True), (0, False), (0.8, True), (0, True)]
    assert estimate_rewards_batch([]) == []
    assert len(server.requests) == 4


def test_a_second_call_works_and_pays_only_for_what_is_new(server: ScriptedServer) -> None:
    for _ in range(2):
        assert estimate_reward_llm(turn("great")) == (0.8, True)
    assert estimate_rewards_batch([turn("great"), turn("wrong")]) == [(0.8, True), (-0.8, True)]
    assert len(server.requests) == 2


def test_threads_do_not_share_a_client(server: ScriptedServer) -> None:
    found: list[tuple[float, bool]] = []
    threads = [
        threading.Thread(target=lambda n=number: found.extend(estimate_rewards_batch([turn(f"great {n}")])))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [(0.8, True)] * 4
    assert len(server.requests) == 4


async def test_inside_a_loop_the_error_says_what_to_do(server: ScriptedServer) -> None:
    with pytest.raises(RuntimeError, match=r"await judge\(turn\)"):
        estimate_reward_llm(turn("great"))
    with pytest.raises(RuntimeError, match=r"await judge_batch\(turns\)"):
        estimate_rewards_batch([turn("great")])
    assert server.requests == []


async def test_a_judgement_has_the_verdict_and_what_it_teaches(server: ScriptedServer) -> None:
    found = await judge(turn("wrong"))
    assert (found.label, found.confidence, found.rationale) == ("neg_correction", 0.9, "wrong")
    assert (found.reward, found.should_update) == (-0.8, True)
    assert len(server.requests) == 1


async def test_those_who_ask_at_once_share_a_client_and_leave_nothing_behind(server: ScriptedServer) -> None:
    steps: list[tuple[int, int]] = []
    batch = judge_batch([turn("great"), turn("wrong")], progress=lambda *step: steps.append(step))
    *others, both = await asyncio.gather(judge(turn("great")), judge(turn("great")), batch)
    assert [one.label for one in [*others, *both]] == ["pos_praise"] * 3 + ["neg_correction"]
    assert len(server.requests) == 2
    assert steps == [(1, 2), (2, 2)]
    assert not any(client._shared for client in programs._clients.values())  # noqa: SLF001 - it shows nowhere else


async def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    for name in ("JUDGE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        await judge(turn("great"))
    assert not any(client._shared for client in programs._clients.values())  # noqa: SLF001 - as above


async def test_corrections_are_classified_without_a_model(server: ScriptedServer) -> None:
    found = await classify_feedback("no, that's wrong", "It is Sydney.")
    assert (found.is_correction, found.kind) == (True, "explicit_rejection")
    unsure = await classify_feedback("no, that's wrong", "It is Sydney.", threshold=1)
    assert (unsure.is_correction, unsure.kind, unsure.confidence) == (False, "neutral", found.confidence)
    itself = await classify_feedback("sorry, I meant tomorrow", "Your train leaves at nine.")
    assert (itself.is_correction, itself.kind) == (False, "self_correction")
    assert server.requests == []


async def test_a_correction_that_the_model_cannot_say_is_an_error(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE", "llm")
    monkeypatch.setenv("JUDGE_MODEL", "tiny")
    with pytest.raises(UnscoredError, match="unknown_label"):
        await classify_feedback("wrong indeed", "It is Sydney.")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "turns",
    [
        [{"query_t": "q", "answer_t": "a", "query_t1": "no"}],
        [Turn("q", "a", "no"), None],
        [("q", "a", "no")],
        "no",
        None,
        Turn("q", "a", "no"),
    ],
)
def test_what_is_no_turn_is_a_type_error_and_never_a_zero(server: ScriptedServer, turns: Any) -> None:
    with pytest.raises(TypeError, match=r"must be a (list of )?Turn, not"):
        estimate_rewards_batch(turns)
    with pytest.raises(TypeError, match=r"must be a (list of )?Turn, not"):
        asyncio.run(judge_batch(turns))
    for one in turns if isinstance(turns, list) else [turns]:
        if not isinstance(one, Turn):
            with pytest.raises(TypeError, match="must be a Turn, not"):
                estimate_reward_llm(one)
    assert server.requests == []


@pytest.mark.parametrize("texts", [(None, "a", "m"), ("q", 7, "m"), ("q", "a", b"m"), ("q", "a", None)])
def test_a_turn_holds_text(texts: Any) -> None:
    with pytest.raises(TypeError, match=r"^(query_t|answer_t|query_t1) must be a str, not "):
        Turn(*texts)


async def test_feedback_is_text() -> None:
    for texts in ((None, "a"), ("m", 7)):
        with pytest.raises(TypeError, match="must be a str, not"):
            await classify_feedback(*texts)


def test_a_config_goes_before_the_settings(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("JUDGE_TAU", "0.2")
    config = LLMRewardConfig(
        model="tiny", api_key="sk-1", base_url=server.url, confidence_threshold=0.95, max_completion_tokens=64
    )
    assert estimate_reward_llm(turn("great"), config) == (0.0, False), "0.9 is below its threshold"
    assert estimate_rewards_batch([turn("great"), turn("great")], config) == [(0.0, False)] * 2
    [request] = server.requests
    assert (request.body["model"], request.body["max_completion_tokens"]) == ("tiny", 64)
    assert request.headers["authorization"] == "Bearer sk-1"
    assert "sk-1" not in repr(config)


@pytest.mark.parametrize(("cache", "calls"), [(True, 1), (False, 3)])
def test_a_cache_may_be_off(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, cache: bool, calls: int) -> None:
    config = LLMRewardConfig(cache=cache)
    assert [*estimate_rewards_batch([turn("great")] * 2, config), estimate_reward_llm(turn("great"), config)] == [
        (0.8, True)
    ] * 3
    assert len(server.requests) == calls
    monkeypatch.setenv("JUDGE_CACHE", "true" if cache else "false")
    assert estimate_rewards_batch([turn("wrong")] * 3) == [(-0.8, True)] * 3
    assert len(server.requests) == 2 * calls


async def test_a_client_keeps_its_connection_from_call_to_call(server: ScriptedServer) -> None:
    async with LLMRewardClient(LLMRewardConfig(base_url=server.url, max_concurrent=2)) as client:
        assert (await client.judge(turn("great"))).reward == 0.8
        found = await client.judge_batch([turn("wrong"), turn("great")])
        assert [each.reward for each in found] == [-0.8, 0.8]
        with pytest.raises(RuntimeError, match=r"await client\.judge\(turn\)"):
            client.estimate_reward(turn("great"))
    assert client._shared == {}  # noqa: SLF001 - as above


def test_a_client_is_called_without_a_loop_as_often_as_one_likes(server: ScriptedServer) -> None:
    client = LLMRewardClient()
    for _ in range(2):
        assert client.estimate_reward(turn("great")) == (0.8, True)
    assert client.estimate_rewards_batch([turn("great")]) == [(0.8, True)]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "options",
    [{"model": 7}, {"api_key": b"k"}, {"max_tries": "3"}, {"max_tries": 2.5}, {"timeout_s": True}, {"cache": "yes"}],
)
def test_an_option_of_another_type_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"^{next(iter(options))} must be"):
        LLMRewardConfig(**options)
    with pytest.raises(TypeError, match="config must be an LLMRewardConfig, not dict"):
        LLMRewardClient(options)  # type: ignore[arg-type]  # as a program that mypy does not see


@pytest.mark.usefixtures("server")
def test_an_option_out_of_range_names_the_setting_behind_it() -> None:
    with pytest.raises(ConfigurationError, match=r"judge-tries=0 is not allowed; expected a whole number from 1 to 10"):
        estimate_reward_llm(turn("great"), LLMRewardConfig(max_tries=0))


def test_tries_and_delays_are_options(server: ScriptedServer) -> None:
    config = LLMRewardConfig(max_tries=2, base_delay_s=0.0, timeout_s=5)
    assert estimate_reward_llm(turn("busy"), config) == (0.0, False)
    assert len(server.requests) == 2
