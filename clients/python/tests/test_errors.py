"""A class for each problem, the key in none of them, and what is told of answers that are none."""

import logging
import re
import traceback
from pathlib import Path

import httpx
import pytest
from bandstand_client import (
    Bandstand,
    BandstandError,
    DeadlineError,
    FieldFault,
    InvalidRequestError,
    NoAnswerError,
    OverloadedError,
    ProblemError,
    Retry,
    UnexpectedAnswerError,
    failures,
    refusals,
)
from bandstand_client.problems import PROBLEMS, parse_problem
from bandstand_client.testing import FakeBandstand
from bandstand_client.testing.request import STATUSES

PAGE = Path(__file__).parents[3] / "docs" / "errors.md"
KEY = "s3cret-k3y"


def test_each_problem_of_the_service_has_a_class() -> None:
    if not PAGE.exists():
        pytest.skip("the service's documentation is not beside the client")
    rows = re.findall(r"^\| `([\w-]+)` \| (\d{3}) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert {code: int(status) for code, status in rows} == STATUSES
    assert set(PROBLEMS) == {code for code, _ in rows}


def test_classes_and_codes_are_one_to_one() -> None:
    kinds = {kind for module in (failures, refusals) for kind in vars(module).values() if isinstance(kind, type)}
    assert set(PROBLEMS.values()) == kinds - {ProblemError}
    assert all(issubclass(kind, BandstandError) for kind in kinds)


def test_a_problem_keeps_its_own_words() -> None:
    error = parse_problem(
        422,
        b'{"type": "urn:bandstand:problem:invalid-request", "title": "t", "status": 422, "detail": "1 field not valid",'
        b' "request_id": "6c1f", "errors": [{"field": "context.hour_of_day", "message": "too large"}]}',
    )
    assert isinstance(error, InvalidRequestError)
    assert (error.code, error.status, error.detail, error.request_id) == (
        "invalid-request",
        422,
        "1 field not valid",
        "6c1f",
    )
    assert error.errors == (FieldFault("context.hour_of_day", "too large"),)


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[]", b"null", b'{"type": 3}', b'{"type": "about:blank"}', b"\xff", b'"urn"']
)
def test_an_answer_that_is_no_problem_is_the_plain_class(content: bytes) -> None:
    error = parse_problem(418, content)
    assert type(error) is ProblemError
    assert (error.status, error.code) == (418, "")


def test_a_problem_that_this_client_does_not_know_keeps_its_code() -> None:
    error = parse_problem(409, b'{"type": "urn:bandstand:problem:too-new", "detail": "d", "errors": "?"}')
    assert type(error) is ProblemError
    assert error.code == "too-new"


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"ok": 1}', b"{}", b"3"])
def test_an_answer_that_is_none_of_ours_is_told_by_its_class(content: bytes) -> None:
    fake = FakeBandstand()
    client = fake.build_client()
    with fake.answering(200, content), pytest.raises(UnexpectedAnswerError):
        client.health()


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"tip_id": "milk"}', b'{"tip_id": "tea"}'])
def test_a_score_that_is_none_of_ours_is_a_fallback(content: bytes) -> None:
    fake = FakeBandstand()
    with fake.answering(200, content):
        decision = fake.build_client().score("ada", ["tea", "coffee"])
    assert (decision.pick, decision.fallback) == ("tea", "failed")
    assert isinstance(decision.error, UnexpectedAnswerError)


def find_words(error: BaseException) -> str:
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(told.format())


@pytest.mark.parametrize("kind", ["unreachable", "broken-off", "deadline"])
def test_the_key_is_in_no_repr_and_no_exception(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    fake = FakeBandstand()
    client = Bandstand("http://fake", KEY, transport=fake, retry=Retry(tries=1))
    words = [repr(client), repr(vars(client)), repr(client._core), repr(vars(client._core))]  # noqa: SLF001 (what a debugger shows)
    with fake.failing(kind), pytest.raises(NoAnswerError) as raised:  # type: ignore[arg-type]
        client.health()
    with fake.refusing("unauthorized"), pytest.raises(ProblemError) as refused:
        client.health()
    with fake.failing(kind):  # type: ignore[arg-type]
        decision = client.score("ada", ["tea"])
    words += [find_words(raised.value), find_words(refused.value), repr(decision), repr(vars(decision)), caplog.text]
    assert decision.error is not None
    assert KEY not in "\n".join(words)


def test_the_key_is_in_no_traceback_through_real_sockets() -> None:
    with Bandstand("http://127.0.0.1:9", KEY, retry=Retry(tries=1)) as client:
        with pytest.raises(NoAnswerError) as raised:
            client.health()
        with pytest.raises(DeadlineError) as late:
            Bandstand("http://127.0.0.1:9", KEY, deadline=-1.0).health()
    assert KEY not in find_words(raised.value) + find_words(late.value)


def test_the_key_is_sent() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"ready": True})

    Bandstand("http://fake/behind/a/path/", KEY, transport=httpx.MockTransport(answer)).ready()
    assert seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert seen[0].headers["user-agent"].startswith("bandstand-client/")
    assert str(seen[0].url) == "http://fake/behind/a/path/ready"


@pytest.mark.parametrize("key", ["", " spaced", "line\nbreak", "ключ", "tab\t"])
def test_a_key_that_cannot_be_sent_is_refused_unseen(key: str) -> None:
    with pytest.raises(ValueError, match="printable") as raised:
        Bandstand("http://fake", key)
    assert not key or key not in str(raised.value)


@pytest.mark.parametrize("url", ["", "fake", "ftp://fake", "http://", "http://a?b=c", "http://name:word@fake"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        Bandstand(url)


def test_retry_after_comes_with_the_error() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        problem = {"type": "urn:bandstand:problem:overloaded", "detail": "Too much is waiting."}
        return httpx.Response(503, json=problem, headers={"retry-after": "7"})

    client = Bandstand("http://fake", transport=httpx.MockTransport(answer), deadline=5.0)
    with pytest.raises(OverloadedError) as raised:
        client.health()
    assert raised.value.retry_after_s == 7.0
    assert client.counts.retries == 0
