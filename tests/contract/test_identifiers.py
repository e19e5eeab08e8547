"""Any Unicode is an id: hostile ones are distinct users, reached by body, path and query, and kept in the house."""

import json
import unicodedata
from pathlib import Path

import pytest

from tests.api.given import FEATURES, TWO, Service, encode_segment, read_ok, read_problem, run_service

USERS = [
    "a.b",
    "a_b",
    "A.B",
    "a/b",
    "a%2Fb",
    "a b",
    "a+b",
    "a%20b",
    "a%b",
    "a%25b",
    "a?b",
    "a#b",
    "a&user_id=b",
    "a;b",
    "a\\b",
    ".",
    "..",
    "../../etc/passwd",
    "~",
    "-rf",
    "%",
    "%00",
    "%FF",
    "'; DROP TABLE users; --",
    "{user_id}",
    "\U0001f98a",
    "\U0001f98a" * 256,
    "x" * 256,
    "x" * 255,
    "é",
    unicodedata.normalize("NFD", "é"),
    "\u202eevil",
    "\ufeff",
    "\ufffd",
    "Ã©",
    "\u2028",
    # what could be taken for something else
    "linucb",
    "egreedy",
    "linucb-v1",
    "linucb-v2",
    "stats",
    "users",
    "null",
    "0",
]


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


async def test_every_id_is_a_user_of_its_own_by_body_path_and_query(tmp_path: Path) -> None:
    state_dir = tmp_path / "house" / "state"
    async with run_service(state_dir) as service:
        for number, user in enumerate(USERS, start=1):
            for _ in range(number):
                await service.reward_legacy(user, reward=0.5)
        for number, user in enumerate(USERS, start=1):
            answers = [
                await service.get(f"/stats/{encode_segment(user)}"),
                await service.get(f"/stats/linucb-v2/{encode_segment(user)}"),
                await service.get("/stats", user_id=user),
                await service.get("/stats", user_id=user, policy="linucb-v2"),
            ]
            for answer in answers:
                stats = read_ok(answer)
                assert (stats["user_id"], stats["reward_count"]) == (user, number)
        listed = read_ok(await service.get("/users", limit=1000))["users"]
        assert [each["user_id"] for each in listed] == USERS
    files = files_in(tmp_path)
    assert all(path.is_relative_to(state_dir) for path in files)
    assert len([path for path in files if path.is_relative_to(state_dir / "users")]) == len(USERS)


@pytest.mark.parametrize("user", ["a/b", "..", "a+b", "\U0001f98a" * 256, "linucb", "a%2Fb"])
async def test_every_route_of_a_user_takes_any_id_both_ways(service: Service, user: str) -> None:
    for _ in range(2):
        await service.score(user)
    assert len(read_ok(await service.get(f"/features/{encode_segment(user)}"))["history"]) == 2
    assert len(read_ok(await service.get("/features", user_id=user))["history"]) == 2
    read_ok(await service.post(f"/reset/{encode_segment(user)}"))
    assert (await service.stats(user))["pulls"] == 0
    await service.score(user)
    read_ok(await service.post("/reset", {"user_id": user}))
    assert (await service.stats(user))["pulls"] == 0
    await service.score(user)
    assert read_ok(await service.client.delete(f"/users/{encode_segment(user)}"))["erased"]["decisions"] == 4
    await service.score(user)
    assert read_ok(await service.client.delete("/users", params={"user_id": user}))["erased"]["decisions"] == 1


async def test_a_first_segment_that_is_a_policy_is_still_the_user_where_one_segment_stands(service: Service) -> None:
    await service.reward_legacy("egreedy", reward=0.25)
    assert read_ok(await service.get("/stats/egreedy"))["cumulative_reward"] == 0.25
    assert read_ok(await service.get("/stats/linucb-v2/egreedy"))["cumulative_reward"] == 0.25
    assert read_ok(await service.get("/stats/egreedy/egreedy"))["cumulative_reward"] == 0
    read_problem(await service.get("/stats/nothing/egreedy"), 404, "unknown-policy")
    read_problem(await service.get("/stats", user_id="egreedy", policy="nothing"), 404, "unknown-policy")


async def test_bytes_that_were_typed_and_not_encoded_mean_the_same(service: Service) -> None:
    """Not every server lets them through; ours does not."""
    await service.reward_legacy("zoë", reward=0.5)
    for target in ("/stats/zoë", "/stats/linucb-v2/zoë", "/stats?user_id=zoë", "/stats/zo%C3%AB"):
        answer = await service.raw("GET", target.encode())
        assert (answer.status, answer.json()["user_id"], answer.json()["reward_count"]) == (200, "zoë", 1)


@pytest.mark.parametrize(
    ("method", "target", "field"),
    [
        ("GET", b"/stats/%FF", "user_id"),
        ("GET", b"/stats/\xff", "user_id"),
        ("GET", b"/stats/%C3", "user_id"),
        ("GET", b"/stats/%ED%A0%80", "user_id"),  # half a surrogate pair
        ("GET", b"/stats/linucb/%FF", "user_id"),
        ("GET", b"/features/%FF", "user_id"),
        ("GET", b"/decisions/%FF", "decision_id"),
        ("POST", b"/reset/%FF", "user_id"),
        ("DELETE", b"/users/%FF", "user_id"),
        ("GET", b"/stats?user_id=%FF", "query"),
        ("GET", b"/stats?user_id=\xff", "query"),
        ("GET", b"/users?prefix=%C0%80", "query"),
        ("DELETE", b"/users?user_id=%FF", "query"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_bytes_that_are_no_utf8_are_no_id(shared: Service, method: str, target: bytes, field: str) -> None:
    read_problem(await shared.raw(method, target), 422, "invalid-request", field)


@pytest.mark.parametrize(
    ("method", "target"), [("POST", b"/score/%FF"), ("POST", b"/reward/%FF"), ("GET", b"/stats/%FF/ada")]
)
@pytest.mark.parametrize("hot_path", [True, False])
async def test_bytes_that_are_no_utf8_name_no_policy(
    tmp_path: Path, hot_path: bool, method: str, target: bytes
) -> None:
    async with run_service(tmp_path, hot_path=hot_path) as service:
        body = json.dumps({"user_id": "ada", "candidates": TWO, "reward": 1}).encode()
        answer = await service.raw(method, target, headers=[(b"content-type", b"application/json")], body=[body])
        read_problem(answer, 404, "unknown-policy")


@pytest.mark.parametrize("bad", ["", "x" * 257, "a\nb", "a\x00b", "\x7f", "\x85", "\U0001f98a" * 257])
async def test_an_id_that_breaks_the_rules_is_a_422_wherever_it_stands(service: Service, bad: str) -> None:
    decision_id = (await service.score())["decision_id"]
    whole = {"user_id": "ada", "tip_id": "tip-1", "reward": 1.0, "features": FEATURES}
    one = {"id": "tip", "content": "", "source": ""}
    answers = [
        ("user_id", await service.post("/score", {"user_id": bad, "candidates": TWO})),
        ("candidates.0.id", await service.post("/score", {"user_id": "ada", "candidates": [{**one, "id": bad}]})),
        ("decision_id", await service.post("/score", {"user_id": "ada", "candidates": TWO, "decision_id": bad})),
        ("user_id", await service.post("/reward", {**whole, "user_id": bad})),
        ("tip_id", await service.post("/reward", {**whole, "tip_id": bad})),
        ("decision_id", await service.post("/reward", {"decision_id": bad, "reward": 1})),
        ("user_id", await service.post("/reward", {"decision_id": decision_id, "user_id": bad, "reward": 1})),
        ("user_id", await service.post("/reset", {"user_id": bad})),
        ("user_id", await service.get("/stats", user_id=bad)),
        ("user_id", await service.get("/features", user_id=bad)),
        ("user_id", await service.client.delete("/users", params={"user_id": bad})),
    ]
    if bad:
        answers += [
            ("user_id", await service.get(f"/stats/{encode_segment(bad)}")),
            ("user_id", await service.get(f"/features/{encode_segment(bad)}")),
            ("decision_id", await service.get(f"/decisions/{encode_segment(bad)}")),
            ("user_id", await service.post(f"/reset/{encode_segment(bad)}")),
            ("user_id", await service.client.delete(f"/users/{encode_segment(bad)}")),
        ]
    for field, answer in answers:
        read_problem(answer, 422, "invalid-request", field)


async def test_users_are_listed_page_by_page_in_order_of_first_sight(service: Service) -> None:
    names = [f"{'a' if number % 2 else 'b'}{number}" for number in range(25)]
    for name in names:
        await service.score(name)
    for prefix in ("", "a", "b2", "%", "_"):
        expected = [name for name in names if name.startswith(prefix)]
        found: list[str] = []
        after: int | None = 0
        while after is not None:
            page = read_ok(await service.get("/users", prefix=prefix, after=after, limit=4))
            assert len(page["users"]) <= 4
            found += [each["user_id"] for each in page["users"]]
            after = page["next"]
        assert found == expected


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("after=-1", "after"),
        ("after=x", "after"),
        ("after=9223372036854775808", "after"),
        ("after=1e3", "after"),
        (f"after={'9' * 5000}", "after"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=", "limit"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_has_its_limits(shared: Service, query: str, field: str) -> None:
    read_problem(await shared.get(f"/users?{query}"), 422, "invalid-request", field)
    assert read_ok(await shared.get("/users?after=9223372036854775807&limit=1000")) == {"users": [], "next": None}
