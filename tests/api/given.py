"""What the tests of the wire are given: a served application, a client, and ways to say things no client would."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest
from starlette.types import ASGIApp, Message, Scope

from bandstand.config.settings import Settings
from bandstand.store.protocol import Store
from bandstand.wiring.app import create_app

CANARY = "c4n4ry"
"""Stands for a user's words: it may never come back, nor be logged."""

JSON = {"content-type": "application/json"}

FEATURES: dict[str, Any] = {"hour_of_day": 9, "is_overdue": True, "task_age_days": 12.0, "priority": 4}
TWO: list[dict[str, Any]] = [
    {"id": "tip-1", "content": "Send the tax return.", "source": "task", "source_id": "t-17", "features": FEATURES},
    {"id": "tip-2", "content": "Water the plants.", "source": "task", "source_id": None, "features": {}},
]

KEYS = {"shop": ("serve", "s3rve-s3cret"), "eyes": ("read", "r3ad-s3cret"), "ops": ("admin", "adm1n-s3cret")}
API_KEYS = ",".join(f"{name}:{role}:{secret}" for name, (role, secret) in KEYS.items())


class Answer(NamedTuple):
    """A response, down to the bytes."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: str) -> str | None:
        return {key.decode().lower(): value.decode() for key, value in self.headers}.get(name)

    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """A running application and its client."""

    def __init__(self, app: ASGIApp, client: httpx.AsyncClient) -> None:
        self.app = app
        self.client = client

    async def get(self, path: str, **params: str | int) -> httpx.Response:
        return await self.client.get(path, params=params or None)

    async def post(self, path: str, body: object = None, **headers: str) -> httpx.Response:
        """Send a body: bytes and text as they are, anything else as JSON."""
        content = body if isinstance(body, bytes | str) else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(path, content=content, headers={**JSON, **named})

    async def score(self, user_id: str = "ada", *, policy: str | None = None, **fields: Any) -> dict[str, Any]:
        """A pick, from two candidates unless others are given."""
        path = "/score" if policy is None else f"/score/{policy}"
        return read_ok(await self.post(path, {"user_id": user_id, "candidates": TWO, **fields}))

    async def reward(self, *, policy: str | None = None, **fields: Any) -> dict[str, Any]:
        """What came of a reward."""
        return read_ok(await self.post("/reward" if policy is None else f"/reward/{policy}", fields))

    async def reward_legacy(self, user_id: str = "ada", *, policy: str | None = None, **fields: Any) -> dict[str, Any]:
        """What came of a reward in the contract's own form."""
        return await self.reward(
            policy=policy, **{"user_id": user_id, "tip_id": "tip-1", "reward": 1.0, "features": FEATURES, **fields}
        )

    async def stats(self, user_id: str = "ada", policy: str | None = None) -> dict[str, Any]:
        return read_ok(await self.get(f"/stats/{f'{policy}/' if policy else ''}{encode_segment(user_id)}"))

    async def receipt(self, decision_id: str) -> dict[str, Any]:
        return read_ok(await self.get(f"/decisions/{encode_segment(decision_id)}"))

    async def history(self, user_id: str = "ada") -> list[dict[str, Any]]:
        answer = read_ok(await self.get("/features", user_id=user_id))
        assert answer["user_id"] == user_id
        return list(answer["history"])

    async def raw(
        self,
        method: str,
        target: bytes,
        *,
        headers: Iterable[tuple[bytes, bytes]] = (),
        body: Sequence[bytes] = (b"",),
        lost: bool = False,
    ) -> Answer:
        """Ask in ASGI's own words: a target of any bytes, headers twice, a body in pieces, a client that goes away."""
        path, _, query = target.partition(b"?")
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": "/",
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(b"host", b"127.0.0.1"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        pieces: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in body]
        if lost:
            pieces.append({"type": "http.disconnect"})
        else:
            pieces[-1]["more_body"] = False
        arriving = iter(pieces)
        sent: list[Message] = []

        async def receive() -> Message:
            for message in arriving:
                return message
            return await asyncio.Future()  # a client that waits says nothing more

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start, *rest = sent
        assert start["type"] == "http.response.start"
        assert all(message["type"] == "http.response.body" for message in rest)
        return Answer(start["status"], list(start["headers"]), b"".join(message["body"] for message in rest))


def encode_segment(text: str) -> str:
    """Any text as one segment of a path; dots too, which clients otherwise take for a way up."""
    return quote(text, safe="").replace(".", "%2E")


def read_ok(response: httpx.Response) -> dict[str, Any]:
    """The JSON of a response that must be a 200."""
    assert response.status_code == 200, response.text
    answer = response.json()
    assert isinstance(answer, dict)
    return answer


def read_problem(response: httpx.Response | Answer, status: int, code: str, *fields: str) -> dict[str, Any]:
    """The problem of a response that must be just this one, about just these fields."""
    if isinstance(response, httpx.Response):
        response = Answer(response.status_code, response.headers.raw, response.content)
    text = response.body.decode()
    assert response.status == status, text
    assert response.header("content-type") == "application/problem+json"
    told: dict[str, Any] = json.loads(text)
    assert told["type"] == f"urn:bandstand:problem:{code}"
    assert told["status"] == status
    assert isinstance(told["detail"], str)
    assert told["detail"]
    assert told["title"]
    assert told["request_id"]
    if fields:
        assert {error["field"] for error in told["errors"]} == set(fields), told
    assert CANARY not in text
    return told


@asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncIterator[None]:
    """Start an application and stop it, as a server does."""
    orders: asyncio.Queue[Message] = asyncio.Queue()
    answers: asyncio.Queue[Message] = asyncio.Queue()
    scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    life = asyncio.create_task(_run_lifespan(app, scope, orders, answers))
    try:
        orders.put_nowait({"type": "lifespan.startup"})
        if (await answers.get())["type"] != "lifespan.startup.complete":
            await life
        yield
        orders.put_nowait({"type": "lifespan.shutdown"})
        if (await answers.get())["type"] == "lifespan.shutdown.complete":
            await life
    finally:
        life.cancel()


async def _run_lifespan(
    app: ASGIApp, scope: Scope, orders: asyncio.Queue[Message], answers: asyncio.Queue[Message]
) -> None:
    await app(scope, orders.get, answers.put)


def app_over(store: Store, *, hot_path: bool = True, **settings: Any) -> ASGIApp:
    """The application over a store of the test's own; it needs no lifespan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bandstand.wiring.engine.EmbeddedStore", lambda *_, **__: store)
        return create_app(Settings(**settings), hot_path=hot_path)


@asynccontextmanager
async def client_of(app: ASGIApp, **headers: str) -> AsyncIterator[Service]:
    """A client of an application that is already running."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        yield Service(app, client)


@asynccontextmanager
async def run_service(
    state_dir: Path, *, key: str | None = None, hot_path: bool = True, **settings: Any
) -> AsyncIterator[Service]:
    """A running service over a state directory; ``key`` is the secret its client sends."""
    chosen = Settings(**{"state_dir": state_dir, "durability": "process", **settings})
    app = create_app(chosen, hot_path=hot_path)
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    async with lifespan(app), client_of(app, **headers) as service:
        yield service
