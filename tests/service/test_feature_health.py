"""What callers send and nobody reads, what a schema reads and nobody sends, and what never differs, is said."""

from collections.abc import Callable
from functools import partial
from typing import Any

from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.policies import LinUCB
from bandstand.service.feature_health import FeatureHealth, FeatureReport, TokenHealth
from tests.store.given import CATALOGUE

POLICY = CATALOGUE.policies["linucb-v2"]


def candidate(number: int, **features: object) -> dict[str, Any]:
    return {"id": f"t{number}", "content": "x", "source": "tests", "source_id": None, "features": features}


def full(number: int) -> dict[str, Any]:
    return candidate(number, is_overdue=number % 2 == 0, task_age_days=number, priority=1 + number % 4)


def observe(requests: int, build: Callable[[int], dict[str, Any]]) -> FeatureReport:
    health = FeatureHealth(CATALOGUE)
    for number in range(requests):
        request = {"user_id": "ada", "context": {"hour_of_day": number % 24, "day_of_week": number % 7}} | build(number)
        health.observe(POLICY, partial(dict, request))
    return health.build_report()


def test_of_sound_requests_nothing_is_said() -> None:
    report = observe(100, lambda number: {"candidates": [full(number), full(number + 1)], "ranking": True})
    assert (report.warnings, report.unread) == ([], [])
    assert {field.share for field in report.fields} == {1.0}
    assert not any(field.is_constant for field in report.fields)
    assert [(each.requests, each.alike) for each in report.contrasts] == [(100, 0)]


def test_what_processes_counted_is_what_one_would_have_in_whatever_order_it_is_merged() -> None:
    def send(numbers: range) -> FeatureHealth:
        health = FeatureHealth(CATALOGUE)
        for number in numbers:
            candidates = [candidate(number, priority=3, colour=number), candidate(1, priority=3)]
            request = {"user_id": "ada", "context": {"hour": number % 2}, "candidates": candidates}
            health.observe(POLICY, partial(dict, request))
            health.observe_reward(lambda: {"features": {"mood": 1}})
        return health

    parts = (range(30), range(30, 31), range(31, 90))
    whole = send(range(90)).build_report()
    for order in ((0, 1, 2), (2, 0, 1)):
        merged = FeatureHealth(CATALOGUE)
        for index in order:
            merged.merge(send(parts[index]))
        assert merged.build_report() == whole


def test_of_open_features_it_is_said_how_many_values_are_new_and_how_many_share_a_column() -> None:
    features = [{"name": "all", "encoding": "open", "columns": 16}]
    schema = FeatureSchema.parse("anything", {"version": 1, "intercept": True, "features": features})
    policy, health = LinUCB("open", schema, {"alpha": 0.5}), FeatureHealth(CATALOGUE)

    def send(first: int, count: int) -> None:
        for number in range(first, first + count):
            context, offered = {"hour": number % 4}, candidate(1, colour="red", id=f"n{number}")
            health.observe(policy, partial(dict, {"context": context, "candidates": [offered]}))
            schema.encode(context, [offered["features"]])

    send(0, 199)
    assert not any("met before" in each for each in health.build_report().warnings)
    send(199, 1)
    report = health.build_report()
    (tokens,) = report.tokens
    assert tokens == TokenHealth(policy="open", met=600, unseen=202, distinct=202, columns=16, colliding=201)
    warning = report.warnings[-1]
    assert warning.startswith("202 of the 600 values that open met had never been met before")
    assert observe(30, lambda number: {"candidates": [full(number)]}).tokens == []


def test_what_nobody_reads_is_counted_and_what_was_meant_is_said() -> None:
    report = observe(
        50,
        lambda number: {
            "candidates": [candidate(1, isOverdue=True, Priority=4), {**candidate(2, colour=number), "priority": 3}],
            "context": {"hour": 9, "dayOfWeek": 3},
            "sent_at": number,
        },
    )
    counted = {(each.where, each.name): each.count for each in report.unread}
    assert counted == {
        ("features", "isOverdue"): 50,
        ("features", "Priority"): 50,
        ("features", "colour"): 50,
        ("candidate", "priority"): 50,
        ("context", "hour"): 50,
        ("context", "dayOfWeek"): 50,
        ("request", "sent_at"): 50,
    }
    said = "\n".join(report.warnings)
    assert "`isOverdue` came with 50 candidates, in its `features`, and is read by no schema; did you mean" in said
    assert "did you mean `is_overdue`?" in said
    assert "did you mean `priority`?" in said
    assert "did you mean `hour_of_day`?" in said
    assert "did you mean `day_of_week`?" in said
    assert "it belongs in the `features` of each candidate." in said
    assert "`colour` came with 50 candidates, in its `features`, and is read by no schema." in said
    assert "sent_at" not in said, "what goes with a request for others' sake is listed, and nothing to worry about"
    for name in ("hour_of_day", "day_of_week", "is_overdue", "task_age_days", "priority"):
        assert f"linucb-v2 reads `{name}` from" in said
    assert "linucb-v2 could not tell the candidates apart in 50 of 50 requests" in said


def test_a_feature_that_never_varies_is_named() -> None:
    report = observe(
        30,
        lambda number: {
            "candidates": [candidate(each, priority=2, is_overdue=each > 0, task_age_days=number) for each in range(2)]
        },
    )
    assert report.warnings == ["`priority` was 2 in all of 60 candidates: linucb-v2 can learn nothing from it."]


def test_what_comes_now_and_then_varies_by_that() -> None:
    report = observe(
        30,
        lambda number: {
            "candidates": [
                candidate(each, priority=each + 1, task_age_days=number, **({"is_overdue": True} if each else {}))
                for each in range(2)
            ]
        },
    )
    assert report.warnings == []


def test_a_few_requests_are_no_ground_to_say_what_is_missing() -> None:
    assert observe(5, lambda _: {"candidates": [candidate(1), candidate(2)]}).warnings == []


def test_later_requests_are_counted_by_a_sample_that_stands_for_all() -> None:
    health, looked_at = FeatureHealth(CATALOGUE), 0

    def read() -> dict[str, Any]:
        nonlocal looked_at
        looked_at += 1
        return {"candidates": [candidate(1, colour=1)], "context": None}

    for _ in range(17_000):
        health.observe(POLICY, read)
    report = health.build_report()
    assert report.looked_at == looked_at == 1250
    assert [(each.name, each.count) for each in report.unread] == [("colour", 17_000)]


def test_only_so_many_names_are_kept_and_none_that_is_no_name() -> None:
    report = observe(300, lambda number: {"candidates": [candidate(1, **{f"name_{number}": 1, "ada@example.org": 2})]})
    counted = {each.name: each.count for each in report.unread}
    assert len(counted) <= 101
    assert sum(counted.values()) == 600
    assert counted["(other)"] >= 300
    assert not any("@" in name for name in counted)


def test_whatever_a_request_holds_it_can_be_counted() -> None:
    health = FeatureHealth(CATALOGUE)
    odd: list[dict[str, Any] | None] = [None, {}, {"": 1, "x" * 10_000: 2, "a\nb": [], "priority": None, "content": {}}]
    for features in odd:
        request = {"candidates": [{"features": features}] * 2, "context": None, "features": features or {}}
        health.observe(POLICY, partial(dict, request))
        health.observe_reward(partial(dict, request))
    assert health.build_report().requests == 3
