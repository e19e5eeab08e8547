"""The log: one JSON object a line, one line a failure, and in none of them a word of anybody's."""

import json
import logging
import re
import sys
from typing import Any

import pytest
import structlog

from bandstand.api.asgi.logs import configure_logging
from bandstand.errors import OverloadedError, StorageUnavailableError
from tests.api.given import CANARY, TWO, app_over, client_of
from tests.api.test_problems import FailingStore

log = structlog.get_logger("bandstand.tests")


def read_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The lines logged since the last look; each must be an object with its time in UTC, its level and its logger."""
    captured = capsys.readouterr()
    assert CANARY not in captured.err + captured.out
    assert captured.out == ""
    found = [json.loads(line) for line in captured.err.splitlines()]
    for line in found:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["timestamp"])
        assert {"event", "level", "logger"} <= set(line)
    return found


def test_a_message_is_one_line_with_its_values(capsys: pytest.CaptureFixture[str]) -> None:
    log.info("two\nlines", user="zoë", many=[1, 2])
    (line,) = read_lines(capsys)
    assert (line["event"], line["user"], line["many"]) == ("two\nlines", "zoë", [1, 2])
    assert (line["level"], line["logger"]) == ("info", "bandstand.tests")


@pytest.mark.parametrize(
    ("level", "written"),
    [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)],
)
def test_the_level_is_the_setting_s(level: str, written: int, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level)
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("said")
    assert len(read_lines(capsys)) == written


def test_to_configure_twice_does_not_write_twice(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    configure_logging("info")
    log.info("said")
    assert len(read_lines(capsys)) == 1


def fail_to_parse(secret: str) -> None:
    kept = f"a local variable: {secret}"
    try:
        int(kept)
    except ValueError as error:
        raise KeyError(secret) from error


def test_an_exception_is_where_it_came_from_and_not_what_it_said(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        fail_to_parse(CANARY)
    except KeyError:
        log.exception("failed")
    (line,) = read_lines(capsys)
    outer, inner = line["exception"]
    assert (outer["type"], inner["type"]) == ("builtins.KeyError", "builtins.ValueError")
    assert [re.sub(r":\d+", "", frame) for frame in outer["frames"]] == [
        f"{__name__} test_an_exception_is_where_it_came_from_and_not_what_it_said",
        f"{__name__} fail_to_parse",
    ]
    assert set(outer) == set(inner) == {"type", "frames"}


def test_our_own_errors_may_say_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    log.error("refused", exc_info=OverloadedError("too many wait"))
    (line,) = read_lines(capsys)
    (described,) = line["exception"]
    assert described["detail"] == "too many wait"


def test_an_exception_group_shows_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    log.error("failed", exc_info=ExceptionGroup(CANARY, [ValueError(CANARY), OSError(CANARY)]))
    (line,) = read_lines(capsys)
    (group,) = line["exception"]
    assert [part["type"] for part in group["exceptions"]] == ["builtins.ValueError", "builtins.OSError"]


def test_an_exception_that_causes_itself_ends(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = ValueError(), TypeError()
    first.__cause__, second.__cause__ = second, first
    log.error("failed", exc_info=first)
    (line,) = read_lines(capsys)
    assert len(line["exception"]) == 2


def test_without_an_exception_there_is_none_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    log.error("failed", exc_info=True)  # noqa: LOG014 (somebody will)
    (line,) = read_lines(capsys)
    assert "exception" not in line
    assert "exc_info" not in line


def test_a_library_s_record_is_its_template_and_no_argument(capsys: pytest.CaptureFixture[str]) -> None:
    """uvicorn's among them: what asyncio adds below its first line are reprs of whatever was at hand."""
    foreign = logging.getLogger("uvicorn.error")
    try:
        fail_to_parse(CANARY)
    except KeyError:
        foreign.exception("Exception in ASGI application\n")
    foreign.warning("%s went wrong", CANARY)
    foreign.error(f"never retrieved\nfuture: <Task exception=ValueError({CANARY!r})>")
    foreign.error("with its stack", stack_info=True)
    foreign.info("Started server process [%d]", 1)
    found = read_lines(capsys)
    assert [line["event"] for line in found] == [
        "Exception in ASGI application",
        "%s went wrong",
        "never retrieved",
        "with its stack",
    ]
    assert found[0]["exception"][0]["type"] == "builtins.KeyError"
    assert all(line["logger"] == "uvicorn.error" for line in found)
    assert not any("stack_info" in line for line in found)


@pytest.mark.parametrize("hot_path", [True, False])
@pytest.mark.parametrize(
    ("error", "event", "more"),
    [
        (KeyError(CANARY), "request failed", {}),
        (RuntimeError(f"{CANARY}\n{CANARY}"), "request failed", {}),
        (OverloadedError("too many wait"), "request refused", {"code": "overloaded", "cause": None}),
        (StorageUnavailableError("closing"), "request refused", {"code": "storage-unavailable", "cause": None}),
    ],
)
async def test_a_failure_leaves_just_one_line(
    error: Exception, event: str, more: dict[str, Any], hot_path: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async with client_of(app_over(FailingStore(error), hot_path=hot_path)) as service:
        candidates = [{"id": CANARY, "content": CANARY, "source": CANARY}]
        score = {"user_id": CANARY, "candidates": candidates, "decision_id": CANARY}
        reward = {"decision_id": CANARY, "reward": 1}
        for asking in (
            service.post("/score", score, x_request_id="r-1"),
            service.post("/reward", reward, x_request_id="r-1", idempotency_key=CANARY),
            service.client.get(f"/features/{CANARY}", headers={"x-request-id": "r-1"}),
            service.client.delete("/users", params={"user_id": CANARY}, headers={"x-request-id": "r-1"}),
        ):
            assert (await asking).status_code >= 500
            (line,) = read_lines(capsys)
            assert (line["event"], line["level"]) == (event, "error")
            assert (line["request_id"], line["client"]) == ("r-1", "anonymous")
            assert {**line, **more} == line
            assert ("exception" in line) == (event == "request failed")


async def test_a_refusal_names_the_kind_of_its_cause(capsys: pytest.CaptureFixture[str]) -> None:
    error = StorageUnavailableError("the ledger cannot be written now")
    error.__cause__ = OSError(CANARY)
    async with client_of(app_over(FailingStore(error))) as service:
        await service.post("/score", {"user_id": "ada", "candidates": TWO, "decision_id": "d"})
    (line,) = read_lines(capsys)
    assert line["cause"] == "OSError"


async def test_a_refused_request_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    async with client_of(app_over(FailingStore(KeyError()))) as service:
        await service.post("/score", {"user_id": CANARY})
        await service.post("/score/nothing", {"user_id": CANARY, "candidates": TWO})
        await service.get(f"/{CANARY}")
    assert read_lines(capsys) == []


def test_it_writes_to_the_stderr_of_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    log.info("said")
    before = sys.stderr
    with capsys.disabled():
        assert sys.stderr is not before
    assert len(read_lines(capsys)) == 1
