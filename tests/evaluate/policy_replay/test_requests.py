import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.evaluate import EvaluationError
from bandstand.evaluate.policy_replay.requests import LoggedRequest, encode_requests
from tests.bandit.given import CATALOGUE, LAW, draw_partial, schema, schema_of

WIDE = schema_of(
    {"name": "size", "source": "candidate.size", "encoding": "number"},
    {"name": "topic", "source": "candidate.topic", "encoding": "onehot", "values": ["a", "b"], "type": "string"},
    {"name": "hour", "source": "context.hour", "encoding": "cyclic", "period": 24},
)


@LAW
@given(st.data())
def test_many_requests_are_encoded_as_each_alone(data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from([*CATALOGUE.schemas.values()]))
    requests = [
        LoggedRequest(
            f"request {number}",
            data.draw(draw_partial(chosen.context_fields)),
            [data.draw(draw_partial(chosen.candidate_fields)) for _ in range(data.draw(st.integers(1, 4)))],
        )
        for number in range(data.draw(st.integers(0, 6)))
    ]
    for request, x in zip(requests, encode_requests(chosen, requests), strict=True):
        np.testing.assert_array_equal(x, chosen.encode(request.context, request.features))


def test_a_request_is_read_from_its_body_whole_or_for_one_candidate() -> None:
    body = json.dumps({"context": {"hour": 3}, "candidates": [{"features": {"size": 1}}, {"id": "b"}]}).encode()
    assert LoggedRequest.parse("here", body) == LoggedRequest("here", {"hour": 3}, [{"size": 1}, {}])
    assert LoggedRequest.parse("here", body, 1) == LoggedRequest("here", {"hour": 3}, [{}])
    assert LoggedRequest.parse("here", body).select_candidate(0) == LoggedRequest.parse("here", body, 0)
    assert LoggedRequest.parse("here", '{"candidates": [{}]}') == LoggedRequest("here", {}, [{}])


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "7", "{}", '{"candidates": [7]}', '{"candidates": [{}], "context": []}']
)
def test_what_is_no_request_is_refused(body: str) -> None:
    with pytest.raises(EvaluationError, match=r"^here: not a score request$"):
        LoggedRequest.parse("here", body)


def test_a_pick_that_is_no_candidate_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"^here: not a score request$"):
        LoggedRequest.parse("here", '{"candidates": [{}]}', 1)


@pytest.mark.parametrize(
    ("context", "features", "message"),
    [
        ({"hour": True}, {}, "hour must be a finite number"),
        ({"hour": "3"}, {}, "hour must be a finite number"),
        ({"hour": float("nan")}, {}, "hour must be a finite number"),
        ({"hour": 10**400}, {}, "hour must be a finite number"),
        ({}, {"size": None}, "size must be a finite number"),
        ({}, {"size": 2e6}, "size: encodes to more than 1e\\+06"),
        ({}, {"topic": 3}, "topic must be text"),
    ],
)
def test_the_one_value_that_does_not_fit_is_named(context: Any, features: Any, message: str) -> None:
    sound = LoggedRequest("sound", {"hour": 1}, [{"size": 2, "topic": "a"}])
    faulty = LoggedRequest("faulty", context, [features])
    with pytest.raises(EvaluationError, match=rf"^faulty: {message} \(schema made-up\)$"):
        encode_requests(WIDE, [sound, faulty, sound])


def test_too_many_candidates_are_named_too() -> None:
    chosen = schema("tips-v2")
    with pytest.raises(EvaluationError, match=r"^here: candidates: at most "):
        encode_requests(chosen, [LoggedRequest("here", {}, [{}] * 20_000)])
