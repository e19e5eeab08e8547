"""Opinions on the wire: what is asked, what is answered, and that nothing but the deployment says who is asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from starlette.types import Message

from bandstand.testing.scripted_llm_server import ScriptedAnswer, ScriptedRequest, ScriptedServer
from tests.api.given import API_KEYS, CANARY, FEATURES, KEYS, Service, read_ok, read_problem, run_service
from tests.store.given import wait_until_settled

pytestmark = pytest.mark.asyncio(loop_scope="module")  # most share one service, one model and one judge's process

WRONG = {"query_t": "Capital of Australia?", "answer_t": "It is Sydney.", "query_t1": "no, that is wrong"}
UNSURE = {"query_t": "Dinner?", "answer_t": "A lentil soup.", "query_t1": "that seems to be quite some work"}
INTENTS = [
    {"id": "refund", "name": "Refund", "description": "Wants money back", "score": 0.55},
    {"id": "cancel", "name": "退订", "description": "", "score": 0.5},
]
CONFLICT = {
    "tenant_id": "acme",
    "message": "I want out",
    "rule": {"rule_id": "cancel", "score": 0.6},
    "semantic": INTENTS,
}


def build_answer(**answer: Any) -> ScriptedAnswer:
    return ScriptedAnswer(json.dumps(answer))


def model(request: ScriptedRequest) -> ScriptedAnswer:
    """Answer each of the three questions."""
    if "intent_id" in request.system:
        return build_answer(reasoning="They leave.", intent_id="cancel", score=0.9)
    label = "explicit_rejection" if "corrects that reply" in request.system else "neg_confusion"
    return build_answer(rationale="So it reads.", label=label, confidence=0.9)


@asynccontextmanager
async def run_with_judge(
    state_dir: Path, script: Callable[[ScriptedRequest], ScriptedAnswer] = model, **settings: Any
) -> AsyncIterator[tuple[Service, ScriptedServer]]:
    patient = state_dir / "patient.toml"  # the judge's process has the lowest priority, and this machine may be busy
    patient.write_text("[judge.arbiter]\nllm_judge_timeout_ms = 30000\n")
    async with ScriptedServer(script) as server:
        named = {"judge": "llm", "judge_model": "tiny", "judge_url": server.url}
        given = {**named, "bandstand_config": patient, **settings}
        async with run_service(state_dir / "state", **given) as service:
            yield service, server


class Model:
    """What a model says, which a test may change."""

    def __init__(self) -> None:
        self.script: Callable[[ScriptedRequest], ScriptedAnswer] = model

    def __call__(self, request: ScriptedRequest) -> ScriptedAnswer:
        return self.script(request)


Asked = tuple[Service, ScriptedServer, Model]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Asked]:
    """A service whose judge asks a model."""
    said = Model()
    async with run_with_judge(tmp_path_factory.mktemp("asked"), said) as (service, server):
        yield service, server, said


@pytest.fixture
def asked(started: Asked) -> Asked:
    """The same, with a model that answers as ever and has not been asked yet."""
    _, server, said = started
    said.script = model
    server.requests.clear()
    return started


def unsure(word: str) -> dict[str, str]:
    """A turn that no other test asks about: the judge remembers its verdicts."""
    return {**UNSURE, "query_t": f"Dinner for {word}?"}


async def list_judgements(service: Service, body: object) -> list[dict[str, Any]]:
    found = read_ok(await service.post("/judge", body))["judgements"]
    assert isinstance(found, list)
    return found


async def read_metric(service: Service, name: str) -> float:
    lines = (await service.get("/metrics")).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def test_one_turn_has_a_verdict_and_what_the_gate_would_apply(shared: Service) -> None:
    (found,) = await list_judgements(shared, WRONG)
    assert (found["label"], found["reward"], found["should_update"]) == ("neg_correction", -0.8, True)
    assert (found["unscored"], found["withheld"], found["tier"]) == (None, "", "local")
    assert (found["taxonomy"], found["gate"], found["tau"]) == ("followup-v1", "hard", 0.6)


async def test_what_was_chosen_decides_which_targets_teach(shared: Service) -> None:
    fact = {"query_t": "When was that?", "answer_t": "In 1917.", "query_t1": "That's wrong, it was 1916."}
    apart, told = await list_judgements(shared, {"turns": [fact, {**fact, "about": "terse: one short sentence"}]})
    assert (apart["target"], apart["should_update"]) == ("content", True)
    assert (told["target"], told["should_update"], told["withheld"]) == ("content", False, "off_target")


@pytest.mark.parametrize("message", ["", "  ", "🧶"])
async def test_a_message_that_says_nothing_teaches_nothing(shared: Service, message: str) -> None:
    (found,) = await list_judgements(shared, {"query_t": "q", "answer_t": "a", "query_t1": message})
    assert (found["label"], found["unscored"], found["should_update"]) == (None, "no_signal", False)


async def test_many_turns_are_answered_in_their_order(shared: Service) -> None:
    words = ["no, that is wrong", "thanks, that is perfect"] * 50
    found = await list_judgements(shared, {"turns": [{**WRONG, "query_t1": word} for word in words]})
    assert [one["reward"] for one in found] == [-0.8, 0.8] * 50


async def test_a_turn_may_name_its_taxonomy(shared: Service) -> None:
    found = await list_judgements(shared, {"turns": [WRONG, {**WRONG, "taxonomy": "correction-v1"}]})
    assert [one["label"] for one in found] == ["neg_correction", "explicit_rejection"]


async def test_nothing_is_taught_and_nothing_is_kept(shared: Service) -> None:
    before = read_ok(await shared.get("/stats"))
    await list_judgements(shared, {**WRONG, "query_t1": f"no, wrong {CANARY}"})
    after = read_ok(await shared.get("/stats"))
    assert (after["decisions"], after["rewards"]) == (before["decisions"], before["rewards"]) == (0, 0)


async def test_a_lower_tau_or_the_soft_gate_teach_otherwise(tmp_path: Path) -> None:
    async with run_service(tmp_path / "soft", judge_gate="soft") as service:
        (found,) = await list_judgements(service, UNSURE)
        assert found["gate"] == "soft"
        assert found["should_update"]
    async with run_service(tmp_path / "high", judge_tau=1) as service:
        (found,) = await list_judgements(service, UNSURE)
        assert (found["withheld"], found["reward"], found["tau"]) == ("below_tau", 0, 1)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["body"]),
        ({"query_t": CANARY}, ["body"]),
        ({**WRONG, "turns": [WRONG]}, ["body"]),
        ({"turns": []}, ["turns"]),
        ({"turns": [WRONG] * 101}, ["turns"]),
        ({"turns": [WRONG, {"query_t": 1}]}, ["turns.1.query_t", "turns.1.answer_t", "turns.1.query_t1"]),
        ({**WRONG, "query_t1": None}, ["body"]),
        ({**WRONG, "query_t1": 7}, ["query_t1"]),
        ({**WRONG, "taxonomy": CANARY}, ["taxonomy"]),
        ({"turns": [WRONG, {**WRONG, "taxonomy": CANARY}]}, ["taxonomy"]),
    ],
)
async def test_what_is_no_turn_is_refused_by_name(shared: Service, body: object, fields: list[str]) -> None:
    read_problem(await shared.post("/judge", body), 422, "invalid-request", *fields)


async def test_a_correction_is_named(shared: Service) -> None:
    body = {"message": "不对，是周四", "previous_reply": "会议在周五。"}
    found = read_ok(await shared.post("/classify/feedback", body))
    assert (found["is_correction"], found["kind"], found["tier"]) == (True, "explicit_rejection", "local")
    assert 0 <= found["confidence"] <= 1
    unsure = read_ok(await shared.post("/classify/feedback", {**body, "threshold": 1}))
    assert (unsure["is_correction"], unsure["kind"], unsure["confidence"]) == (False, "neutral", found["confidence"])


async def test_users_who_correct_themselves_correct_nobody_else(shared: Service) -> None:
    body = {"message": "sorry, I meant tomorrow", "previous_reply": "Your train leaves at nine.", "threshold": 0}
    found = read_ok(await shared.post("/classify/feedback", body))
    assert (found["is_correction"], found["kind"]) == (False, "self_correction")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["message", "previous_reply"]),
        ({"message": "a", "previous_reply": "b", "threshold": 1.5}, ["threshold"]),
        ({"message": "a", "previous_reply": "b", "threshold": "0.5"}, ["threshold"]),
    ],
)
async def test_what_is_no_feedback_is_refused_by_name(shared: Service, body: object, fields: list[str]) -> None:
    read_problem(await shared.post("/classify/feedback", body), 422, "invalid-request", *fields)


async def test_without_a_model_the_scores_arbitrate(shared: Service) -> None:
    found = read_ok(await shared.post("/arbitrate", CONFLICT))
    assert (found["intent_id"], found["intent_name"], found["score"]) == ("cancel", "退订", 0.6)
    assert (found["triggered"], found["trigger_reason"], found["tokens_used"]) == (False, "disabled", 0)


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"tenant_id": ""}, ["tenant_id"]),
        ({"rule": {"rule_id": "x", "score": 1.1}}, ["rule.score"]),
        ({"semantic": INTENTS[::-1]}, ["semantic"]),
        ({"semantic": [INTENTS[0]] * 2}, ["semantic"]),
        ({"semantic": [{"id": "x", "name": "X"}]}, ["semantic.0.score"]),
        ({"config": {"gray_zone_threshold": 2}}, ["config.gray_zone_threshold"]),
        ({"config": {"llm_judge_enabled": False}}, ["config"]),
        ({"config": {"llm_judge_timeout_ms": 1}}, ["config"]),
        ({"config": {"model": CANARY, "url": CANARY}}, ["config"]),
    ],
)
async def test_what_cannot_be_arbitrated_is_refused_by_name(
    shared: Service, change: dict[str, Any], fields: list[str]
) -> None:
    read_problem(await shared.post("/arbitrate", {**CONFLICT, **change}), 422, "invalid-request", *fields)


async def test_the_model_is_asked_by_all_three(asked: Asked) -> None:
    service, server, _ = asked
    counted = [
        'bandstand_opinions_total{outcome="scored",task="judge",tier="llm"}',
        'bandstand_opinions_total{outcome="scored",task="classify",tier="llm"}',
        'bandstand_arbitrations_total{outcome="llm",tenant="all-three"}',
        "bandstand_opinion_seconds_count",
    ]
    before = [await read_metric(service, name) for name in counted]
    (turn,) = await list_judgements(service, unsure("three"))
    assert (turn["label"], turn["tier"], turn["model"]) == ("neg_confusion", "llm", "tiny")
    assert turn["prompt"].startswith("judge/v2@")
    feedback = read_ok(await service.post("/classify/feedback", {"message": "hm", "previous_reply": "So, three."}))
    assert (feedback["kind"], feedback["tier"]) == ("explicit_rejection", "llm")
    intent = read_ok(await service.post("/arbitrate", {**CONFLICT, "tenant_id": "all-three"}))
    assert (intent["intent_id"], intent["intent_name"], intent["score"]) == ("cancel", "退订", 0.9)
    assert (intent["triggered"], intent["trigger_reason"]) == (True, "rule_semantic_conflict")
    assert intent["tokens_used"] > 0
    assert len(server.requests) == 3
    after = [await read_metric(service, name) for name in counted]
    assert [late - early for early, late in zip(before, after, strict=True)] == [1, 1, 1, 3]


async def test_calls_are_paid_from_the_same_budget_as_turns_that_teach(tmp_path: Path) -> None:
    async with run_with_judge(tmp_path) as (service, server):
        await list_judgements(service, UNSURE)
        once = read_ok(await service.get("/stats"))["judge"]["today"]["tokens"]
        turn: dict[str, Any] = {"user_id": "ada", "tip_id": "tip-1", "features": FEATURES, "turn": UNSURE, "wait": True}
        await service.reward(**turn)
        read_ok(await service.post("/arbitrate", CONFLICT))
        spent = read_ok(await service.get("/stats"))["judge"]["today"]["tokens"]
        assert spent > 2 * once > 0
        assert len(server.requests) == 3
    async with run_with_judge(tmp_path, judge_daily_tokens=spent + 1) as (service, server):
        (found,) = await list_judgements(service, {**UNSURE, "query_t1": "isn't that a bit much?"})
        assert found["tier"] == "local", "a restart forgets nothing"
        intent = read_ok(await service.post("/arbitrate", CONFLICT))
        assert (intent["intent_id"], intent["triggered"]) == (None, True)
        assert read_ok(await service.get("/stats"))["judge"]["today"]["over_budget"] == 2
        assert server.requests == []


async def test_who_hangs_up_takes_the_calls_along(asked: Asked) -> None:
    service, server, said = asked
    said.script = lambda _: ScriptedAnswer("{}", delay_s=600)
    left = server.disconnects
    two = {"turns": [unsure("one"), unsure("two")]}
    one = {"message": "hm", "previous_reply": "So, one."}
    assert await hung_up(service, "/judge", two, lambda: len(server.requests) == 2) == 499
    assert await hung_up(service, "/classify/feedback", one, lambda: len(server.requests) == 3) == 499
    await wait_until_settled(lambda: server.disconnects == left + 3)
    assert (await service.get("/health")).status_code == 200


async def hung_up(service: Service, path: str, body: object, when: Callable[[], bool]) -> int:
    """Ask, and hang up; the status that nobody sees."""
    statuses: list[int] = []
    content = iter([json.dumps(body).encode()])

    async def receive() -> Message:
        for piece in content:
            return {"type": "http.request", "body": piece, "more_body": False}
        async with asyncio.timeout(60):  # until the judge's process, of the lowest priority, is there
            while not when():  # noqa: ASYNC110 (the model tells nobody)
                await asyncio.sleep(0.005)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "headers": headers}
    rest = {"asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "query_string": b"", "root_path": ""}
    await service.app({**scope, **rest, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}, receive, send)
    return statuses[0]


async def test_no_request_says_who_is_asked_or_as_whom(asked: Asked) -> None:
    own = {
        "model": CANARY,
        "url": f"http://{CANARY}",
        "judge_url": f"http://{CANARY}",
        "api_key": CANARY,
        "path": CANARY,
    }
    service, server, _ = asked
    assert len(await list_judgements(service, {**unsure("nobody"), **own})) == 1
    await list_judgements(service, {"turns": [{**WRONG, **own}], **own})
    read_ok(await service.post("/classify/feedback", {"message": "hm", "previous_reply": "So.", **own}))
    read_ok(await service.post("/arbitrate", {**CONFLICT, **own}))
    assert {request.body["model"] for request in server.requests} == {"tiny"}
    assert CANARY not in str([(request.headers, request.body) for request in server.requests])


async def test_a_model_that_fails_is_never_a_neutral_answer(asked: Asked) -> None:
    def raise_broken(_: ScriptedRequest) -> ScriptedAnswer:
        return ScriptedAnswer(CANARY, status=400)

    service, _, said = asked
    said.script = raise_broken
    (turn,) = await list_judgements(service, unsure("failures"))
    assert (turn["label"], turn["unscored"], turn["should_update"]) == (None, "rejected", False)
    told = read_problem(
        await service.post("/classify/feedback", {"message": "hm", "previous_reply": "So, failed."}), 502, "unscored"
    )
    assert "rejected" in told["detail"]
    response = await service.post("/arbitrate", {**CONFLICT, "tenant_id": "failures"})
    intent = read_ok(response)
    assert (intent["intent_id"], intent["score"], intent["triggered"]) == (None, 0, True)
    assert CANARY not in response.text
    assert await read_metric(service, 'bandstand_opinions_total{outcome="rejected",task="judge",tier="llm"}') == 1
    assert await read_metric(service, 'bandstand_arbitrations_total{outcome="undecided",tenant="failures"}') == 1


async def test_one_broken_turn_loses_none_of_the_others(asked: Asked) -> None:
    def answer_request(request: ScriptedRequest) -> ScriptedAnswer:
        return ScriptedAnswer(status=400) if "number 3\n" in request.message_texts[0] else model(request)

    service, _, said = asked
    said.script = answer_request
    found = await list_judgements(service, {"turns": [{**UNSURE, "query_t1": f"number {n}"} for n in range(8)]})
    assert [one["unscored"] for one in found] == [None] * 3 + ["rejected"] + [None] * 4


async def test_a_correction_s_confidence_is_clamped_and_nan_is_none(
    asked: Asked,
) -> None:
    numbers = iter(["1.7", "NaN"])

    def answer_request(_: ScriptedRequest) -> ScriptedAnswer:
        return ScriptedAnswer(f'{{"rationale": "No.", "label": "explicit_rejection", "confidence": {next(numbers)}}}')

    service, _, said = asked
    said.script = answer_request
    body = {"message": "hm", "previous_reply": "So, clamped."}
    assert read_ok(await service.post("/classify/feedback", body))["confidence"] == 1
    read_problem(await service.post("/classify/feedback", {**body, "message": "hmm"}), 502, "unscored")


async def test_an_intent_is_answered_by_the_deadline(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[judge.arbiter]\nllm_judge_timeout_ms = 50\n")
    async with run_with_judge(tmp_path, lambda _: ScriptedAnswer("{}", delay_s=600), bandstand_config=own) as (
        service,
        _,
    ):
        async with asyncio.timeout(60):
            found = read_ok(await service.post("/arbitrate", CONFLICT))
        assert (found["intent_id"], found["reasoning"]) == (None, "the model did not answer in time")
        assert found["duration_ms"] >= 49


async def test_one_tenant_s_message_reaches_no_other(asked: Asked) -> None:
    service, server, _ = asked
    for tenant in ("acme", "umbrella"):
        read_ok(await service.post("/arbitrate", {**CONFLICT, "tenant_id": tenant}))
    assert len(server.requests) == 2, "nothing is remembered from one to the next"
    assert "acme" not in str([request.body for request in server.requests])
    assert await read_metric(service, 'bandstand_arbitrations_total{outcome="llm",tenant="umbrella"}') == 1


async def test_off_judges_nothing_and_still_arbitrates_by_scores(tmp_path: Path) -> None:
    async with run_service(tmp_path / "state", judge="off") as service:
        read_problem(await service.post("/judge", WRONG), 409, "judge-off")
        read_problem(
            await service.post("/classify/feedback", {"message": "a", "previous_reply": "b"}), 409, "judge-off"
        )
        assert read_ok(await service.post("/arbitrate", CONFLICT))["intent_id"] == "cancel"


async def test_opinions_take_a_serving_key(tmp_path: Path) -> None:
    for name, status in (("shop", 200), ("eyes", 403), ("ops", 200)):
        async with run_service(tmp_path / name, api_keys=API_KEYS, key=KEYS[name][1]) as service:
            for path, body in (("/judge", WRONG), ("/arbitrate", CONFLICT)):
                assert (await service.post(path, body)).status_code == status


async def test_the_start_names_where_turns_may_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with run_with_judge(tmp_path):
        pass
    async with run_service(tmp_path / "alone"):
        pass
    logged = capsys.readouterr()
    lines = [line for line in (logged.out + logged.err).splitlines() if "turns_may_go_to" in line]
    assert ["127.0.0.1" in line for line in lines] == [True, False]
    assert "nobody" in lines[1]
