"""Bodies: what is read, up to which size, in which form, and what is refused unread."""

from pathlib import Path

import pytest

from bandstand.api.asgi.bodies import MAX_BODY
from tests.api.given import Service, read_problem, run_service
from tests.api.refusals import score


def pad_body(size: int) -> bytes:
    body = score().encode()
    return body + b" " * (size - len(body))


@pytest.mark.parametrize("path", ["/score", "/score/linucb", "/reward", "/reset"])
@pytest.mark.parametrize("hot_path", [True, False])
async def test_a_body_over_a_mebibyte_is_a_413_however_it_comes(tmp_path: Path, path: str, hot_path: bool) -> None:
    json_type = (b"content-type", b"application/json")
    lengths = [str(MAX_BODY + 1), "9" * 19, "9" * 5000, "0" * 5000, "-1", "1e3", "１２３４５６７"]
    async with run_service(tmp_path, hot_path=hot_path) as service:
        for length in lengths:
            headers = [json_type, (b"content-length", length.encode())]
            if len(length) > 6:
                read_problem(await service.raw("POST", path.encode(), headers=headers), 413, "too-large")
        whole = await service.raw("POST", path.encode(), headers=[json_type], body=[pad_body(MAX_BODY + 1)])
        read_problem(whole, 413, "too-large")
        pieces = [pad_body(MAX_BODY), b" "]
        read_problem(await service.raw("POST", path.encode(), headers=[json_type], body=pieces), 413, "too-large")
        endless = [b"x" * 65_536] * 1000
        read_problem(await service.raw("POST", path.encode(), headers=[json_type], body=endless), 413, "too-large")


async def test_a_body_of_a_mebibyte_is_read_in_pieces_too(service: Service) -> None:
    body = pad_body(MAX_BODY)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(MAX_BODY).encode())]
    for pieces in ([body], [body[:10], b"", body[10:]], [body[i : i + 1000] for i in range(0, MAX_BODY, 1000)]):
        answer = await service.raw("POST", b"/score", headers=headers, body=pieces)
        assert answer.status == 200, answer.body


@pytest.mark.parametrize("hot_path", [True, False])
async def test_a_caller_that_goes_away_in_the_middle_changes_nothing(tmp_path: Path, hot_path: bool) -> None:
    """Even if what it had sent by then happens to be a whole request."""
    async with run_service(tmp_path, hot_path=hot_path) as service:
        headers = [(b"content-type", b"application/json")]
        answer = await service.raw("POST", b"/score", headers=headers, body=[score().encode()], lost=True)
        read_problem(answer, 422, "invalid-request", "body")
        assert (await service.stats())["pulls"] == 0


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/merge-patch+json",
        "application/jsonp",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "text/json",
    ],
)
@pytest.mark.parametrize("path", ["/score", "/reward/linucb", "/reset"])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_body_of_another_type_is_a_415(shared: Service, path: str, content_type: str | None) -> None:
    headers = [] if content_type is None else [(b"content-type", content_type.encode())]
    answer = await shared.raw("POST", path.encode(), headers=headers, body=[score().encode()])
    read_problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity", ""])
@pytest.mark.asyncio(loop_scope="module")
async def test_an_encoded_body_is_a_415(shared: Service, encoding: str) -> None:
    for path in ("/score", "/reset"):
        read_problem(await shared.post(path, score(), content_encoding=encoding), 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        'application/json; charset="UTF-8"',
        "application/json ; charset=utf8",
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_json_in_utf8_is_read_however_it_is_spelled(shared: Service, content_type: str) -> None:
    response = await shared.client.post("/score", content=score(), headers={"content-type": content_type})
    assert response.status_code == 200
