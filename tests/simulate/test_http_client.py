"""A running service as the one who learns, over real sockets: the product's two calls, and nothing twice."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from bandstand.config.settings import Settings
from bandstand.errors import ConfigurationError
from bandstand.simulate.errors import ServiceError
from bandstand.simulate.http_client import ServicePlayers
from bandstand.simulate.judges.judge import RuleJudge
from bandstand.simulate.plan import Plan
from bandstand.simulate.run.play import decode_steps
from bandstand.simulate.run.runner import Runner
from bandstand.simulate.world.reaction import Reaction
from bandstand.wiring.app import create_app
from tests.simulate.given import CountingJudge, Journal

PLAN = Plan(policies=("linucb-v1", "first-v1"), personas=2, days=2, seeds=2, events="all", url="http://service")


@asynccontextmanager
async def serve_app(app: Any) -> AsyncIterator[str]:
    """Serve an application on a port of its own."""
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="auto")
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def run_bandstand(tmp_path: Path, **settings: Any) -> AsyncIterator[str]:
    app = create_app(Settings(**{"state_dir": tmp_path / "state", "durability": "process", **settings}))
    async with serve_app(app) as url:
        yield url


async def run(url: str, journal: Journal | None = None, key: str | None = None, **more: Any) -> Runner:
    async with ServicePlayers(url, key, "simulated/test") as players:
        runner = Runner(PLAN, players, RuleJudge(), journal=journal, at_once=4, **more)
        assert await runner.run(asyncio.Event())
    return runner


async def fetch_stats(url: str, path: str, **params: str) -> Any:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        return (await client.get(path, params=params)).raise_for_status().json()


async def test_the_service_s_own_books_agree_with_the_run(tmp_path: Path) -> None:
    journal = Journal()
    async with run_bandstand(tmp_path) as url:
        await run(url, journal)
        totals = (await fetch_stats(url, "/stats"))["policies"]
        for policy in PLAN.policies:
            assert totals[policy]["decisions"] == totals[policy]["rewards"] == PLAN.total // 2
        for (seed, user, policy), play in journal.plays.items():
            stats = await fetch_stats(url, f"/stats/{policy}/simulated%2Ftest%2F{seed}%2F{user}")
            rewards = [past.judged.reaction.reward for past in decode_steps(play)]
            assert stats["pulls"] == stats["reward_count"] == PLAN.decisions_per_user
            assert stats["cumulative_reward"] == pytest.approx(sum(rewards))
        for row in journal.events[:6]:
            seed, user, policy, step = row[:4]
            decision_id = f"simulated%2Ftest%2F{seed}%2F{user}%2F{policy}%2F{step}"
            receipt = await fetch_stats(url, f"/decisions/{decision_id}")
            assert (receipt["tip_id"], receipt["policy"]) == (row[5], policy)
            assert (receipt["score"], receipt["propensity"], receipt["exploring"]) == row[11:14]
            assert receipt["reward"]["reward"] == row[16]


async def test_the_world_is_the_one_that_is_played_in_process(tmp_path: Path) -> None:
    journal = Journal()
    async with run_bandstand(tmp_path) as url:
        await run(url, journal)
    for seed, user, policy, step, _, tip, *rest in journal.events:
        episode = PLAN.build_world(seed).build_episode(user)
        pick = int(tip.rpartition("-")[2])
        assert tuple(rest[8:11]) == episode.get_reaction(step, pick)
        if policy == "first-v1":
            assert rest[6] >= 0.02 / 5


async def test_proxies_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with run_bandstand(tmp_path) as url:
        await run(url)


async def test_a_key_is_sent_and_a_missing_one_is_refused_in_one_line(tmp_path: Path) -> None:
    keys = "shop:serve:s3cret"
    async with run_bandstand(tmp_path, api_keys=keys) as url:
        await run(url, key="s3cret")
        with pytest.raises(ServiceError, match=r"/score/\S+ answered 401: give an API key"):
            await run(url)


async def test_stopped_and_played_on_it_teaches_nobody_twice(tmp_path: Path) -> None:
    first, second = Journal(), Journal()
    async with run_bandstand(tmp_path) as url:
        async with ServicePlayers(url, None, "simulated/test") as players:
            stop = asyncio.Event()
            stopped = Runner(PLAN, players, CountingJudge(stop, after=9), journal=first, at_once=3)
            assert not await stopped.run(stop)
        await run(url, second, kept=first.plays.items())
        totals = (await fetch_stats(url, "/stats"))["policies"]
    for policy in PLAN.policies:
        assert totals[policy]["decisions"] == totals[policy]["rewards"] == PLAN.total // 2
    assert len(first.plays | second.plays) == 8
    assert all(len(decode_steps(play)) == PLAN.decisions_per_user for play in (first.plays | second.plays).values())


# ── services that fail ────────────────────────────────────────────────────────────────────────────────────────────────


def build_app(*answers: tuple[int, bytes]) -> Callable[..., Any]:
    """An application that gives these answers in turn, the last one for ever; ASKED is the decision id of a request."""
    left = list(answers)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        asked = json.loads((await receive())["body"])["decision_id"]
        status, body = left.pop(0) if len(left) > 1 else left[0]
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body.replace(b"ASKED", asked.encode())})

    return app


def make_problem(code: str, detail: str) -> bytes:
    return json.dumps({"type": f"urn:bandstand:problem:{code}", "detail": detail}).encode()


def build_learner(service: ServicePlayers) -> Any:
    return service.make_cohort(0, "first-v1", [PLAN.build_world(0).build_episode(0)]).learners[0]


PICK = (
    b'{"tip_id": "task-0-0", "score": 1, "policy": "first-v1", "decision_id": "ASKED", "propensity": 1,'
    b' "exploring": false}'
)
REWARDED = b'{"ok": true, "policy": "first-v1", "reward": 1, "applied": true, "reason": null, "decision_id": "ASKED"}'


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, make_problem("unknown-policy", "no such policy")), "/score/.* answered 404: no such policy"),
        ((404, b'{"detail": "not ours"}'), "answered 404: .* no problem that Bandstand knows"),
        ((500, b"oops"), "answered 500: .* no problem"),
        ((200, b"<html>"), "no decision: .*not JSON"),
        ((200, b"[]"), "no decision: .*something else"),
        ((200, PICK.replace(b"task-0-0", b"task-9-9")), "no decision: .*something else"),
        ((200, b'{"tip_id": "task-0-0"}'), "no decision: .*something else"),
        ((200, PICK.replace(b'"ASKED"', b"null")), "could not log a decision"),
        ((302, b""), "answered 302"),
    ],
)
async def test_another_answer_than_a_decision_ends_the_run_in_one_line(answer: tuple[int, bytes], message: str) -> None:
    async with serve_app(build_app(answer)) as url:
        with pytest.raises(ServiceError, match=message):
            await run(url)


async def test_an_overloaded_service_is_asked_again_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandstand.simulate.http_client._FIRST_WAIT_S", 0.001)
    busy = (503, make_problem("overloaded", "overloaded"))
    taught = Reaction("done", 45_000, 1.0)
    answers = [busy, busy, (200, PICK), busy, (200, REWARDED)]
    async with serve_app(build_app(*answers)) as url, ServicePlayers(url, None, "u") as service:
        learner = build_learner(service)
        assert (await learner.decide(0)).pick == 0
        await learner.learn(taught)
    answers = [(200, PICK), busy]
    async with serve_app(build_app(*answers)) as url, ServicePlayers(url, None, "u") as service:
        learner = build_learner(service)
        await learner.decide(0)
        with pytest.raises(ServiceError, match="/reward answered 503: overloaded"):
            await learner.learn(taught)
        with pytest.raises(ServiceError, match="/score answered 503: overloaded"):
            await learner.decide(1)


async def test_nobody_there_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandstand.simulate.http_client._FIRST_WAIT_S", 0.001)
    async with serve_app(build_app((200, PICK))) as url:
        pass
    with pytest.raises(ServiceError, match=rf"{url} cannot be reached: ConnectError"):
        await run(url)


async def test_what_was_done_before_a_failure_is_kept() -> None:
    journal = Journal()
    plan = replace(PLAN, policies=("first-v1",), personas=1, seeds=1)
    second = PICK.replace(b"0-0", b"1-0")
    answers = [(200, PICK), (200, REWARDED), (200, second), (200, REWARDED), (404, b"{}")]
    async with serve_app(build_app(*answers)) as url, ServicePlayers(url, None, "u") as players:
        with pytest.raises(ServiceError):
            await Runner(plan, players, RuleJudge(), journal=journal, at_once=1).run(asyncio.Event())
    ((key, play),) = journal.plays.items()
    assert (key, len(decode_steps(play)), journal.done[-1]) == ((0, 0, "first-v1"), 2, 2)


def test_without_the_client_the_command_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bandstand_client", None)
    with pytest.raises(ConfigurationError, match=r"pip install \./clients/python"):
        ServicePlayers("http://127.0.0.1:1", None, "u")


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host", "http://", "http:///path"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="--url must start with http"):
        ServicePlayers(url, None, "u")
