"""The gate: request ids, and the count and the log line of each request."""

import json
import re
from pathlib import Path

import pytest

from tests.api.given import CANARY, TWO, Service, read_problem, run_service

OURS = re.compile(r"[0-9a-f]{16}")


async def id_for(service: Service, given: bytes | None) -> str:
    headers = [] if given is None else [(b"x-request-id", given)]
    answer = await service.raw("GET", b"/nothing", headers=headers)
    told = read_problem(answer, 404, "not-found")
    assert [name for name, _ in answer.headers].count(b"x-request-id") == 1
    assert answer.header("x-request-id") == told["request_id"]
    return str(told["request_id"])


@pytest.mark.parametrize("given", [b"a", b"req-1/2:3", b"x" * 128, b'"quoted" and spaced', b"</script>"])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_request_id_is_taken_as_it_comes(shared: Service, given: bytes) -> None:
    assert await id_for(shared, given) == given.decode()


@pytest.mark.parametrize(
    "given",
    [None, b"", b"x" * 129, b"a\r\nset-cookie: a=b", b"a\x00", b"tab\there", b"zo\xeb", "🦊".encode(), b"\x7f"],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_one_that_could_break_a_header_or_a_log_is_replaced(shared: Service, given: bytes | None) -> None:
    made = [await id_for(shared, given) for _ in range(3)]
    assert all(OURS.fullmatch(each) for each in made)
    assert len(set(made)) == 3


@pytest.mark.parametrize("hot_path", [True, False])
async def test_every_answer_has_its_request_id(tmp_path: Path, hot_path: bool) -> None:
    async with run_service(tmp_path, hot_path=hot_path) as service:
        body = {"user_id": "ada", "candidates": TWO}
        for response in (
            await service.post("/score", body, x_request_id="mine"),
            await service.post("/reward", {}, x_request_id="mine"),
            await service.client.get("/health", headers={"x-request-id": "mine"}),
            await service.client.get("/openapi.json", headers={"x-request-id": "mine"}),
            await service.client.put("/users", headers={"x-request-id": "mine"}),
        ):
            assert response.headers.get_list("x-request-id") == ["mine"]


@pytest.mark.parametrize("hot_path", [True, False])
async def test_with_log_requests_there_is_a_line_for_each_and_no_word_of_theirs(
    tmp_path: Path, hot_path: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async with run_service(tmp_path, hot_path=hot_path, log_requests=True) as service:
        capsys.readouterr()
        candidates = [{"id": CANARY, "content": CANARY, "source": CANARY, "source_id": CANARY}]
        body = {"user_id": CANARY, "candidates": candidates, "decision_id": CANARY}
        await service.post("/score", body, x_request_id="r-1")
        await service.post(f"/score/{CANARY}", body, x_request_id="r-2")
        await service.client.get(f"/stats/{CANARY}", headers={"x-request-id": "r-3"})
        await service.client.get(f"/{CANARY}", headers={"x-request-id": "r-4"})
        err = capsys.readouterr().err
    lines = [json.loads(line) for line in err.splitlines()]
    seen = [(line["request_id"], line["method"], line["route"], line["status"]) for line in lines]
    assert seen == [
        ("r-1", "POST", "/score", 200),
        ("r-2", "POST", "/score/{policy}", 404),
        ("r-3", "GET", "/stats/{user_id}", 200),
        ("r-4", "GET", "unmatched", 404),
    ]
    assert all(line["client"] == "anonymous" and line["ms"] > 0 and line["event"] == "request" for line in lines)
    assert CANARY not in err


async def test_without_it_there_is_none(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    await service.score()
    await service.get("/nothing")
    assert capsys.readouterr().err == ""
