"""Every refusal of the wire: its status, its code, the field it names, and not a word of what was sent."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from bandstand import errors
from bandstand.api.asgi.access import Access
from bandstand.api.asgi.front import FrontController
from bandstand.api.asgi.metrics import Metrics
from bandstand.api.problems import STATUS, status_of
from bandstand.config.catalogue import load_catalogue
from bandstand.config.settings import Settings
from bandstand.errors import (
    BandstandError,
    OverloadedError,
    StorageFullError,
    StorageUnavailableError,
)
from bandstand.store.postgres.errors import RestoredLedgerError
from bandstand.testing.memory_store import MemoryStore
from tests.api.given import CANARY, TWO, Service, app_over, client_of, read_ok, read_problem, run_service
from tests.api.refusals import REFUSED, Refusal, build_candidate, score

CATALOGUE = load_catalogue(Settings())


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("refusal", REFUSED.values(), ids=REFUSED)
async def test_a_bad_request_is_refused_by_name(shared: Service, refusal: Refusal) -> None:
    headers = [(b"content-type", b"application/json")]
    answer = await shared.raw("POST", refusal.path.encode(), headers=headers, body=[refusal.body])
    told = read_problem(answer, refusal.status, refusal.code, *refusal.fields)
    assert ("errors" in told) == bool(refusal.fields)
    assert set(told) <= {"type", "title", "status", "detail", "request_id", "errors"}
    assert all(set(each) == {"field", "message"} and each["message"] for each in told.get("errors", []))


@pytest.mark.asyncio(loop_scope="module")
async def test_what_was_refused_left_no_trace(shared: Service) -> None:
    stats = (await shared.get("/stats")).json()
    assert {name: stats[name] for name in ("users", "decisions", "rewards", "policies")} == {
        "users": 0,
        "decisions": 0,
        "rewards": 0,
        "policies": {},
    }
    assert stats["judge"]["policies"] == {}


async def test_a_thousand_candidates_and_ids_of_256_characters_are_served(service: Service) -> None:
    names = [f"{number:04d}".rjust(256, "🦊") for number in range(1000)]
    candidates = ", ".join(build_candidate(identifier=json.dumps(name)) for name in names)
    answer = await service.post("/score", score(candidates, user=json.dumps("u" * 256)))
    assert answer.status_code == 413, "a kilobyte of id each is over a mebibyte altogether"
    candidates = ", ".join(build_candidate(identifier=f'"{number:0256d}"') for number in range(1000))
    answer = await service.post("/score", score(candidates, user=json.dumps("🦊" * 256)))
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["tip_id"]) == 256


async def test_no_more_than_twenty_fields_are_named(service: Service) -> None:
    bad = ", ".join(build_candidate('{"priority": 9}', f'"tip-{number}"') for number in range(1000))
    told = read_problem(await service.post("/score", score(bad)), 422, "invalid-request")
    assert told["detail"].startswith("1000 fields not valid: candidates.0.features.priority: ")
    assert len(told["errors"]) == 20


# ── routes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/score", "POST"),
        ("PUT", "/score/linucb", "POST"),
        ("GET", "/reward", "POST"),
        ("DELETE", "/reward/linucb", "POST"),
        ("POST", "/health", "GET, HEAD"),
        ("HEAD", "/reset", "POST"),
        ("PATCH", "/users", "GET, HEAD, DELETE"),
        ("GET", "/users/ada", "DELETE"),
        ("GET", "/reset", "POST"),
        ("OPTIONS", "/reset/ada", "POST"),
        ("POST", "/stats", "GET, HEAD"),
        ("POST", "/stats/linucb/ada", "GET, HEAD"),
        ("BREW", "/decisions/d", "GET, HEAD"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_another_method_is_a_405_that_names_those_allowed(
    shared: Service, method: str, path: str, allowed: str
) -> None:
    answer = await shared.raw(method, path.encode())
    assert answer.header("allow") == allowed
    if method == "HEAD":
        assert (answer.status, answer.body) == (405, b"")
    else:
        read_problem(answer, 405, "method-not-allowed")


@pytest.mark.parametrize(
    "path", ["/health", "/stats/ada", "/users", "/metrics", "/prompts", "/decisions/d", "/nowhere"]
)
@pytest.mark.asyncio(loop_scope="module")
async def test_head_is_get_without_the_body(shared: Service, path: str) -> None:
    got, head = await shared.raw("GET", path.encode()), await shared.raw("HEAD", path.encode())
    assert (head.status, head.body) == (got.status, b"")
    assert head.header("content-type") == got.header("content-type")
    if path != "/metrics":  # which counts the one before
        assert head.header("content-length") == str(len(got.body))


@pytest.mark.parametrize("target", [b"//", b"*", b"", b"/redoc", b"/stats/", b"/stats/a/b/c", b"/Score", b"/users/a/b"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.asyncio(loop_scope="module")
async def test_another_path_is_a_404(shared: Service, method: str, target: bytes) -> None:
    read_problem(await shared.raw(method, target), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", b"/stats?user_id=ada&user_id=bob"),
        ("GET", b"/stats?user_id=ada&user%5Fid="),
        ("GET", b"/users?limit=1&prefix=&limit=1"),
        ("DELETE", b"/users?user_id=ada&user_id=bob"),
        ("POST", b"/score?%F0%9F%A6%8A=1&%F0%9F%A6%8A=2"),
        ("GET", b"/nowhere?a&a"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_parameter_given_twice_is_a_422(shared: Service, method: str, target: bytes) -> None:
    for user in ("ada", "bob"):
        await shared.reward_legacy(user)
    read_problem(await shared.raw(method, target), 422, "invalid-request", "query")
    users = read_ok(await shared.get("/users", limit=1000))["users"]
    assert {each["user_id"] for each in users} >= {"ada", "bob"}


# ── failures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class FailingStore(MemoryStore):
    """Fails at every event and question with one error."""

    def __init__(self, error: Exception) -> None:
        super().__init__(CATALOGUE)
        self._error = error

    def __getattribute__(self, name: str) -> Any:
        if name in {
            *("decide", "reward", "find_receipt", "find_decision", "list_history"),
            *("reset", "erase", "list_users", "load_policy_totals"),
        }:
            return self._fail
        return super().__getattribute__(name)

    async def _fail(self, *_: object) -> None:
        raise self._error


async def asked_everywhere(error: Exception, *, hot_path: bool) -> dict[str, httpx.Response]:
    """What the routes that need the store answer when it fails."""
    async with client_of(app_over(FailingStore(error), hot_path=hot_path)) as service:
        return {
            "/score": await service.post("/score", {"user_id": "ada", "candidates": TWO}),
            "/reward": await service.post("/reward", {"decision_id": "d", "reward": 1}),
            "/reward legacy": await service.post(
                "/reward", {"user_id": "ada", "tip_id": "t", "reward": 1, "features": {}}
            ),
            "/features": await service.get("/features/ada"),
            "/decisions": await service.get("/decisions/d"),
            "/users": await service.get("/users"),
            "/stats": await service.get("/stats"),
            "/reset": await service.post("/reset", {"user_id": "ada"}),
            "/reset/ada": await service.client.post("/reset/ada"),
            "/users/ada": await service.client.delete("/users/ada"),
        }


@pytest.mark.parametrize("hot_path", [True, False])
@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (OverloadedError("too many wait"), 503, "1"),
        (StorageUnavailableError("closing"), 503, "5"),
        (StorageFullError("the disk is full"), 507, None),
    ],
)
async def test_a_store_that_refuses_is_a_problem_with_its_own_status(
    error: BandstandError, status: int, retry_after: str | None, hot_path: bool
) -> None:
    for answer in (await asked_everywhere(error, hot_path=hot_path)).values():
        told = read_problem(answer, status, error.code)
        assert told["detail"] == error.detail
        assert answer.headers.get("retry-after") == retry_after


@pytest.mark.parametrize("hot_path", [True, False])
async def test_a_fault_of_ours_is_a_500_that_tells_only_where_to_look(hot_path: bool) -> None:
    for answer in (await asked_everywhere(KeyError(CANARY), hot_path=hot_path)).values():
        told = read_problem(answer, 500, "internal")
        assert told["request_id"] in told["detail"]
        assert answer.headers["x-request-id"] == told["request_id"]


async def test_a_fault_after_the_answer_has_begun_is_left_to_the_server_to_cut_short() -> None:
    async def half_an_answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError(CANARY)

    async with client_of(FrontController(half_an_answer, Access(()), Metrics(), None)) as service:
        with pytest.raises(RuntimeError):
            await service.raw("GET", b"/health")


async def test_a_store_that_is_not_ready_is_alive_all_the_same(tmp_path: Path) -> None:
    async with run_service(tmp_path) as service:
        assert (await service.get("/ready")).json() == {"ready": True}
    # The store is closed now, and the application still there.
    async with client_of(service.app) as after:
        read_problem(await after.get("/ready"), 503, "not-ready")
        assert (await after.get("/health")).json()["ok"] is True
        answer = await after.post("/score", {"user_id": "ada", "candidates": TWO})
        told = read_problem(answer, 503, "storage-unavailable")
        assert answer.headers["retry-after"] == "5"
        assert "shutting down" in told["detail"]


# ── the table ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_error_a_caller_may_see_has_a_status() -> None:
    ours = {error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, BandstandError)}
    ends_start_up = {BandstandError, errors.ConfigurationError}
    assert ours - ends_start_up <= set(STATUS)
    codes = [error.code for error in STATUS]
    assert len(set(codes)) == len(codes)


def test_an_error_without_a_status_is_a_fault_of_ours() -> None:
    assert status_of(errors.ConfigurationError("schema x has changed")) == 500
    assert status_of(RestoredLedgerError("it was put back")) == 503, "a kind of what is unavailable"
