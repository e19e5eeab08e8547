"""Who may do what: roles by key; and without keys, only what no other site's page can have sent."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bandstand.api.asgi.access import get_required_role
from tests.api.given import API_KEYS, FEATURES, KEYS, TWO, Answer, Service, read_ok, read_problem, run_service

SERVE = {"score", "reward", "generate", "recommend", "judge", "classify", "arbitrate"}
READ = {
    "stats",
    "picks",
    "features",
    "decisions",
    "judgements",
    "prompts",
    "policies",
    "metrics",
    "openapi.json",
    "loops",
}
OPEN = {"health", "ready"}

BODIES: dict[str, Any] = {
    "ScoreRequest": {"user_id": "ada", "candidates": TWO},
    "RewardRequest": {"user_id": "ada", "tip_id": "tip-1", "reward": 1, "features": FEATURES},
    "ResetRequest": {"user_id": "ada"},
}


def role_of(method: str, path: str) -> str:
    """The role that the issue gives to a route: by its first segment, and admin's is everything not named."""
    first = path.split("/")[1]
    if method == "GET" and first in OPEN:
        return "open"
    if method == "POST" and (first in SERVE or path == "/decisions/{decision_id}/activate"):
        return "serve"
    if method == "GET" and first in READ:
        return "read"
    return "admin"


async def operations_of(service: Service) -> list[tuple[str, str, dict[str, Any]]]:
    """Every operation that OpenAPI shows, and its own, which it leaves out."""
    key = {"x-api-key": KEYS["ops"][1]}
    document = read_ok(await service.client.get("/openapi.json", headers=key))
    shown = [
        (method.upper(), path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    return [*shown, ("GET", "/openapi.json", {"x-role": "read"})]


async def send_request(
    service: Service, method: str, path: str, operation: dict[str, Any], *keys: tuple[bytes, bytes]
) -> Answer:
    target = path
    for name, value in (("{user_id}", "ada"), ("{policy}", "linucb"), ("{decision_id}", "d")):
        target = target.replace(name, value)
    headers = [*keys]
    body = b""
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        headers.append((b"content-type", b"application/json"))
        body = json.dumps(BODIES.get(schema, {})).encode()
    return await service.raw(method, target.encode(), headers=headers, body=[body])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """A service with a key of each role, for requests that leave no trace."""
    async with run_service(tmp_path_factory.mktemp("keyed"), api_keys=API_KEYS) as service:
        yield service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def named(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """A service without keys that answers under two more names."""
    async with run_service(
        tmp_path_factory.mktemp("named"),
        allowed_hosts="box.lan,10.1.2.3,.example.net,*.example.org,192.168.0.0/16,fd00::/8",
    ) as service:
        yield service


async def test_every_route_asks_for_its_role(tmp_path: Path) -> None:
    async with run_service(tmp_path, api_keys=API_KEYS) as service:
        operations = await operations_of(service)
        assert len(operations) > 15
        for method, path, operation in operations:
            role = role_of(method, path)
            assert operation["x-role"] == role == get_required_role(method, path), (method, path)
            refused = 0
            for keys in ((), ((b"x-api-key", b"wrong"),), ((b"authorization", b"Bearer wrong"),)):
                answer = await send_request(service, method, path, operation, *keys)
                if role == "open":
                    assert answer.status == 200
                else:
                    read_problem(answer, 401, "unauthorized")
                    assert answer.header("www-authenticate") == 'Bearer realm="bandstand"'
            for has, secret in KEYS.values():
                answer = await send_request(service, method, path, operation, (b"x-api-key", secret.encode()))
                if role in {"open", has} or has == "admin":
                    assert answer.status not in {401, 403}, (method, path, has)
                    assert answer.status < 500
                else:
                    refused += 1
                    told = read_problem(answer, 403, "forbidden")
                    assert role in told["detail"]
            assert refused == {"open": 0, "serve": 1, "read": 1, "admin": 2}[role]


@pytest.mark.asyncio(loop_scope="module")
async def test_the_head_of_an_answer_takes_the_role_of_the_answer(keyed: Service) -> None:
    for path, has, status in (
        ("/health", None, 200),
        ("/stats/ada", None, 401),
        ("/stats/ada", "shop", 403),
        ("/stats/ada", "eyes", 200),
        ("/users", "eyes", 403),
        ("/users", "ops", 200),
    ):
        headers = {} if has is None else {"x-api-key": KEYS[has][1]}
        answer = await keyed.client.head(path, headers=headers)
        assert (answer.status_code, answer.content) == (status, b""), (path, has)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_route_that_is_not_there_says_so_to_admins_only(keyed: Service) -> None:
    read_problem(await keyed.raw("GET", b"/nothing"), 401, "unauthorized")
    for name, status, code in (("shop", 403, "forbidden"), ("ops", 404, "not-found")):
        headers = [(b"x-api-key", KEYS[name][1].encode())]
        read_problem(await keyed.raw("GET", b"/nothing", headers=headers), status, code)


@pytest.mark.parametrize(
    ("headers", "admitted"),
    [
        ({"authorization": "Bearer r3ad-s3cret"}, True),
        ({"authorization": "bearer   r3ad-s3cret "}, True),
        ({"x-api-key": "r3ad-s3cret"}, True),
        ({"x-api-key": "r3ad-s3cret", "authorization": "Basic YTpi"}, True),
        ({"x-api-key": "r3ad-s3cret", "authorization": "Bearer wrong"}, False),
        ({"authorization": "r3ad-s3cret"}, False),
        ({"authorization": "Basic r3ad-s3cret"}, False),
        ({"authorization": "Bearer"}, False),
        ({"authorization": "Bearer "}, False),
        ({"x-api-key": ""}, False),
        ({"x-api-key": "R3AD-S3CRET"}, False),
        ({"x-api-key": "r3ad-s3cret2"}, False),
        ({"x-api-key": "r3ad-s3cre"}, False),
        ({"x-api-key": "eyes"}, False),
        ({"cookie": "x-api-key=r3ad-s3cret"}, False),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_key_comes_as_a_bearer_token_or_as_x_api_key(
    keyed: Service, headers: dict[str, str], admitted: bool
) -> None:
    response = await keyed.client.get("/stats", headers=headers)
    assert response.status_code == (200 if admitted else 401)


async def test_a_key_may_be_configured_by_its_hash_and_its_hash_opens_nothing(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"hidden").hexdigest()
    async with run_service(tmp_path, api_keys=f"eyes:read:sha256:{digest}") as service:
        for secret, status in (("hidden", 200), (digest, 401), (f"sha256:{digest}", 401)):
            response = await service.client.get("/stats", headers={"x-api-key": secret})
            assert response.status_code == status


async def test_the_name_of_the_key_is_stored_on_every_event(tmp_path: Path) -> None:
    async with run_service(tmp_path, api_keys=API_KEYS, key=KEYS["ops"][1]) as service:
        body = {"user_id": "ada", "candidates": TWO, "decision_id": "order-1"}
        read_ok(await service.post("/score", body, authorization=f"Bearer {KEYS['shop'][1]}"))
        await service.reward(decision_id="order-1", reward=1)
        receipt = await service.receipt("order-1")
        assert (receipt["client"], receipt["reward"]["client"]) == ("shop", "ops")


async def test_no_key_is_ever_answered_or_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secrets = [secret for _, secret in KEYS.values()]
    told = [*secrets, *(hashlib.sha256(secret.encode()).hexdigest() for secret in secrets)]
    async with run_service(tmp_path, api_keys=API_KEYS, log_requests=True) as service:
        for method, path, operation in await operations_of(service):
            for secret in (*secrets, f"not-{secrets[0]}"):
                for header in ((b"x-api-key", secret.encode()), (b"authorization", f"Bearer {secret}".encode())):
                    answer = await send_request(service, method, path, operation, header)
                    everything = answer.body.decode() + str(answer.headers)
                    assert not any(part in everything for part in told), (method, path)
    logged = capsys.readouterr()
    assert logged.err.count('"event": "request"') > 100
    assert not any(part in logged.err + logged.out for part in told)


# ── without keys ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def get(service: Service, headers: dict[str, str], target: bytes = b"/stats") -> Answer:
    """Ask with just these headers, the host among them."""
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return await service.raw("GET", target, headers=named)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8000",
        "127.1.2.3",
        "localhost",
        "LocalHost:8000",
        "bandstand.localhost:8000",
        "[::1]",
        "[::1]:8000",
        "box.lan",
        "BOX.LAN:8000",
        "10.1.2.3:80",
        "example.net",
        "a.b.EXAMPLE.net:8000",
        "bandit.example.org",
        "192.168.7.7:8000",
        "[fd12::7]:8000",
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_without_keys_it_answers_under_names_of_this_machine(named: Service, host: str) -> None:
    assert (await get(named, {"host": host})).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.com",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "example.com:127",
        "notlocalhost",
        "box.lan",
        "10.1.2.3",
        "0.0.0.0",  # noqa: S104 (a name to be refused)
        "[::]",
        "[fe80::1]",
        "2130706433",
        "127.1",
        "*",
        "localhost.",
        "[",
        "[]",
        ":8000",
    ],
)
@pytest.mark.parametrize("target", [b"/stats", b"/", b"/docs", b"/console", b"/openapi.json", b"/nothing"])
@pytest.mark.asyncio(loop_scope="module")
async def test_without_keys_another_name_is_a_400(shared: Service, host: str, target: bytes) -> None:
    """A web page may point its own name at this address (DNS rebinding), but the browser still says that name."""
    read_problem(await get(shared, {"host": host}, target), 400, "host-refused")


@pytest.mark.parametrize("host", ["notexample.net", "192.169.0.1", "192.168.evil.org", "[fe00::1]", ".", "*", ""])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_suffix_and_a_network_reach_no_further(named: Service, host: str) -> None:
    read_problem(await get(named, {"host": host}), 400, "host-refused")


@pytest.mark.parametrize("target", [b"/health", b"/ready"])
@pytest.mark.parametrize("headers", [{}, {"host": ""}, {"host": "10.9.8.7:8000"}, {"host": "haproxy.example"}])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_probe_is_answered_under_any_name(shared: Service, headers: dict[str, str], target: bytes) -> None:
    assert (await get(shared, headers, target)).status == 200


@pytest.mark.asyncio(loop_scope="module")
async def test_who_names_no_host_is_no_browser(shared: Service) -> None:
    assert (await get(shared, {})).status == 200
    read_problem(await get(shared, {"origin": "https://example.com"}), 403, "forbidden")


async def test_any_host_is_allowed_by_a_star_and_no_other_site_s_page(tmp_path: Path) -> None:
    async with run_service(tmp_path, allowed_hosts="*") as service:
        assert (await get(service, {"host": "whatever.example"})).status == 200
        own = {"host": "whatever.example", "origin": "http://whatever.example"}
        assert (await get(service, own)).status == 200
        read_problem(await get(service, {**own, "origin": "https://evil.example"}), 403, "forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://127.0.0.1"},
        {"origin": "HTTP://127.0.0.1"},
        {"host": "localhost:8000", "origin": "http://localhost:8000"},
        {"origin": "https://box.lan"},
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "same-origin", "origin": "http://127.0.0.1"},
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_without_keys_its_own_pages_are_served(named: Service, headers: dict[str, str]) -> None:
    assert (await get(named, headers)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://example.com"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://localhost"},
        {"origin": "http://127.0.0.1.example.com"},
        {"origin": "http://["},
        {"origin": "127.0.0.1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "cross-site", "origin": "http://127.0.0.1"},
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_without_keys_another_site_s_page_is_a_403(named: Service, headers: dict[str, str]) -> None:
    await named.reward_legacy()
    before = (await named.stats())["reward_count"]
    for method, target in (("POST", b"/reset/ada"), ("DELETE", b"/users/ada"), ("GET", b"/stats"), ("GET", b"/health")):
        sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        read_problem(await named.raw(method, target, headers=sent), 403, "forbidden")
    assert (await named.stats())["reward_count"] == before > 0


@pytest.mark.asyncio(loop_scope="module")
async def test_with_keys_the_key_decides_and_neither_name_nor_page(keyed: Service) -> None:
    secret = KEYS["eyes"][1]
    headers = {"host": "api.example.com", "origin": "https://example.com", "sec_fetch_site": "cross-site"}
    assert (await get(keyed, {"x_api_key": secret, **headers})).status == 200
    assert (await get(keyed, headers, b"/health")).status == 200
    read_problem(await get(keyed, headers), 401, "unauthorized")
